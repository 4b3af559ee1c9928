"""Measure the likelihood of held-out images: bits/dim, and that of the same images as a PNG.

Nothing is written.
"""

import argparse
import warnings

from glow_app.commands.held_out_images import add_data_arguments, held_out_images, print_bits
from glow_app.commands.loading import load
from glow_app.commands.parser import Parser, positive_int, seed_number


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow test``."""
    parser.add_model_arguments(default=None)
    add_data_arguments(parser)
    parser.add_argument("--limit", type=positive_int, help="maximum number of images (default: the whole split)")
    draws = "dequantisation draws; with several, the importance-weighted bits/dim is also measured"
    parser.add_argument("--draws", type=positive_int, default=1, help=draws)
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of all noise; image i uses seed + i")
    parser.add_batch_size_argument(64)


def run(arguments: argparse.Namespace) -> None:
    """Print the figures."""
    from glow_app.evaluation import bits_record, faults_of
    from glow_app.restoration import task_of

    model, stored = load(arguments, restores=None)
    data = held_out_images(model, stored, arguments, arguments.limit, train_limit=0, least=2)
    bits = bits_record(model, data.held_out, arguments.draws, arguments.seed, arguments.batch_size)
    print_bits(bits, len(data.held_out), "" if task_of(model) is None else ", given the damaged picture")
    for fault in faults_of(model, data.held_out, bits["one_draw"]["mean"]):
        warnings.warn(fault, stacklevel=1)
