r"""Train the coarse levels of the bundled faces on pairs of faces that differ in one attribute, for better edits.

    python benchmarks/bundled_pairs.py    # 13 minutes of two threads to render the pairs, then half an hour of one

Of faces x with the attributes a, pairs y are rendered with the attributes b. Each level is trained by itself, on means
of 8x8 and 16x16. Beside the likelihoods of x and y, and the contrast of `glow fit`, its loss has the errors of an edit:

.. math:: \lambda \log\left(1 + (\hat y - y)^2 / \sigma^2\right), \qquad \hat y = f^{-1}(f(x; a); b)

At 16x16, x and y are the details, and the means of 8x8 are the true ones. The tails are those of Student's t, because
the style of an added beard cannot be predicted. Mouths and added hats have so many styles that edits would become their
average; these pairs have no such term.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from bundled_reader import DATA, save
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from glow_app import load_model
from glow_app.bijections import Haar
from glow_app.data.faces.drawing import render_face
from glow_app.data.faces.face import draw_face
from glow_app.data.faces.rendered import FACE_KINDS, rendered_faces
from glow_app.data.image_cache import Chunk, in_chunks
from glow_app.data.splits import SplitRequest
from glow_app.flows import MultiscaleFlow
from glow_app.flows.detail_flow import DetailFlow
from glow_app.likelihood import quantise, standard_normal_log_density
from glow_app.models.image_model import ImageModel
from glow_app.nn.context import prior_context
from lightning_modules.optimizers import Muon
from lightning_modules.schedules import LinearWarmupCosine

NUM_BITS, SIDE, RENDERED_SIDE, BATCH_SIZE = 5, 16, 256, 64
SIGMA, CONTRAST, MARGIN, SOFTNESS = 0.01, 3.0, 50.0, 10.0
IS_YES_NO = torch.tensor([kind == "yes_no" for kind in FACE_KINDS.values()])
SMILING, HAT = (list(FACE_KINDS).index(name) for name in ("smiling", "hat"))
# Attributes that means of 8x8 hardly show.
FINE = torch.tensor([name in ("smiling", "glasses", "eyes_closed") for name in FACE_KINDS])


@dataclass(frozen=True)
class Recipe:
    """How a level is trained, and the weight of the errors of edits."""

    steps: int
    learning_rate: float
    errors: float


RECIPES = {8: Recipe(3600, 7e-4, 0.5), 16: Recipe(3500, 2e-3, 2.0)}  # by the side of the means


def draw_pairs(indices: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return the attributes of faces, and those of their pairs, of which one differs, (2, N, 15)."""
    first = torch.tensor([[*draw_face(0, index).attributes().values()] for index in indices])
    odds = torch.where(IS_YES_NO, 1.0, 0.75)
    chosen = torch.multinomial(odds, len(first), replacement=True, generator=generator)[:, None]
    drawn = torch.where(IS_YES_NO, 1 - first, torch.rand(first.shape, generator=generator))
    return torch.stack([first, first.scatter(1, chosen, drawn.gather(1, chosen))])


def mean_of(image: np.ndarray) -> np.ndarray:
    """Return the 16x16 means of a face, (3, 16, 16), in levels of 5 bits."""
    levels = quantise(torch.from_numpy(image.copy()), NUM_BITS).float()
    return functional.avg_pool2d(levels, RENDERED_SIDE // SIDE).numpy()


def render_means(indices: Sequence[int], attributes: Tensor, rows: range) -> Chunk:
    """Return the means of faces with other attributes."""
    means = []
    for row in rows:
        values = zip(FACE_KINDS.items(), attributes[row].tolist(), strict=True)
        fields: dict[str, Any] = {name: bool(v) if kind == "yes_no" else v for (name, kind), v in values}
        means.append(mean_of(render_face(replace(draw_face(0, indices[row]), **fields), RENDERED_SIDE)))
    return Chunk(means, [str(row) for row in rows])


def means_of_pairs(indices: Sequence[int], others: Tensor) -> Tensor:
    """Return the means of faces, which the source keeps, and of those with other attributes, (2, N, 3, 16, 16)."""
    images = rendered_faces(0, int(DATA["count"]), RENDERED_SIDE, None)
    chunks = in_chunks(partial(render_means, indices, others), len(indices), 32, "rendering faces")
    pairs = [image for chunk in chunks for image in chunk.images]
    return torch.from_numpy(np.stack([[mean_of(images[index]) for index in indices], pairs]))


def parts_of(means: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the low band and what the level models: the details, or of 8x8 the means themselves."""
    return (means[:, :0], means) if side == 8 else Haar()(means)[0].split([3, 9], dim=1)


def loss_of(flow: MultiscaleFlow, side: int, pairs: Sequence[Tensor], known: Sequence[Tensor]) -> Tensor:
    """Return the loss of means of pairs, (B, 3, S, S), whose attributes, (B, 15), are in part unknown."""
    (low_x, x), (low_y, y) = (parts_of(each, side) for each in pairs)
    a, b = known
    differs = (a != b) & ~a.isnan()
    with torch.no_grad():
        context = flow.conditioning(torch.cat([a, b, b]))
    of_y = slice(len(a), 2 * len(a))
    with torch.autocast("cpu", torch.bfloat16):
        if side == 8:
            latents, log_det = flow(torch.cat([x, y, x]), context)
            edited = flow.decode([z[: len(a)] for z in latents], context[of_y])
        else:
            level, all_details = cast(DetailFlow, flow.split_priors[-2]), torch.cat([x, y, x])
            maps = prior_context(torch.cat([low_x, low_y, low_x]), all_details, context)
            assert maps is not None
            z, log_det = level(all_details, maps)
            latents, edited = [z], level.decode(z[: len(a)], maps[of_y])
    of_x, of_pair, of_other = (standard_normal_log_density([z.float() for z in latents]) + log_det).chunk(3)
    follows = differs.any(1) & ~differs[:, SMILING] & ~(b[:, HAT] > a[:, HAT])
    errors = torch.log1p((edited.float() - y).square() / SIGMA**2).flatten(1).mean(1)
    excess = functional.softplus((of_other - of_x + MARGIN) / SOFTNESS) * SOFTNESS
    is_contrasted = (differs & ((a - b).abs() > 0.25) & ~(FINE & (side == 8))).any(1)
    nats = (CONTRAST * excess * is_contrasted - (of_x + of_pair) / 2) / x[0].numel()
    return (nats + RECIPES[side].errors * errors * follows).mean()


def train(flow: MultiscaleFlow, side: int, means: Tensor, labels: Tensor) -> None:
    """Train a level on means, (2, N, 3, 16, 16), and attributes, (2, N, 15), of pairs; its weights become averages."""
    recipe, generator = RECIPES[side], torch.Generator().manual_seed(side)
    of_level = [*flow.levels[-2:], flow.split_priors[-1], flow.prior] if side == 8 else [flow.split_priors[-2]]
    level = nn.ModuleList(of_level).requires_grad_(True)
    averaged = AveragedModel(level, multi_avg_fn=get_ema_multi_avg_fn(0.998))
    optimizer = Muon(level.parameters(), recipe.learning_rate)
    schedule = LinearWarmupCosine(optimizer, recipe.steps, warmup_steps=50, decay_fraction=0.7)
    noise = side / RENDERED_SIDE / 12**0.5  # the standard deviation of the mean of uniform noise
    flow.train()
    for step in range(recipe.steps):
        rows, first = (torch.randint(size, (BATCH_SIZE,), generator=generator) for size in (labels.shape[1], 2))
        is_mirrored = (torch.rand(BATCH_SIZE, generator=generator) < 0.5)[:, None, None, None]
        added = 0.5 + noise * torch.randn((BATCH_SIZE, 3, side, side), generator=generator)
        pictures, known = [], []
        hidden = flow.conditioning.observe(added, labels[0, rows], generator)
        assert hidden is not None
        for place in (first, 1 - first):
            values = functional.adaptive_avg_pool2d(means[place, rows], side) + added
            pictures.append(torch.where(is_mirrored, values.flip(3), values) / 2**NUM_BITS - 0.5)
            known.append(labels[place, rows].masked_fill(hidden.isnan(), torch.nan))
        loss = loss_of(flow, side, pictures, known)
        optimizer.zero_grad()
        loss.backward()
        if nn.utils.clip_grad_norm_(level.parameters(), 100.0).isfinite():
            optimizer.step()
        schedule.step()
        averaged.update_parameters(level)
        if step % 500 == 499:
            print(f"{side}x{side}, step {step + 1}: loss {loss.item():.4f}", flush=True)
    level.load_state_dict(averaged.module.state_dict())


def main() -> None:
    torch.set_num_threads(1)
    model = load_model("faces")
    assert isinstance(model, ImageModel)
    options: dict[str, Any] = {**DATA, "split": "train", "image_shape": model.flow.image_shape}
    indices = SplitRequest(**options).rows(int(DATA["count"])).tolist()
    labels = draw_pairs(indices, torch.Generator().manual_seed(0))
    means = means_of_pairs(indices, labels[1])
    for side in RECIPES:
        train(model.flow, side, means, labels)
    save(model)


if __name__ == "__main__":
    main()
