"""Classifiers of the attributes of rendered faces, which judge together what pictures of faces show.

One alone would not do: all know the faces they were trained on, but about samples they disagree by several of 100.
They are trained on the faces of ``configs/faces.yaml``, which takes 20 minutes on one thread the first time, and are
kept in runs/. The last but one layer of each is saved too, as features for FID, precision and recall:

    glow evaluate --checkpoint faces --features runs/face_features1.pt
"""

from pathlib import Path
from typing import Final

import torch
from common import IS_SHORT, train_classifier
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from glow_app.data.faces.face import BINARY_NAMES, REAL_NAMES, draw_face
from glow_app.data.faces.rendered import FACE_KINDS, rendered_faces

NAMES = (*BINARY_NAMES, *REAL_NAMES)
NUM_BINARY = len(BINARY_NAMES)
SIDE, RENDERED_SIDE = 64, 256  # those of the bundled model are reduced to the classifier's
RUNS = Path(__file__).parents[1] / "runs"
NUM_TRAINING, NUM_EPOCHS = (640, 1) if IS_SHORT else (22_000, 8)
NUM_JUDGES = 3


class FaceClassifier(nn.Sequential):
    """From images (B, 3, 64, 64) in [0, 1] to logits of the yes/no attributes and values of the others, (B, 15)."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for width in (24, 48, 96, 128):
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, padding=1, groups=8), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        super().__init__(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(channels * 16, len(NAMES)))


class FaceJudges(nn.ModuleList):
    """Classifiers that answer together."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean answers, (B, 15)."""
        return torch.stack([judge(images) for judge in self]).mean(0)


class FaceFeatures(nn.Module):
    """A classifier's convolutions, averaged over all positions: uint8 images, reduced to 64x64, to (B, 128)."""

    def __init__(self, classifier: FaceClassifier) -> None:
        super().__init__()
        self.side: Final[int] = SIDE  # TorchScript reads no global
        self.convolutions = nn.Sequential(*[layer for layer in classifier if not isinstance(layer, nn.Linear)][:-2])

    def forward(self, images: Tensor) -> Tensor:
        """Return the features."""
        return self.convolutions(functional.adaptive_avg_pool2d(images.float() / 255, self.side)).mean([2, 3])


def reduced(images: Tensor, side: int = SIDE) -> Tensor:
    """Return images, uint8 (B, 3, H, W), with another side; the classifier's, unless given."""
    return functional.adaptive_avg_pool2d(images.float(), side).round().byte()


def faces(seed: int, count: int, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """Return faces rendered at 256x256, reduced to uint8 (N, 3, S, S), and their attributes in [0, 1], (N, 15)."""
    rendered = rendered_faces(seed, count, RENDERED_SIDE, None)
    parts = [torch.from_numpy(rendered[first : first + 100].copy()) for first in range(0, count, 100)]
    images = torch.cat([reduced(part, side) for part in parts])
    attributes = [draw_face(seed, index).attributes() for index in range(count)]
    return images, torch.tensor([[one[name] for name in NAMES] for one in attributes])


def train(classifier: FaceClassifier, images: Tensor, attributes: Tensor) -> None:
    """Train a classifier."""

    def loss_of(rows: Tensor) -> Tensor:
        answers = classifier(images[rows].float() / 255)
        yes_no = functional.binary_cross_entropy_with_logits(answers[:, :NUM_BINARY], attributes[rows, :NUM_BINARY])
        return yes_no + 5 * functional.mse_loss(answers[:, NUM_BINARY:], attributes[rows, NUM_BINARY:])

    train_classifier(
        classifier, loss_of, len(images), NUM_EPOCHS, batch_size=128, learning_rate=3e-3, weight_decay=0.05
    )


def trained() -> FaceJudges:
    """Return the judges, from their file if there is one."""
    weights = RUNS / "face_judges.safetensors"
    classifiers = [FaceClassifier() for _ in range(NUM_JUDGES)]
    judges = FaceJudges(classifiers)
    if weights.exists() and not IS_SHORT:
        judges.load_state_dict(load_file(weights))
        return judges.eval()
    images, attributes = faces(0, NUM_TRAINING)
    for classifier in classifiers:
        train(classifier, images, attributes)
    judges.eval()
    if not IS_SHORT:
        RUNS.mkdir(exist_ok=True)
        save_file(judges.state_dict(), weights)
        for number, classifier in enumerate(classifiers, 1):
            torch.jit.script(FaceFeatures(classifier)).save(RUNS / f"face_features{number}.pt")
    return judges


@torch.no_grad()
def seen(judges: FaceJudges, images: Tensor) -> Tensor:
    """Return the predicted attributes, (N, 15): probabilities of the yes/no attributes, then values of the others."""
    answers = torch.cat([judges(reduced(part).float() / 255) for part in images.split(200)])
    return torch.cat([answers[:, :NUM_BINARY].sigmoid(), answers[:, NUM_BINARY:]], dim=1)


def movement(before: Tensor, after: Tensor) -> Tensor:
    """Return the differences of attributes, (N, 15); of circular ones the shorter way round."""
    circular = torch.tensor([FACE_KINDS[name] == "circular" for name in NAMES])
    moved = after - before
    return torch.where(circular, (moved + 0.5) % 1 - 0.5, moved)


def accuracies(answers: Tensor, attributes: Tensor) -> dict[str, float]:
    """Return the accuracy for each yes/no attribute, and the root mean squared error for each of the others."""
    right = ((answers > 0.5) == (attributes > 0.5)).double().mean(0)
    error = movement(attributes, answers).double().square().mean(0).sqrt()
    return {name: float(right[n] if n < NUM_BINARY else error[n]) for n, name in enumerate(NAMES)}
