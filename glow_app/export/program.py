"""Samplers as programs of torch.export: written, checked against their model, and described."""

import io
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from glow_app import __version__
from glow_app.bijections import ContinuousFlow, Inverse, MaskedAutoregressive, Planar
from glow_app.files import atomic_folder, sha256_of
from glow_app.likelihood import to_uint8
from glow_app.models.image_model import ImageModel
from glow_app.pipeline.reference import REFERENCE_KEY
from glow_app.pipeline.sampling import guidance_change
from glow_app.running import fold

DESCRIPTION_NAME, PROGRAM_NAME = "sampler.json", "sampler.pt2"
FORMAT = "glow-sampler/1"
MAX_SHARE = 1e-3  # of the values in the check that may differ, by rounding
GUIDED = "1 is the model itself; above 1 classes are clearer, and images are no longer samples of its distribution"

# Steps of an autoregressive prior, each of which is in the graph; this number takes minutes to export.
MAX_STEPS = 256
_TRACED = 2  # torch.export would specialise to a batch size of 1

# Maps latents, what is given (None for an unconditional model) and, if the model takes it, guidance to images.
Draw = Callable[..., Tensor]

# Suppresses torch's warnings, which are for developers of exporters.
quiet = partial(warnings.catch_warnings, action="ignore")


class Sampler(nn.Module):
    r"""The map from whitened latents to images, with folded weights (:func:`~glow_app.running.fold`).

    .. math:: z \mapsto \mathrm{uint8}(f^{-1}(z)), \qquad z_l = T_l\, \epsilon_l, \quad \epsilon_l \sim \mathcal N(0, I)

    The images are those of :meth:`ImageModel.decode <glow_app.models.image_model.ImageModel.decode>`. Control flow does
    not depend on values, so a single graph of ``torch.export`` holds for all inputs and batch sizes.

    Args:
        model: The model, on the CPU; it is not modified.
    Shape:
        latents: (B, C_l, H_l, W_l) per level; given: as :meth:`Vocabulary.parse
        <glow_app.conditioning.Vocabulary.parse>` returns it, a row per image, or None for an unconditional model;
        guidance: (B,), with the latents' dtype, 1 if None, for a conditioning that takes it; images: (B, C, H, W),
        uint8.
    Raises:
        ValueError: If inverting the prior requires iteration or too many steps.
    """

    def __init__(self, model: ImageModel) -> None:
        super().__init__()
        _require_one_graph(model)
        self.flow = fold(model.flow)
        self.num_bits = model.num_bits
        self.eval()

    def forward(self, latents: Sequence[Tensor], given: Tensor | None = None, guidance: Tensor | None = None) -> Tensor:
        """Return the images of ``latents``."""
        given = given.to(latents[0].dtype) if given is not None and given.is_floating_point() else given
        conditioning = self.flow.conditioning
        context: Any = None if given is None else conditioning(given)
        if given is not None and guidance is not None:
            context = context + (guidance[:, None] - 1) * conditioning.guidance(given, given)
        return to_uint8(self.flow.decode(latents, context), self.num_bits)


def _require_one_graph(model: ImageModel) -> None:
    prior = model.flow.prior
    if any(isinstance(part, (ContinuousFlow, Planar)) for part in prior.modules()):
        raise ValueError(
            f"{type(prior).__name__} is inverted by iteration, which a graph cannot express; use glow sample, or train "
            "with a Gaussian, MAF or IAF prior"
        )
    quick = {part.bijection for part in prior.modules() if isinstance(part, Inverse)}
    slow = [part for part in prior.modules() if isinstance(part, MaskedAutoregressive) and part not in quick]
    if (num_steps := sum(part.num_steps for part in slow)) > MAX_STEPS:
        raise ValueError(
            f"{type(prior).__name__} draws in {num_steps} steps, but a graph has at most {MAX_STEPS}; use glow "
            "sample, or train with fewer max_groups or an IAF prior"
        )


def save_sampler(
    model: ImageModel, folder: str | Path, training: Mapping[str, Any] | None = None, overwrite: bool = False
) -> float:
    """Write the model's map from latents to images as a program, checked against the model, with a description.

    Args:
        model: The model, on the CPU.
        training: Facts of the training for the description, of plain types; records for this package are left out.
    Returns:
        The share of pixels that the program draws differently from the model: 0, unless torch rounds differently.
    Raises:
        FileExistsError: If the folder exists and ``overwrite`` is False.
        ValueError: If the model cannot be exported, or the program differs from it by more than rounding.
    """
    with atomic_folder(Path(folder), (DESCRIPTION_NAME, PROGRAM_NAME), overwrite) as building:
        path = building / PROGRAM_NAME
        content = io.BytesIO()  # writing to a full disk, torch would abort the process
        with quiet():
            torch.export.save(trace(Sampler(model), model.vocabulary.default(range(_TRACED))), content)
        path.write_bytes(content.getbuffer())
        share = _share_different(model, load_program(path))
        if share > MAX_SHARE:
            raise ValueError(
                f"the program differs from the model in {share:.2%} of the pixels; expected at most {MAX_SHARE:.1%}; "
                "nothing was written: please report it"
            )
        facts = {name: fact for name, fact in (training or {}).items() if name != REFERENCE_KEY}
        description = _describe(model, path) | {"training": facts, "check": {"different": share}}
        (building / DESCRIPTION_NAME).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return share


def load_program(path: Path) -> Draw:
    """Return a program that :func:`save_sampler` wrote as a function."""
    with quiet():
        return torch.export.load(path).module()


def trace(sampler: Sampler, given: Tensor | None) -> ExportedProgram:
    """Return the sampler as a functional graph with dynamic batch size.

    Its inputs are a list of a tensor per level and what is given, such as ``given``, or None; and the guidance, if
    there is any.
    """
    flow, size = sampler.flow, _TRACED
    dtype = next(flow.parameters()).dtype
    latents = [torch.zeros(size, *shape, dtype=dtype) for shape in flow.latent_shapes]
    batch = {0: Dim("batch")}
    inputs: tuple[Any, ...] = (latents, given)
    shapes: tuple[Any, ...] = ([batch] * len(latents), None if given is None else batch)
    if flow.conditioning.guided:
        inputs, shapes = (*inputs, torch.ones(size, dtype=dtype)), (*shapes, batch)
    with torch.no_grad(), quiet():
        program = torch.export.export(sampler, inputs, dynamic_shapes=shapes, strict=False)
        # Removes log-determinants, on which images do not depend, and the contexts that disable autocast.
        return program.run_decompositions({})


@torch.no_grad()
def _share_different(model: ImageModel, draw: Draw) -> float:
    """Return the share of values that a program draws differently, over batch sizes, temperatures and classes."""
    different = total = 0
    for size, temperature in ((1, 0.7), (2, 1.0), (5, 0.7)):
        seeds = range(10 * size, 11 * size)
        latents = model.base_noise(seeds, temperature)
        given = model.vocabulary.default(seeds)
        inputs: tuple[Tensor | None, ...] = (given,)
        guidance = [1.25 if seed % 2 and model.conditioning.guided else 1.0 for seed in seeds]
        if model.conditioning.guided:
            inputs = (given, torch.tensor(guidance, dtype=model.dtype))
        context: Any = model.context(given, size)
        change = None if given is None else guidance_change(model, given, guidance)
        images = model.decode_with(latents, context if change is None else context + change)
        others = draw(latents, *inputs)
        if others.shape != images.shape or others.dtype != images.dtype:
            return 1.0
        different += int((images != others).sum())
        total += images.numel()
    return different / total


def _describe(model: ImageModel, path: Path) -> dict[str, Any]:
    flow, conditioning = model.flow, model.conditioning
    dtype = str(model.dtype).removeprefix("torch.")
    inputs: list[dict[str, Any]] = [
        {"name": f"level{number}", "shape": ["batch", *shape], "dtype": dtype}
        for number, shape in enumerate(flow.latent_shapes)
    ]
    latents = ", ".join(level["name"] for level in inputs)
    if (given := model.vocabulary.default([0])) is not None:
        shape, kind = ["batch", *given.shape[1:]], str(given.dtype).removeprefix("torch.")
        inputs.append({"name": "given", "shape": shape, "dtype": kind})
    if conditioning.guided:
        inputs.append({"name": "guidance", "shape": ["batch"], "dtype": dtype, "from": 0})
    load = f"torch.export.load('{PROGRAM_NAME}').module()"
    others = ", ".join(row["name"] for row in inputs[len(flow.latent_shapes) :]) or "None"
    return {
        "format": FORMAT,
        "version": __version__,
        "program": {"kind": "torch-export", "file": path.name, "sha256": sha256_of(path), "torch": torch.__version__},
        "model": model.hash,
        "inputs": inputs,
        "output": {"name": "images", "shape": ["batch", *flow.image_shape], "dtype": "uint8"},
        "given": model.vocabulary.describe(),
        "num_bits": model.num_bits,
        "temperature": model.generation.temperatures(len(flow.latent_shapes)),
        "noise": "each level is standard normal noise of its shape times its temperature; level0 is the finest",
        **({"guidance": model.generation.guidance, "guided": GUIDED} if conditioning.guided else {}),
        "use": f"draw = {load}; images = draw([{latents}], {others})",
    }
