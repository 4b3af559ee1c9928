"""Train the reader of attributes of the bundled faces on their training images.

    python benchmarks/bundled_reader.py    # five minutes on one thread

`glow fit` trains the reader of a model beside its flow, with the same loss. Writes the weights of the reader, in
float16, into glow_app/bundled/faces/; those of the flow stay as they are.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from glow_app import load_model
from glow_app.conditioning import AttributeConditioning
from glow_app.data.sources import load_split
from glow_app.models.image_model import ImageModel
from glow_app.storage.model_folders import CONFIG_NAME, WEIGHTS_NAME
from lightning_modules.optimizers import Muon
from lightning_modules.schedules import LinearWarmupCosine

NUM_STEPS, BATCH_SIZE, LEARNING_RATE = 3000, 64, 2.5e-3
FOLDER = Path(__file__).parents[1] / "glow_app/bundled/faces"
DATA = {"count": 22_000, "validation_fraction": 0.01, "test_fraction": 0.05, "attributes": True}


def train(conditioning: AttributeConditioning, shape: tuple[int, int, int]) -> None:
    """Train the reader."""
    faces = load_split("faces", "train", shape, **DATA)
    parts = []
    for rows in torch.arange(len(faces)).split(100):
        images, _ = faces.__getitems__(rows.tolist())
        parts.append(functional.adaptive_avg_pool2d(images.float(), 64).round().byte())  # once for all steps
    images, labels = torch.cat(parts), faces.labels
    optimizer = Muon(conditioning.reader.parameters(), LEARNING_RATE)
    schedule = LinearWarmupCosine(optimizer, NUM_STEPS, warmup_steps=100)
    conditioning.train()
    for step in range(NUM_STEPS):
        rows = torch.randint(len(images), (BATCH_SIZE,))
        mirrored = torch.rand(BATCH_SIZE).lt(0.5)[:, None, None, None]
        batch = torch.where(mirrored, images[rows].flip(-1), images[rows])
        with torch.autocast("cpu", torch.bfloat16):
            loss = conditioning.reading_loss(batch, labels[rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 500 == 499:
            print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)


def save(model: ImageModel) -> None:
    """Write the weights into the bundled folder, of the types that they have there."""
    weights, config = load_file(FOLDER / WEIGHTS_NAME), json.loads((FOLDER / CONFIG_NAME).read_text())
    trained = model.state_dict()
    for name, old in weights.items():
        weights[name] = trained[name].to(old.dtype).contiguous()
        trained[name].copy_(weights[name])
    save_file(weights, FOLDER / WEIGHTS_NAME)
    (FOLDER / CONFIG_NAME).write_text(json.dumps(config | {"sha256": model.hash}, indent=2) + "\n")


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = load_model("faces")
    assert isinstance(model, ImageModel)
    assert isinstance(model.conditioning, AttributeConditioning)
    train(model.conditioning, model.flow.image_shape)
    save(model)


if __name__ == "__main__":
    main()
