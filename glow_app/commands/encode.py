"""Write the whitened latents of pictures as safetensors; `glow decode` decodes them."""

import argparse
from pathlib import Path

from glow_app.commands.classes import PictureClasses
from glow_app.commands.common import load, picture_batches, print_lost_bits, refuse_existing
from glow_app.commands.parser import Parser
from glow_app.messages import UsageError, pluralise


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow encode``."""
    parser.add_argument("images", nargs="+", help="picture files, or folders of them", metavar="PICTURE")
    parser.add_model_arguments()
    parser.add_label_argument("class of all pictures (default: from their folders' names, or inferred)")
    parser.add_argument("--output", default="latents.safetensors", help="output file", metavar="FILE")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_batch_size_argument()


def run(arguments: argparse.Namespace) -> None:
    """Write the latents."""
    import torch

    from glow_app.generation.reconstruction import low_bits
    from glow_app.generation.tensor_file import Latents, save_latents

    output = Path(arguments.output)
    if output.suffix != ".safetensors":
        raise UsageError(f"--output {output} is of no known kind; expected a name that ends in .safetensors")
    refuse_existing([output], arguments.overwrite)
    model = load(arguments)
    names, batch_labels = [], []
    parts: list[list[torch.Tensor]] = [[] for _ in model.flow.latent_shapes]
    classes, lost = PictureClasses(model, arguments.label), 0
    for files, images in picture_batches(model, arguments.images, arguments.batch_size, "encoding"):
        labels = classes.of(images, files)
        for level_parts, z in zip(parts, model.encode(images, labels), strict=True):
            level_parts.append(z.cpu())
        batch_labels += [] if labels is None else [labels]
        names += files
        lost = max(lost, int(low_bits(model, images).abs().max()))
    classes.report()
    levels = [torch.cat(parts.pop(0)) for _ in model.flow.latent_shapes]  # at most a single level is in memory twice
    output.parent.mkdir(parents=True, exist_ok=True)
    save_latents(Latents(levels, names, torch.cat(batch_labels) if batch_labels else None), model, output)
    shapes = ", ".join("x".join(map(str, level.shape[1:])) for level in levels)
    print(f"{pluralise(len(names), 'image')}, latents of {shapes}: {output}")
    print_lost_bits(model, lost)
