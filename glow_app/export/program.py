"""A sampler as a program of torch.export."""

import io
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from glow_app.export.sampler import Sampler

# From latents to images: of latents and None or, for classes, of latents, labels and guidance.
Draw = Callable[..., Tensor]

# Without the warnings of torch, which are for developers of exporters.
quiet = partial(warnings.catch_warnings, action="ignore")

# Of the example. Not 1, which would be taken for the only batch size there is.
EXAMPLE_SIZE = 2


def trace(sampler: Sampler) -> ExportedProgram:
    """Return the sampler's graph, of pure functions, for every batch size.

    It takes one tensor per level, as a list, and None or, if the model is class-conditional, labels and guidance.
    """
    flow = sampler.flow
    dtype = next(flow.parameters()).dtype
    latents = [torch.zeros(EXAMPLE_SIZE, *shape, dtype=dtype) for shape in flow.latent_shapes]
    batch = {0: Dim("batch")}
    inputs: tuple[Any, ...] = (latents, None)
    shapes: tuple[Any, ...] = ([batch] * len(latents), None)
    if flow.num_classes is not None:
        inputs = (latents, torch.zeros(EXAMPLE_SIZE, dtype=torch.int64), torch.ones(EXAMPLE_SIZE, dtype=dtype))
        shapes = ([batch] * len(latents), batch, batch)
    with torch.no_grad(), quiet():
        program = torch.export.export(sampler, inputs, dynamic_shapes=shapes, strict=False)
        # Without the log-determinants, on which no image depends, and what switches autocast off.
        return program.run_decompositions({})


def save_program(sampler: Sampler, path: Path) -> None:
    """Write the sampler as a ``.pt2`` file."""
    program = io.BytesIO()  # on a full disk, torch would end the process
    with quiet():
        torch.export.save(trace(sampler), program)
    path.write_bytes(program.getbuffer())


def load_program(path: Path) -> Draw:
    """Return what a file of :func:`save_program` draws."""
    with quiet():
        return torch.export.load(path).module()
