"""Score how likely and how odd pictures are, with verdicts; with outliers, measure how well scores detect them."""

import argparse
import codecs
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app.commands.input_pictures import picture_batches, picture_files
from glow_app.commands.loading import Given, load, load_stored, provenance, read_given
from glow_app.commands.parser import Parser, positive_int, seed_number
from glow_app.commands.results import refuse_existing, refuse_replacing, write_json
from glow_app.files import atomic_file
from glow_app.messages import UsageError, pluralise, printable

if TYPE_CHECKING:
    from glow_app.generation import Measures, Reference
    from glow_app.models.image_model import ImageModel
    from glow_app.storage.stored_model import StoredModel

LISTED = 10  # maximum number of unusual pictures to print, and of pictures in the sheet
SHEET = "oddest.png"
NO_VERDICTS = "no verdicts: the model has no reference of ordinary pictures; give one by --reference FOLDER"


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow score``."""
    parser.add_argument("images", nargs="*", help="picture files, or folders of them", metavar="PICTURE")
    parser.add_model_arguments()
    parser.add_output_arguments("scores")
    parser.add_argument(
        "--reference",
        help="folder of ordinary pictures (default: those stored with the model, if any)",
        metavar="FOLDER",
    )
    saved = "store the statistics of --reference with the exported model, for later scores and glow serve"
    parser.add_argument("--save-reference", action="store_true", help=saved)
    parser.add_argument(
        "--outliers", help="folder of odd pictures, to measure how well scores detect them", metavar="FOLDER"
    )
    parser.add_label_argument("class of all pictures (default: averaged over all classes)")
    parser.add_argument("--draws", type=positive_int, default=1, help="dequantisation draws for bits/dim")
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of the noise; picture i uses seed + i")
    parser.add_batch_size_argument()


def run(arguments: argparse.Namespace) -> None:
    """Write scores.csv, scores.json and a sheet of the oddest pictures; with outliers, measure their detection."""
    from glow_app.data.listing import list_images

    if arguments.save_reference:
        _save_reference(arguments)
        return
    if bool(arguments.images) == bool(arguments.outliers):
        raise UsageError("glow score needs either pictures to score, or --reference and --outliers")
    if arguments.outliers and not arguments.reference:
        raise UsageError("--outliers needs --reference, a folder of ordinary pictures")
    # List all folders first, to refuse invalid ones before any picture is measured.
    listings = [list_images(Path(place)) for place in (arguments.reference, arguments.outliers) if place]
    names = ["detection.json", "histograms.png"] if arguments.outliers else ["scores.csv", "scores.json", SHEET]
    paths = [arguments.output / name for name in names]
    compared = [listing.root / file.name for listing in listings for file in listing.files]
    refuse_replacing([*picture_files(arguments.images), *compared], paths)
    refuse_existing(paths, arguments.overwrite)
    model, stored = load(arguments)
    given = read_given(model, arguments)
    if arguments.outliers:
        _detect(model, given, arguments)
    else:
        _score(model, stored, given, arguments)


def _score(model: "ImageModel", stored: "StoredModel", given: Given, arguments: argparse.Namespace) -> None:
    from glow_app.generation import USUAL_PERCENT

    reference, usual = _reference(model, stored, given, arguments)
    files, measures = _measure(model, arguments.images, given, arguments)
    rows, labels, folder = _rows(files, measures, reference, arguments), _labels_text(model, given), arguments.output
    facts = {"model": stored.hash, "num_bits": model.num_bits, "usual": usual, "labels": labels}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / "scores.csv") as file:
        writer = csv.DictWriter(codecs.getwriter("utf-8")(file, "surrogateescape"), list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_json(folder / "scores.json", {**facts, "images": rows})
    mean, draws = float(measures.bits_per_dim.mean()), pluralise(arguments.draws, "draw")
    print(f"{pluralise(len(rows), 'image')}, {mean:.4f} bits/dim on average ({model.num_bits}-bit, {draws})")
    print(NO_VERDICTS if usual is None else f"reference: {usual}")
    print(f"labels: {labels}")
    if reference is not None:
        odd = [row for row in rows if row["verdict"] == "unusual"]
        print(f"unusual: {len(odd)} of {len(rows)} (expected of ordinary pictures: {100 - USUAL_PERCENT:g} %)")
        for row in _oddest(odd):
            print(f"  {printable(row['file'])}: {row['reason']}")
    _write_sheet(model, rows, folder / SHEET, provenance(stored))
    print(f"scores: {folder / 'scores.csv'}, {folder / 'scores.json'}")


def _reference(
    model: "ImageModel", stored: "StoredModel", given: Given, arguments: argparse.Namespace
) -> "tuple[Reference, str] | tuple[None, None]":
    """Return the reference of ordinary pictures and a description of these pictures, or None for both."""
    from glow_app.generation import Reference
    from glow_app.storage.pretrained import REFERENCE_KEY

    if arguments.reference:
        return Reference.of(_measure(model, [arguments.reference], given, arguments)[1]), arguments.reference
    plain = stored.facts.get(REFERENCE_KEY)
    if plain is None:
        return None, None
    reference = Reference.from_plain(plain, len(model.flow.latent_shapes))
    classes = "" if given is None else ", of all classes"
    return reference, f"{reference.num_images:,} ordinary images stored with the model{classes}"


def _save_reference(arguments: argparse.Namespace) -> None:
    from glow_app.data.listing import list_images
    from glow_app.generation import Reference
    from glow_app.storage.pretrained import save_reference
    from glow_app.storage.stored_model import StoredModel

    if not arguments.reference or arguments.images or arguments.outliers or arguments.label is not None:
        raise UsageError("--save-reference needs --reference alone: a folder of held-out pictures of all classes")
    list_images(Path(arguments.reference))
    stored = StoredModel(arguments.checkpoint)
    if not stored.path.is_dir() or not stored.is_own:
        raise UsageError(f"--save-reference needs an exported model of your own, got {stored.place} (see glow export)")
    model = load_stored(stored, arguments.device)
    _, measures = _measure(model, [arguments.reference], None, arguments)
    save_reference(stored.path, Reference.of(measures).to_plain())
    print(f"stored with {stored.path}: a reference of {pluralise(len(measures), 'image')} of {arguments.reference}")


def _measure(
    model: "ImageModel", places: list[str], given: Given, arguments: argparse.Namespace
) -> "tuple[list[str], Measures]":
    from glow_app.generation import Measures, measure

    files: list[str] = []
    parts = []
    for names, images in picture_batches(model, places, arguments.batch_size, "scoring"):
        first = arguments.seed + len(files)
        seeds = range(first, first + len(images))
        parts.append(measure(model, images, given, num_draws=arguments.draws, seeds=seeds))
        files += names
    return files, Measures.joined(parts)


def _rows(
    files: list[str], measures: "Measures", reference: "Reference | None", arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    from glow_app.generation.reference import plain_scores

    rows = []
    for number, (file, scores) in enumerate(zip(files, plain_scores(measures, reference), strict=True)):
        row = {"file": file, "seed": arguments.seed + number, "draws": arguments.draws}
        if measures.labels is not None:
            row["label"] = int(measures.labels[number])
        row |= {name: value for name, value in scores.items() if name != "percentiles"}
        for level in range(measures.level_bits.shape[1]):
            row[f"bits_level_{level}"] = float(measures.level_bits[number, level])
            row[f"norm_level_{level}"] = float(measures.level_norms[number, level])
        rows.append(row)
    return rows


def _oddest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (-(row["oddness"] or 0), -row["bits_per_dim"]))[:LISTED]


def _write_sheet(model: "ImageModel", rows: list[dict[str, Any]], path: Path, facts: dict[str, str]) -> None:
    """Write a sheet of the oddest pictures, or the least likely ones without verdicts, as the model sees them."""
    import torch

    from glow_app.data.decoding import decode_image
    from glow_app.pictures.images import save_png
    from glow_app.pictures.panels import contact_sheet

    rows = _oddest(rows)
    arrays = [decode_image(Path(row["file"]), model.flow.image_shape, "crop") for row in rows]
    captions = [(f"{row['bits_per_dim']:.2f} bits/dim", Path(row["file"]).name) for row in rows]
    sheet = contact_sheet(torch.stack([torch.from_numpy(array.copy()) for array in arrays]), captions)
    save_png(sheet, path, facts)
    print(f"the {'oddest' if rows[0]['verdict'] else 'highest bits/dim'}: {path}")


def _labels_text(model: "ImageModel", given: Given) -> str:
    from glow_app.models.class_labels import class_text

    if model.flow.num_classes is None:
        return "none"
    if isinstance(given, int):
        return f"class {class_text(model, given)}"
    return f"unknown, averaged over {model.flow.num_classes} classes"


def _detect(model: "ImageModel", given: Given, arguments: argparse.Namespace) -> None:
    from glow_app.generation import detect
    from glow_app.pictures.images import save_png
    from glow_app.pictures.panels import histogram_picture

    _, ordinary = _measure(model, [arguments.reference], given, arguments)
    _, odd = _measure(model, [arguments.outliers], given, arguments)
    detections = detect(ordinary, odd)
    folder, usual, labels = arguments.output, len(ordinary) // 2, _labels_text(model, given)
    counts = {"usual": usual, "ordinary": len(ordinary) - usual, "outliers": len(odd)}
    scores = {name: {"auroc": result.auroc, "aupr": result.aupr} for name, result in detections.items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "detection.json", {**counts, "labels": labels, "scores": scores})
    values = {name: (result.ordinary.tolist(), result.odd.tolist()) for name, result in detections.items()}
    notes = {name: f"AUROC {result.auroc:.3f}" for name, result in detections.items()}
    save_png(histogram_picture(values, (arguments.reference, arguments.outliers), notes), folder / "histograms.png")
    ordinary_images = pluralise(counts["ordinary"], "ordinary image")
    print(f"{pluralise(len(odd), 'outlier')} and {ordinary_images}; {usual} other ordinary images as the reference")
    print(f"labels: {labels}")
    for name, result in detections.items():
        print(f"{name:<14} AUROC {result.auroc:.3f}  AUPR {result.aupr:.3f}")
    print(f"histograms: {folder / 'histograms.png'}")
