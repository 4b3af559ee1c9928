"""Restoration of a picture by several models one after another, such as cleaning and then enlarging."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.pictures.images import to_pil
from glow_app.pictures.picture_file import PictureFile
from glow_app.progress import tracked
from glow_app.restoration.decision import CLEAN
from glow_app.restoration.restoration_task import RestorationTask
from glow_app.restoration.restoring import Restoration, require_size, restore_damaged


def restore_successively(
    steps: Sequence[tuple[ImageModel, RestorationTask]],
    damaged: Tensor,
    count: int = 1,
    temperature: float | Sequence[float] | None = 0.0,
    seed: int = 0,
    force: bool = False,
    track: Callable[..., Iterable[None]] | None = None,
) -> Restoration:
    """Return the restoration by the last of several models, each of which restores what the one before it gives.

    Draws go through all steps that enlarge; a step that cleans gives the next one its best guess.

    Args:
        steps: Models with their tasks, from :func:`~glow_app.restoration.require_task`.
        damaged: As for :func:`~glow_app.restoration.restore_damaged`, of the first task.
        seed: Seed of the first draw; draw i uses seed + i.
        track: As for :func:`~glow_app.restoration.restore_damaged`, but also given the ``share`` of the work that the
            steps are; if None, :func:`~glow_app.progress.tracked`.
    """
    notes, pictures = [], [damaged]
    height, width = (side * math.prod(task.factor for _, task in steps[:-1]) for side in damaged.shape[1:])
    require_size(*steps[-1], count, height, width)
    for place, (model, task) in enumerate(steps, 1):
        is_drawn = task.factor > 1 or len(steps) == 1
        num, of_step = (count // len(pictures), temperature) if is_drawn else (1, 0.0)
        of_picture = partial(track or partial(tracked, doing="restoring"), share=1 / len(steps) / len(pictures))
        results = [
            restore_damaged(model, picture, num, of_step, seed + number, task, of_picture, force)
            for number, picture in enumerate(pictures)
        ]
        note, times = results[0].note, math.prod(task.factor for _, task in steps[place:])
        if note and task.factor == 1 and times > 1:
            enlarged = f"enlarged {times} times"
            note = CLEAN.format(f"only {enlarged}") if results[0].is_clean else f"{note}, then {enlarged}"
        notes.append(note)
        pictures = [draw for result in results for draw in result.draws]
    restoration = replace(results[0], note="; ".join(filter(None, notes)) or None)
    if len(results) == 1:
        return restoration
    draws = Images(torch.stack(pictures), [fact for result in results for fact in result.draws.facts])
    return replace(restoration, draws=draws, overshoot=torch.cat([result.overshoot for result in results]))


def note_on_results(restoration: Restoration, file: PictureFile) -> str | None:
    """Return what the results of a file have lost, unless they are the file itself, and what was decided."""
    if file.is_kept(to_pil(restoration.draws[0])):
        return restoration.note
    decision = CLEAN.format("only saved anew") if restoration.is_clean else restoration.note
    return "; ".join(filter(None, [file.photo.note, decision])) or None
