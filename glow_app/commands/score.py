"""Score how likely and how odd pictures are, with verdicts; with outliers, measure how well scores detect them."""

import argparse
import codecs
import csv
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app.commands.input_pictures import given_batches, picture_files
from glow_app.commands.loading import load, load_stored, provenance, read_given, stored_reference
from glow_app.commands.parser import Parser, positive_int, seed_number
from glow_app.commands.results import refuse_existing, refuse_replacing, write_json
from glow_app.files import atomic_file
from glow_app.messages import UsageError, in_words, pluralise, printable

if TYPE_CHECKING:
    from glow_app.conditioning import Given
    from glow_app.generation import Measures, Reference
    from glow_app.models.image_model import ImageModel
    from glow_app.storage.stored_model import StoredModel

LISTED = 10  # maximum number of unusual pictures to print, and of pictures in the sheet
SHEET = "oddest.png"
NO_VERDICTS = "no verdicts: the model has no reference of ordinary pictures; pass one as --reference FOLDER"


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow score``."""
    parser.add_argument("images", nargs="*", help="picture files, or folders of them", metavar="PICTURE")
    parser.add_model_arguments()
    parser.add_output_arguments("scores")
    ordinary = "folder of ordinary pictures (default: those stored with the model, if any)"
    parser.add_argument("--reference", help=ordinary, metavar="FOLDER")
    saved = "store the statistics of --reference with the exported model, for later scores and glow serve"
    parser.add_argument("--save-reference", action="store_true", help=saved)
    odd = "folder of odd pictures, to measure how well scores detect them"
    parser.add_argument("--outliers", help=odd, metavar="FOLDER")
    parser.add_given_argument("averaged over all")
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
    given = read_given(model, arguments.given)
    if arguments.outliers:
        _detect(model, stored, given, arguments)
    else:
        _score(model, stored, given, arguments)


def _score(model: "ImageModel", stored: "StoredModel", given: "Given", arguments: argparse.Namespace) -> None:
    from glow_app.evaluation.trained_on import known_pictures
    from glow_app.generation.reference import score_rows

    reference, usual = _reference(model, stored, given, arguments)
    files, measures, trained = _measure(model, stored, arguments.images, given, arguments)
    scored = score_rows(measures, reference, model.conditioning.plain(measures.given), trained)
    rows: list[dict[str, Any]] = [
        {"file": file, "seed": seed, "draws": arguments.draws, **row}
        for seed, (file, row) in enumerate(zip(files, scored, strict=True), arguments.seed)
    ]
    facts = {"model": stored.hash, "num_bits": model.num_bits, "usual": usual, "given": given}
    folder = arguments.output
    with atomic_file(folder / "scores.csv") as file:
        writer = csv.DictWriter(codecs.getwriter("utf-8")(file, "surrogateescape"), list(rows[0]))
        writer.writeheader()
        writer.writerows(row | ({"given": in_words(row["given"])} if row.get("given") else {}) for row in rows)
    write_json(folder / "scores.json", {**facts, "images": rows})
    mean, draws = float(measures.bits_per_dim.mean()), pluralise(arguments.draws, "draw")
    print(f"{pluralise(len(rows), 'image')}, {mean:.4f} bits/dim on average ({model.num_bits}-bit, {draws})")
    print(NO_VERDICTS if usual is None else f"reference: {usual}")
    _print_given(model, given)
    if reference is not None:
        _print_unusual(rows)
        if known_pictures(stored.facts) is None:
            print("not checked for training images, which this model does not record")
    _write_sheet(model, rows, folder / SHEET, provenance(stored))
    print(f"scores: {folder / 'scores.csv'}, {folder / 'scores.json'}")


def _reference(
    model: "ImageModel", stored: "StoredModel", given: "Given", arguments: argparse.Namespace
) -> "tuple[Reference, str] | tuple[None, None]":
    """Return the reference of ordinary pictures and a description of these pictures, or None for both."""
    if arguments.reference:
        return _measured_reference(model, stored, given, arguments), arguments.reference
    reference = stored_reference(model, stored)
    if reference is None:
        return None, None
    of_all = "" if given is None else ", of all kinds"
    return reference, f"{reference.num_images:,} ordinary images stored with the model{of_all}"


def _measured_reference(
    model: "ImageModel", stored: "StoredModel", given: "Given", arguments: argparse.Namespace
) -> "Reference":
    """Return the reference of the pictures of ``--reference``; warn if some are training images."""
    from glow_app.generation import Reference

    _, measures, trained = _measure(model, stored, [arguments.reference], given, arguments)
    if any(trained):
        which = f"{sum(trained)} of {pluralise(len(trained), 'picture')} of {arguments.reference}"
        warnings.warn(f"{which} are training images: beside them, other pictures seem unusual", stacklevel=2)
    return Reference.of(measures)


def _save_reference(arguments: argparse.Namespace) -> None:
    from glow_app.storage.pretrained import save_reference
    from glow_app.storage.stored_model import StoredModel

    if not arguments.reference or arguments.images or arguments.outliers or arguments.given is not None:
        raise UsageError("--save-reference needs --reference alone: a folder of held-out pictures of all kinds")
    stored = StoredModel(arguments.checkpoint)
    if not stored.path.is_dir() or not stored.is_own:
        raise UsageError(f"--save-reference needs an exported model of your own, got {stored.place} (see glow export)")
    model = load_stored(stored, arguments.device)
    reference = _measured_reference(model, stored, None, arguments)
    save_reference(stored.path, reference.to_plain())
    count = pluralise(reference.num_images, "image")
    print(f"stored with {stored.path}: a reference of {count} of {arguments.reference}")


def _measure(
    model: "ImageModel", stored: "StoredModel", places: list[str], given: "Given", arguments: argparse.Namespace
) -> "tuple[list[str], Measures, list[bool]]":
    """Return the readable files, their measures by the noise of seed + i, and whether each is a training image."""
    from glow_app.evaluation.trained_on import known_pictures, trained_on
    from glow_app.generation import Measures, measure

    files: list[str] = []
    trained: list[bool] = []
    known, parts = known_pictures(stored.facts), []
    for names, images, values in given_batches(model, places, given, arguments.batch_size, "scoring", infers=False):
        first = arguments.seed + len(files)
        parts.append(measure(model, images, values, num_draws=arguments.draws, seeds=range(first, first + len(names))))
        files += names
        trained += trained_on(known, images)
    return files, Measures.joined(parts), trained


def _print_given(model: "ImageModel", given: "Given") -> None:
    """Print what the scores are conditioned on, unless the model is unconditional."""
    if given is not None:
        print(printable(f"given: {', '.join(map(in_words, given))}"))
    elif model.conditioning.values:
        print(f"given: unknown, averaged over {len(model.conditioning.values)} values")


def _print_unusual(rows: list[dict[str, Any]]) -> None:
    from glow_app.generation.reference import USUAL_PERCENT, oddest

    judged, odd = ([row for row in rows if row["verdict"] in kind] for kind in (("usual", "unusual"), ("unusual",)))
    if len(judged) < len(rows):
        print(f"no verdict: {len(rows) - len(judged)} of {len(rows)}, since the model was trained on them")
    print(f"unusual: {len(odd)} of {len(judged)} (expected of ordinary pictures: {100 - USUAL_PERCENT:g} %)")
    for row in oddest(odd, LISTED):
        print(f"  {printable(row['file'])}: {row['reason']}")


def _write_sheet(model: "ImageModel", rows: list[dict[str, Any]], path: Path, facts: dict[str, str]) -> None:
    """Write a sheet of the oddest pictures, or the least likely ones without verdicts, as the model sees them."""
    import torch

    from glow_app.data.decoding import decode_image
    from glow_app.generation.reference import oddest
    from glow_app.pictures.images import save_png
    from glow_app.pictures.panels import contact_sheet

    rows = oddest(rows, LISTED)
    arrays = [decode_image(Path(row["file"]), model.flow.image_shape, "crop") for row in rows]
    captions = [(f"{row['bits_per_dim']:.2f} bits/dim", Path(row["file"]).name) for row in rows]
    sheet = contact_sheet(torch.stack([torch.from_numpy(array.copy()) for array in arrays]), captions)
    save_png(sheet, path, facts)
    print(f"the {'highest bits/dim' if rows[0]['oddness'] is None else 'oddest'}: {path}")


def _detect(model: "ImageModel", stored: "StoredModel", given: "Given", arguments: argparse.Namespace) -> None:
    from glow_app.generation import detect
    from glow_app.pictures.images import save_png
    from glow_app.pictures.panels import histogram_picture

    ordinary, odd = (
        _measure(model, stored, [place], given, arguments)[1] for place in (arguments.reference, arguments.outliers)
    )
    detections = detect(ordinary, odd)
    folder, usual = arguments.output, len(ordinary) // 2
    counts = {"usual": usual, "ordinary": len(ordinary) - usual, "outliers": len(odd)}
    scores = {name: {"auroc": result.auroc, "aupr": result.aupr} for name, result in detections.items()}
    write_json(folder / "detection.json", {**counts, "given": given, "scores": scores})
    values = {name: (result.ordinary.tolist(), result.odd.tolist()) for name, result in detections.items()}
    notes = {name: f"AUROC {result.auroc:.3f}" for name, result in detections.items()}
    save_png(histogram_picture(values, (arguments.reference, arguments.outliers), notes), folder / "histograms.png")
    ordinary_images = pluralise(counts["ordinary"], "ordinary image")
    print(f"{pluralise(len(odd), 'outlier')} and {ordinary_images}; {usual} other ordinary images as the reference")
    _print_given(model, given)
    for name, result in detections.items():
        print(f"{name:<14} AUROC {result.auroc:.3f}  AUPR {result.aupr:.3f}")
    print(f"histograms: {folder / 'histograms.png'}")
