"""Measure how well a model with attributes draws faces with requested attributes.

``face_edits.py`` runs it. Of the attributes that are not requested, nothing is known ("unknown"), or they are those of
a training face ("drawn"), as :meth:`AttributeVocabulary.default` does for all samples of the application.
"""

from collections.abc import Mapping
from typing import Any

import torch
from face_classifier import NAMES, NUM_BINARY, SIDE, FaceJudges, seen
from torch import Tensor

from glow_app.models.image_model import ImageModel
from glow_app.pipeline.sampling import decode_guided

YES_NO = NAMES[:NUM_BINARY]
RESTS = ("unknown", "drawn")


def measure_samples(model: ImageModel, judges: FaceJudges, images: Tensor, attributes: Tensor) -> dict[str, Any]:
    """Return bits/dim, and what samples with the recommended settings show.

    Args:
        model: The model.
        judges: The judges of samples.
        images: Faces that nothing has seen, (N, 3, H, W).
        attributes: Their attributes, (N, 15); those that are requested are taken from here too.
    """
    pairs = list(zip(images.split(50), attributes.split(50), strict=True))
    bits = {
        "true attributes": torch.cat([model.bits_per_dim(part, given) for part, given in pairs]),
        "none": torch.cat([model.bits_per_dim(part) for part, _ in pairs]),
    }
    result: dict[str, Any] = {"bits_per_dim": {name: float(each.mean()) for name, each in bits.items()}}
    print(result)
    return result | {f"requested, rest {rest}": requested(model, judges, attributes, rest) for rest in RESTS}


def requested(model: ImageModel, judges: FaceJudges, attributes: Tensor, rest: str) -> dict[str, Any]:
    """Return the shares of samples, with the seeds 0 to N - 1, that show the requested attributes."""
    places = torch.arange(len(NAMES))

    def shares(is_requested: Tensor, wanted: Tensor) -> Tensor:
        """Return whether each sample shows each wanted answer, (N, 7)."""
        given = wanted.where(is_requested, torch.nan)
        parts: list[Tensor] = []
        for rows in torch.arange(len(given)).split(50):
            seeds, stated = rows.tolist(), given[rows]
            noise = model.base_noise(seeds, model.generation.temperature, (SIDE, SIDE))
            filled = model.vocabulary.default(seeds, stated) if rest == "drawn" else stated
            parts.append(decode_guided(model, noise, filled, model.generation, stated))
        return (seen(judges, torch.cat(parts))[:, :NUM_BINARY] > 0.5) == (wanted[:, :NUM_BINARY] > 0.5)

    result: dict[str, Any] = {"one": {}}
    for place, name in enumerate(YES_NO):
        for answer, word in ((1.0, "yes"), (0.0, "no")):
            right = shares(places == place, torch.full_like(attributes, answer))
            result["one"][f"{name} {word}"] = float(right[:, place].double().mean())
            print(f"rest {rest}:", name, word, result["one"][f"{name} {word}"], flush=True)
    result["mean of one"] = sum(result["one"].values()) / len(result["one"])
    right = shares(places < NUM_BINARY, attributes)
    result["all seven"] = float(right.all(1).double().mean())
    pairs = torch.rand(len(attributes), NUM_BINARY, generator=torch.Generator().manual_seed(0)).argsort(1)[:, :2]
    right = shares((places == pairs[:, :1]) | (places == pairs[:, 1:]), attributes)
    result["two"] = float(right.gather(1, pairs).all(1).double().mean())
    print({name: value for name, value in result.items() if isinstance(value, float)}, flush=True)
    return result


def sample_rows(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the table: of 100 samples, those that are right."""
    samples = [result[f"requested, rest {rest}"] for rest in RESTS]
    rows = []
    for name in YES_NO:
        shares = [f"{100 * one['one'][f'{name} yes']:.0f}, {100 * one['one'][f'{name} no']:.0f}" for one in samples]
        rows.append([f"`{name}`", *shares])
    for name in ("mean of one", "two", "all seven"):
        rows.append([name, *(f"{100 * one[name]:.0f}" for one in samples)])
    return ["requested", "yes and no, rest unknown", "yes and no, rest drawn"], rows
