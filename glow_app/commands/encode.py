"""Write the whitened latents of pictures as safetensors; `glow decode` decodes them."""

import argparse

from glow_app.commands.input_pictures import given_batches
from glow_app.commands.loading import load
from glow_app.commands.parser import Parser
from glow_app.commands.results import free_paths
from glow_app.messages import pluralise


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow encode``."""
    parser.add_argument("images", nargs="+", help="picture files, or folders of them", metavar="PICTURE")
    parser.add_model_arguments()
    parser.add_given_argument()
    parser.add_output_arguments()
    parser.add_batch_size_argument()


def run(arguments: argparse.Namespace) -> None:
    """Write the latents."""
    import torch

    from glow_app.pipeline.reconstruction import low_bits
    from glow_app.pipeline.tensor_file import Latents, save_latents

    (output,) = free_paths(arguments.output, ["latents.safetensors"], arguments.overwrite)
    model, _ = load(arguments)
    names, values = [], []
    parts: list[list[torch.Tensor]] = [[] for _ in model.flow.latent_shapes]
    change = 0
    batches = given_batches(model, arguments.images, arguments.given, arguments.batch_size, "encoding")
    for files, images, part in batches:
        for level_parts, z in zip(parts, model.encode(images, part), strict=True):
            level_parts.append(z.cpu())
        values += [] if part is None else [part.cpu()]
        names += files
        change = max(change, int(low_bits(model, images).abs().max()))
    levels = [torch.cat(parts.pop(0)) for _ in model.flow.latent_shapes]  # at most a single level is in memory twice
    save_latents(Latents(levels, names, torch.cat(values) if values else None), model, output)
    shapes = ", ".join("x".join(map(str, level.shape[1:])) for level in levels)
    print(f"{pluralise(len(names), 'image')}, latents of {shapes}: {output}")
    if change:
        print(f"quantised to {model.num_bits} bits first, which changed pixels by up to {change} of 255")
