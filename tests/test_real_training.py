"""What must hold after real training and not only at initialisation; takes minutes."""

from pathlib import Path

import pytest
import torch

from glow_app import load_model
from glow_app.baselines import histogram_bits_per_dim
from glow_app.cli import main
from glow_app.data import load_split
from glow_app.model import ImageModel

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ImageModel:
    run = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["fit", f"--config={REPOSITORY / 'configs/digits.yaml'}", f"--run_dir={run}"]) == 0
    return load_model(run)


def test_beats_independent_histograms_on_held_out_digits(trained: ImageModel) -> None:
    train, test = (load_split("digits", split, SHAPE) for split in ("train", "test"))
    model = trained.bits_per_dim(torch.from_numpy(test.images[:]), test.labels, generator=torch.Generator()).mean()
    assert float(model) < histogram_bits_per_dim(train.images, test.images, trained.num_bits) - 0.05


def test_reconstructs_every_held_out_digit_exactly(trained: ImageModel) -> None:
    test = load_split("digits", "test", SHAPE)
    images = torch.from_numpy(test.images[:])
    assert torch.equal(trained.decode(trained.encode(images, test.labels), test.labels), images)


@torch.no_grad()
def test_gives_random_latents_back(trained: ImageModel) -> None:
    noise = trained.base_noise(range(100))
    context = trained.flow.embed(torch.arange(100) % 10)
    latents = trained.flow.encode(trained.flow.decode(noise, context), context)
    assert max(float((a - b).abs().max()) for a, b in zip(latents, noise, strict=True)) < 1e-3


def test_samples_are_in_range_at_every_temperature(trained: ImageModel) -> None:
    labels = trained.flow.embed(torch.arange(100) % 10)
    for temperature in (0.5, 0.7, 1.0):
        noise = [temperature * level for level in trained.base_noise(range(100))]
        with torch.no_grad():
            pixels = trained.flow.decode(noise, labels)
        assert pixels.isfinite().all()
        assert float((pixels.abs() > 0.6).float().mean()) < 0.02
