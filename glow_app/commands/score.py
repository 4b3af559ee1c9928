"""Score how likely and how odd pictures are: bits/dim, and a verdict with its reason, the oddest first."""

import argparse
import codecs
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app.commands.input_pictures import given_batches, picture_files
from glow_app.commands.loading import load, provenance, read_given
from glow_app.commands.parser import Parser, positive_int, seed_number
from glow_app.commands.results import free_paths, refuse_replacing, write_json
from glow_app.files import atomic_file
from glow_app.messages import UsageError, all_in_words, in_words, pluralise, printable

if TYPE_CHECKING:
    from glow_app.conditioning import Given
    from glow_app.models.image_model import ImageModel
    from glow_app.pipeline import Measures, Reference
    from glow_app.storage.stored_model import StoredModel

LISTED = 10  # maximum number of unusual pictures to print, and of pictures in the sheet
NO_VERDICTS = "no verdicts: the model has no reference of ordinary pictures; pass one as --reference FOLDER"


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow score``."""
    parser.add_argument("images", nargs="*", help="picture files, or folders of them", metavar="PICTURE")
    parser.add_model_arguments()
    parser.add_output_arguments()
    ordinary = "folder of ordinary pictures (default: those stored with the model, if any)"
    parser.add_argument("--reference", help=ordinary, metavar="FOLDER")
    saved = "store the statistics of --reference with the exported model, for later scores and glow serve"
    parser.add_argument("--save-reference", action="store_true", help=saved)
    parser.add_given_argument("averaged over all")
    parser.add_argument("--draws", type=positive_int, default=1, help="dequantisation draws for bits/dim")
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of the noise; picture i uses seed + i")
    parser.add_batch_size_argument()


def run(arguments: argparse.Namespace) -> None:
    """Write scores.csv, scores.json and a sheet of the oddest pictures; or store a reference."""
    from glow_app.pipeline import USUAL_PERCENT

    if not arguments.images and not arguments.save_reference:
        raise UsageError("glow score needs pictures to score")
    if arguments.save_reference and (not arguments.reference or arguments.given is not None):
        raise UsageError("--save-reference needs --reference, a folder of held-out pictures, without --given")
    # List all pictures first, to refuse invalid places before any picture is measured.
    read = [*picture_files(arguments.images), *picture_files([arguments.reference] if arguments.reference else [])]
    if arguments.images:
        names = ["scores.csv", "scores.json", "oddest.png"]
        table, record, sheet = free_paths(arguments.output, names, arguments.overwrite)
        refuse_replacing(read, [table, record, sheet])
    model, stored = load(arguments)
    given = read_given(model, arguments.given)
    reference, usual = _reference(model, stored, arguments)
    if not arguments.images:
        return
    rows = _scored(model, given, reference, arguments)
    with atomic_file(table) as file:
        writer = csv.DictWriter(codecs.getwriter("utf-8")(file, "surrogateescape"), list(rows[0]))
        writer.writeheader()
        writer.writerows(row | ({"given": in_words(row["given"])} if row.get("given") else {}) for row in rows)
    facts = {"model": stored.hash, "num_bits": model.num_bits, "draws": arguments.draws, "usual": usual, "given": given}
    write_json(record, {**facts, "images": rows})
    print(NO_VERDICTS if usual is None else f"reference: {usual}")
    if reference is not None:
        odd = [row for row in rows if row["verdict"] == "unusual"]
        print(f"unusual: {len(odd)} of {len(rows)} (expected of ordinary pictures: {100 - USUAL_PERCENT:g} %)")
        for row in odd[:LISTED]:
            print(f"  {printable(row['file'])}: {row['reason']}")
    _write_sheet(model, rows[:LISTED], sheet, provenance(stored))
    print(f"the {'highest bits/dim' if reference is None else 'oddest'}: {sheet}")
    print(f"scores: {table}, {record}")


def _reference(
    model: "ImageModel", stored: "StoredModel", arguments: argparse.Namespace
) -> "tuple[Reference, str] | tuple[None, None]":
    """Return the reference of ordinary pictures and a description of these pictures, or None for both."""
    from glow_app.pipeline import Reference
    from glow_app.storage.pretrained import save_reference

    if not arguments.reference:
        reference = Reference.of_facts(stored.facts, len(model.flow.latent_shapes))
        if reference is None:
            return None, None
        of_all = "" if arguments.given is None else ", of all kinds"
        return reference, f"{reference.num_images:,} ordinary images stored with the model{of_all}"
    if arguments.save_reference and not (stored.path.is_dir() and stored.is_own):
        raise UsageError(f"--save-reference needs an exported model of your own, got {stored.place} (see glow export)")
    reference = Reference.of(_measure(model, [arguments.reference], arguments)[1])
    if arguments.save_reference:
        save_reference(stored.path, reference.to_plain())
        count = pluralise(reference.num_images, "image")
        print(f"stored with {stored.path}: a reference of {count} of {arguments.reference}")
    return reference, arguments.reference


def _measure(model: "ImageModel", places: list[str], arguments: argparse.Namespace) -> "tuple[list[str], Measures]":
    """Return the readable files, and their measures by the noise of seed + i."""
    from glow_app.pipeline import Measures, measure

    files: list[str] = []
    parts: list[Measures] = []
    batches = given_batches(model, places, arguments.given, arguments.batch_size, "scoring", infers=False)
    for names, images, values in batches:
        first = arguments.seed + len(files)
        parts.append(measure(model, images, values, draws=arguments.draws, seeds=range(first, first + len(names))))
        files += names
    return files, Measures.joined(parts)


def _scored(
    model: "ImageModel", given: "Given", reference: "Reference | None", arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return a row for each picture, the oddest first, and print a summary."""
    from glow_app.pipeline import score_rows

    files, measures = _measure(model, arguments.images, arguments)
    shown = model.vocabulary.format(measures.given)
    rows: list[dict[str, Any]] = [
        {"file": files[i], **row, **({"given": shown[i]} if shown else {}), "seed": arguments.seed + i}
        for i, row in enumerate(score_rows(measures, reference))
    ]
    mean, draws = float(measures.bits_per_dim.mean()), pluralise(arguments.draws, "draw")
    print(f"{pluralise(len(rows), 'image')}, {mean:.4f} bits/dim on average ({model.num_bits}-bit, {draws})")
    if given is not None:
        print(printable(f"given: {all_in_words(given)}"))
    elif model.vocabulary.values:
        print(f"given: unknown, averaged over {len(model.vocabulary.values)} values")
    return sorted(rows, key=lambda row: (-(row["oddness"] or 0), -row["bits_per_dim"]))


def _write_sheet(model: "ImageModel", rows: list[dict[str, Any]], path: Path, facts: dict[str, str]) -> None:
    """Write a sheet of pictures as the model sees them."""
    import torch

    from glow_app.data.decoding import decode_image
    from glow_app.pictures.images import save_picture
    from glow_app.pictures.panels import contact_sheet

    arrays = [decode_image(Path(row["file"]), model.flow.image_shape, "crop") for row in rows]
    captions = [(f"{row['bits_per_dim']:.2f} bits/dim", Path(row["file"]).name) for row in rows]
    sheet = contact_sheet(torch.stack([torch.from_numpy(array.copy()) for array in arrays]), captions)
    save_picture(sheet, path, facts)
