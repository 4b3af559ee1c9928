"""Decode latents of `glow encode` to pictures."""

import argparse
from pathlib import Path

from glow_app.commands.loading import load
from glow_app.commands.parser import Parser
from glow_app.commands.results import refuse_existing
from glow_app.messages import pluralise
from glow_app.progress import tracked


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow decode``."""
    parser.add_argument("latents", help="file written by glow encode", metavar="FILE")
    parser.add_model_arguments()
    parser.add_output_arguments()
    parser.add_batch_size_argument()


def run(arguments: argparse.Namespace) -> None:
    """Write the decoded pictures."""
    from glow_app.generation.tensor_file import load_latents
    from glow_app.pictures.images import save_png, to_pil

    model, _ = load(arguments)
    latents, folder = load_latents(Path(arguments.latents), model), arguments.output
    # Numbered, because pictures of different folders may share a name.
    names = [f"{number:06d}_{Path(name).stem}.png" for number, name in enumerate(latents.names)]
    refuse_existing([folder / name for name in names], arguments.overwrite)
    starts = range(0, len(names), arguments.batch_size)
    for start in tracked(starts, len(starts), "decoding"):
        part = slice(start, start + arguments.batch_size)
        given = None if latents.given is None else latents.given[part]
        images = model.decode([level[part].to(model.device, model.dtype) for level in latents.levels], given)
        for name, image in zip(names[part], images, strict=True):
            save_png(to_pil(image), folder / name)
    print(f"{pluralise(len(names), 'image')}: {folder}")
