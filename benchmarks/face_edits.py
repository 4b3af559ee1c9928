"""Test whether edits of faces do what their names say, with a classifier of the attributes before and after.

    python benchmarks/face_edits.py                    # the bundled model and its directions
    python benchmarks/face_edits.py --checkpoint RUN   # another model and the directions beside it

The classifier is trained on rendered faces (seed 1), which takes minutes on one thread the first time, and is kept in
runs/. The edited faces (seed 2) are unknown to both the model and the classifier. A yes/no attribute is added to faces
without it, and removed from faces with it. A continuous attribute is moved by half its range, towards the other half.
A continuous attribute counts as changed if it moves by at least a quarter of its range.

The classifier's last but one layer is saved too, as features for FID, precision and recall:

    glow evaluate --checkpoint faces --features runs/face_features.pt
"""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from classifiers import train_classifier
from common import IS_SHORT, write_result, write_table
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from glow_app import load_model
from glow_app.data.faces.face import BINARY_NAMES, REAL_NAMES, draw_face
from glow_app.data.faces.rendered import rendered_faces
from glow_app.generation import edit, load_directions
from glow_app.models.image_model import ImageModel
from glow_app.storage.stored_model import StoredModel, model_hash

NAMES = (*BINARY_NAMES, *REAL_NAMES)
NUM_BINARY = len(BINARY_NAMES)
SIDE = 64
RUNS = Path(__file__).parents[1] / "runs"
NUM_TRAINING, NUM_EDITED, NUM_EPOCHS = (640, 64, 1) if IS_SHORT else (20_000, 600, 8)
REAL_CHANGE = 0.25  # smallest change of a continuous attribute that counts, as a share of its range
REAL_STRENGTH = 0.5


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


class FaceFeatures(nn.Module):
    """The classifier's convolutions, averaged over all positions: uint8 (B, 3, 64, 64) to (B, 128)."""

    def __init__(self, classifier: FaceClassifier) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(*[layer for layer in classifier if not isinstance(layer, nn.Linear)][:-2])

    def forward(self, images: Tensor) -> Tensor:
        """Return the features."""
        return self.convolutions(images.float() / 255).mean([2, 3])


def faces(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Return rendered faces and their attributes in [0, 1], (N, 15)."""
    images = torch.from_numpy(rendered_faces(seed, count, SIDE, None)[:count].copy())
    attributes = [draw_face(seed, index).attributes() for index in range(count)]
    return images, torch.tensor([[one[name] for name in NAMES] for one in attributes])


def train() -> FaceClassifier:
    """Train the classifier."""
    images, attributes = faces(1, NUM_TRAINING)
    classifier = FaceClassifier()

    def loss_of(rows: Tensor) -> Tensor:
        answers = classifier(images[rows].float() / 255)
        yes_no = functional.binary_cross_entropy_with_logits(answers[:, :NUM_BINARY], attributes[rows, :NUM_BINARY])
        return yes_no + 5 * functional.mse_loss(answers[:, NUM_BINARY:], attributes[rows, NUM_BINARY:])

    train_classifier(
        classifier, loss_of, len(images), NUM_EPOCHS, batch_size=128, learning_rate=3e-3, weight_decay=0.05
    )
    return classifier


def trained() -> FaceClassifier:
    """Return the classifier, from its file if there is one."""
    weights = RUNS / "face_classifier.safetensors"
    if weights.exists() and not IS_SHORT:
        classifier = FaceClassifier()
        classifier.load_state_dict(load_file(weights))
        return classifier.eval()
    classifier = train().eval()
    if not IS_SHORT:
        RUNS.mkdir(exist_ok=True)
        save_file(classifier.state_dict(), weights)
        torch.jit.script(FaceFeatures(classifier).eval()).save(RUNS / "face_features.pt")
    return classifier


@torch.no_grad()
def seen(classifier: FaceClassifier, images: Tensor) -> Tensor:
    """Return the predicted attributes, (N, 15): probabilities of the yes/no attributes, then values of the others."""
    answers = torch.cat([classifier(part.float() / 255) for part in images.split(200)])
    return torch.cat([answers[:, :NUM_BINARY].sigmoid(), answers[:, NUM_BINARY:]], dim=1)


def accuracies(answers: Tensor, attributes: Tensor) -> dict[str, float]:
    """Return the accuracy for each yes/no attribute, and the root mean squared error for each of the others."""
    right = ((answers > 0.5) == (attributes > 0.5)).double().mean(0)
    error = (answers - attributes).double().square().mean(0).sqrt()
    return {name: float(right[n] if n < NUM_BINARY else error[n]) for n, name in enumerate(NAMES)}


@dataclass(frozen=True)
class Outcome:
    """The effect of an edit on the faces that needed it.

    Args:
        num_faces: Number of these faces.
        right: Share in which the attribute changed as requested.
        others: Share in which any other attribute changed.
        worst: The other attribute that changed most often, and its share.
    """

    num_faces: int
    right: float
    others: float
    worst: tuple[str, float]


def outcome(before: Tensor, after: Tensor, place: int, sign: int) -> Outcome:
    """Return the effect of an edit, from the predicted attributes before and after, (N, 15).

    Args:
        before: Attributes of the faces.
        after: Attributes of the same faces after the edit.
        place: Index of the edited attribute in ``NAMES``.
        sign: 1 if the attribute was added, -1 if it was removed; faces that did not need the edit are left out.
    """
    needs_it = (before[:, place] < 0.5) == (sign > 0)
    before, after = before[needs_it], after[needs_it]
    changed = torch.cat(
        [
            (after[:, :NUM_BINARY] > 0.5) != (before[:, :NUM_BINARY] > 0.5),
            (after - before)[:, NUM_BINARY:].abs() > REAL_CHANGE,
        ],
        dim=1,
    )
    is_right = changed[:, place] & ((after - before)[:, place] * sign > 0)
    changed[:, place] = False
    shares = changed.double().mean(0)
    worst = int(shares.argmax())
    return Outcome(
        len(before),
        float(is_right.double().mean()),
        float(changed.any(1).double().mean()),
        (NAMES[worst], float(shares[worst])),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="faces")
    parser.add_argument("--directions", type=Path, help="folder of directions (default: beside the model)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    classifier = trained()
    model = load_model(arguments.checkpoint)
    assert isinstance(model, ImageModel)
    folders = [arguments.directions] if arguments.directions else StoredModel(arguments.checkpoint).directions
    directions = load_directions(model, *folders)
    images, attributes = faces(2, NUM_EDITED)
    before = seen(classifier, images)
    accuracy = accuracies(before, attributes)
    results: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(NAMES):
        if name not in directions:
            continue
        for sign in (1, -1):
            strength = sign * (1.0 if place < NUM_BINARY else REAL_STRENGTH)
            changed = torch.cat([edit(model, part, [(directions[name], strength)]) for part in images.split(50)])
            result = outcome(before, seen(classifier, changed), place, sign)
            results[f"{name} {strength:+g}"] = asdict(result)
            print(name, strength, result, flush=True)
    write_result("face_edits", {"model": model_hash(model), "classifier": accuracy, "edits": results})
    rows: list[list[str]] = []
    for name, one in results.items():
        direction, moved = name.split()
        worst = f"`{one['worst'][0]}` {100 * one['worst'][1]:.0f}"
        shares = [f"{100 * one[share]:.0f}" for share in ("right", "others")]
        rows.append([f"`{direction}`", moved, str(one["num_faces"]), *shares, worst])
    for share in ("right", "others"):
        print(f"mean of {share}: {sum(one[share] for one in results.values()) / len(results):.3f}")
    header = ["direction", "strength", "faces", "as requested, of 100", "another changed, of 100", "most often changed"]
    write_table("face_edits", header, rows, "edit.md")


if __name__ == "__main__":
    main()
