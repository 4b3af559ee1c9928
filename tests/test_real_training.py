"""Properties that must hold after real training, not only at initialisation; takes minutes."""

import pytest
import torch

from glow_app import load_model
from glow_app.cli import main
from glow_app.data.sources import load_split
from glow_app.pipeline.loaded_model import LoadedModel

pytestmark = pytest.mark.slow

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A model of the digits, shallower than that of the preset, whose conditioners were trained in bfloat16."""
    run = tmp_path_factory.mktemp("runs") / "digits"
    short = ["--flow.num_steps=6", "--trainer.max_epochs=15", "--trainer.precision=bf16-mixed"]
    assert main(["fit", "--config=digits", *short, f"--run_dir={run}"]) == 0
    return load_model(run)


@pytest.mark.parametrize("narrow", [False, True])
def test_held_out_digits_are_likely_and_reconstructed_exactly(trained: LoadedModel, narrow: bool) -> None:
    test = load_split("digits", "test", SHAPE)
    images = torch.from_numpy(test.images[:])
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        bits = float(trained.bits_per_dim(images, test.labels, generator=torch.Generator()).mean())
        assert bits < 2.2  # independent histograms of the training pixels: 2.31
        for model in (trained, LoadedModel(trained.flow, 8).eval()):
            assert torch.equal(model.decode(model.encode(images, test.labels), test.labels), images)


def test_samples_are_in_range_and_encode_to_their_latents(trained: LoadedModel) -> None:
    labels = trained.context(torch.arange(100) % 10, 100)
    for temperature in (0.5, 0.7, 1.0):
        noise = [temperature * level for level in trained.base_noise(range(100))]
        with torch.no_grad():
            pixels = trained.flow.decode(noise, labels)
            latents = trained.flow.encode(pixels, labels)
        assert max(float((a - b).abs().max()) for a, b in zip(latents, noise, strict=True)) < 1e-3
        assert float((pixels.abs() > 0.6).float().mean()) < 0.02
