"""Whether edits of faces do what their names say: a classifier of the attributes looks at the faces before and after.

    python benchmarks/face_edits.py                    # the bundled model, with the directions that come with it
    python benchmarks/face_edits.py --checkpoint RUN   # another one, with those beside it

The classifier learns from rendered faces (seed 1) and is kept in runs/; minutes of one thread the first time. Edited
are faces that neither the model nor the classifier has seen (seed 2). An attribute of yes or no is added to faces
without it, and removed from faces with it; real ones move by a quarter of their range.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import IS_SHORT, write_result, write_table
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from glow_app import load_model
from glow_app.commands.common import directions_folders
from glow_app.data.faces.face import REAL_NAMES, YES_NO_NAMES, draw_face
from glow_app.data.faces.rendered import rendered_faces
from glow_app.generation import edit, load_directions
from glow_app.model import ImageModel

NAMES = (*YES_NO_NAMES, *REAL_NAMES)
NUM_YES_NO = len(YES_NO_NAMES)
SIDE = 64
WEIGHTS = Path(__file__).parents[1] / "runs" / "face_classifier.safetensors"
NUM_TRAINING, NUM_EDITED, NUM_EPOCHS = (640, 64, 1) if IS_SHORT else (20_000, 600, 8)
REAL_CHANGE = 0.25  # of the range of a real attribute: what counts as a change of it


class FaceClassifier(nn.Sequential):
    """Logits of the yes-or-no attributes, then the real ones: (B, 3, 64, 64) from 0 to 1 to (B, 15)."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for width in (24, 48, 96, 128):
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, padding=1, groups=8), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        super().__init__(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(channels * 16, len(NAMES)))


def faces(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Return rendered faces, and their attributes from 0 to 1, (N, 15)."""
    images = torch.from_numpy(rendered_faces(seed, count, SIDE, None)[:count].copy())
    attributes = [draw_face(seed, index).attributes() for index in range(count)]
    return images, torch.tensor([[one[name] for name in NAMES] for one in attributes])


def train() -> FaceClassifier:
    """Train the classifier."""
    images, attributes = faces(1, NUM_TRAINING)
    classifier = FaceClassifier()
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=3e-3, weight_decay=0.05)
    batches = len(images) // 128
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=NUM_EPOCHS * batches)
    for epoch in range(NUM_EPOCHS):
        total = 0.0
        for rows in torch.randperm(len(images))[: batches * 128].split(128):
            answers = classifier(images[rows].float() / 255)
            yes_no = functional.binary_cross_entropy_with_logits(answers[:, :NUM_YES_NO], attributes[rows, :NUM_YES_NO])
            loss = yes_no + 5 * functional.mse_loss(answers[:, NUM_YES_NO:], attributes[rows, NUM_YES_NO:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() / batches
        print(f"epoch {epoch + 1} of {NUM_EPOCHS}: loss {total:.4f}", flush=True)
    return classifier


def trained() -> FaceClassifier:
    """Return the classifier, which is trained unless it has been."""
    if WEIGHTS.exists() and not IS_SHORT:
        classifier = FaceClassifier()
        classifier.load_state_dict(load_file(WEIGHTS))
    else:
        classifier = train()
        WEIGHTS.parent.mkdir(exist_ok=True)
        save_file(classifier.state_dict(), WEIGHTS)
    return classifier.eval()


@torch.no_grad()
def answers_of(classifier: FaceClassifier, images: Tensor) -> Tensor:
    """Return the attributes that the classifier sees, (N, 15): probabilities, then numbers."""
    answers = torch.cat([classifier(part.float() / 255) for part in images.split(200)])
    return torch.cat([answers[:, :NUM_YES_NO].sigmoid(), answers[:, NUM_YES_NO:]], dim=1)


def measure(look: Callable[[Tensor], Tensor], change: Callable[[Tensor], Tensor], images: Tensor, place: int, sign: int) -> dict[str, Any]:
    """Return how often an attribute appears (or disappears) where it was absent (or present), and what else changes.

    Args:
        look: Returns the attributes of images.
        change: Edits images.
        images: Of which those are edited that need it.
        place: Of the attribute in ``NAMES``.
        sign: 1 to add it, -1 to remove it.
    """
    before = look(images)
    if place < NUM_YES_NO:
        chosen = (before[:, place] < 0.5) == (sign > 0)
    else:
        chosen = (before[:, place] < 0.5) == (sign > 0)
    before, after = before[chosen], look(change(images[chosen]))
    moved = (after - before).abs()
    changed = torch.cat([(after[:, :NUM_YES_NO] > 0.5) != (before[:, :NUM_YES_NO] > 0.5), moved[:, NUM_YES_NO:] > REAL_CHANGE], 1)
    wanted = changed[:, place] if place < NUM_YES_NO else sign * (after - before)[:, place] > REAL_CHANGE / 2
    others = changed.clone()
    others[:, place] = False
    share = others.double().mean(0)
    worst = int(share.argmax())
    return {
        "images": int(chosen.sum()),
        "right": float(wanted.double().mean()),
        "others": float(others.any(1).double().mean()),
        "worst": [NAMES[worst], float(share[worst])],
    }
