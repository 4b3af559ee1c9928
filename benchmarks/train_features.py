"""Train the feature extractor of `glow evaluate` on Fashion-MNIST, and write it into the package.

    python benchmarks/train_features.py                 # a few minutes on one thread
    python benchmarks/train_features.py --root FOLDER   # with the four files of Fashion-MNIST in FOLDER

The classifier is trained on all 60,000 training images, mirrored and shifted by up to two pixels. The same seed, thread
count, torch version and processor give the same weights. Writes glow_app/evaluation/fashion_cnn_64.safetensors and
results/train_features.json.
"""

import argparse
import hashlib
import time
from pathlib import Path

import torch
from common import IS_SHORT, train_classifier, write_result
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from glow_app.data.image_set import ImageSet
from glow_app.data.sources import load_split
from glow_app.data.splits import Split
from glow_app.evaluation.features import GREY_SIDE, WEIGHTS, FashionCNN
from glow_app.files import atomic_file

BATCH_SIZE, LARGEST_MOVE, NUM_EPOCHS = 128, 2, 1 if IS_SHORT else 10
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 0.05


def load(split: Split, root: str | None) -> tuple[Tensor, Tensor]:
    """Return images in [0, 1], and labels."""
    chosen: ImageSet = load_split("fashion_mnist", split, (1, GREY_SIDE, GREY_SIDE), root=root, validation_fraction=0.0)
    return torch.from_numpy(chosen.images).float() / 255, chosen.labels


def varied(images: Tensor) -> Tensor:
    """Return a batch with a random half mirrored, shifted by the same few pixels."""
    mirrored = torch.rand(len(images)).lt(0.5)[:, None, None, None]
    down, right = (int(torch.randint(-LARGEST_MOVE, LARGEST_MOVE + 1, ())) for _ in range(2))
    padded = functional.pad(torch.where(mirrored, images.flip(-1), images), [LARGEST_MOVE] * 4)
    top, left = LARGEST_MOVE + down, LARGEST_MOVE + right
    return padded[..., top : top + GREY_SIDE, left : left + GREY_SIDE]


def train(network: FashionCNN, images: Tensor, labels: Tensor) -> None:
    """Train to classify the images."""

    def loss_of(rows: Tensor) -> Tensor:
        return functional.cross_entropy(network(varied(images[rows])), labels[rows], label_smoothing=0.05)

    train_classifier(network, loss_of, len(images), NUM_EPOCHS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY)


@torch.no_grad()
def accuracy(network: FashionCNN, images: Tensor, labels: Tensor) -> float:
    """Return the share of correctly classified images."""
    network.eval()
    answers = torch.cat([network(part).argmax(1) for part in images.split(1000)])
    return float((answers == labels).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=None)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = FashionCNN().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    start = time.process_time()
    train(network, *load("train", arguments.root))
    result = {
        "test_accuracy": accuracy(network, *load("test", arguments.root)),
        "parameters": sum(p.numel() for p in network.parameters()),
        "cpu_seconds": round(time.process_time() - start),
    }
    content = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    with atomic_file(arguments.output) as file:
        file.write(content)
    result |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    print(result, write_result("train_features", result))


if __name__ == "__main__":
    main()
