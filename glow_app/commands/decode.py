"""Decode latents of `glow encode` to pictures."""

import argparse
from pathlib import Path

from glow_app.commands.loading import load
from glow_app.commands.parser import Parser
from glow_app.commands.results import free_paths
from glow_app.messages import pluralise
from glow_app.progress import tracked


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow decode``."""
    parser.add_argument("latents", help="file written by glow encode", metavar="FILE")
    parser.add_model_arguments()
    parser.add_output_arguments("NAME.png")
    parser.add_batch_size_argument()


def run(arguments: argparse.Namespace) -> None:
    """Write the decoded pictures."""
    from glow_app.pictures.images import save_picture, to_pil
    from glow_app.pipeline.tensor_file import load_latents

    model, _ = load(arguments)
    latents = load_latents(Path(arguments.latents), model)
    # Numbered, because pictures of different folders may share a name.
    names = [f"{number:06d}_{Path(name).stem}.png" for number, name in enumerate(latents.names)]
    paths = free_paths(arguments.output, names, arguments.overwrite)
    starts = range(0, len(paths), arguments.batch_size)
    for start in tracked(starts, len(starts), "decoding"):
        part = slice(start, start + arguments.batch_size)
        given = None if latents.given is None else latents.given[part]
        images = model.decode([level[part].to(model.device, model.dtype) for level in latents.levels], given)
        for path, image in zip(paths[part], images, strict=True):
            save_picture(to_pil(image), path)
    print(f"{pluralise(len(paths), 'image')}: {paths[0] if len(paths) == 1 else paths[0].parent}")
