"""Samplers as programs of torch.export."""

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

# A function from latents and None (with classes, latents, labels and guidance) to images.
Draw = Callable[..., Tensor]

# Suppresses torch's warnings, which are for developers of exporters.
quiet = partial(warnings.catch_warnings, action="ignore")

# Batch size of the example. torch.export would specialise to a batch size of 1.
EXAMPLE_SIZE = 2


def trace(sampler: Sampler) -> ExportedProgram:
    """Return the sampler as a functional graph with dynamic batch size.

    Its inputs are a list of a tensor per level and None; for a class-conditional model, the list, labels and guidance.
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
        # Removes log-determinants, on which images do not depend, and the contexts that disable autocast.
        return program.run_decompositions({})


def save_program(sampler: Sampler, path: Path) -> None:
    """Write the sampler as a ``.pt2`` file."""
    program = io.BytesIO()  # writing to a full disk, torch would abort the process
    with quiet():
        torch.export.save(trace(sampler), program)
    path.write_bytes(program.getbuffer())


def load_program(path: Path) -> Draw:
    """Return a file of :func:`save_program` as a function."""
    with quiet():
        return torch.export.load(path).module()
