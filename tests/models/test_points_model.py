import math
import re
from pathlib import Path

import pytest
import torch
from registry import PRIORS, perturb, tiny_model
from torch import Tensor

from glow_app.likelihood import standard_normal_log_density
from glow_app.models.points_model import PointsModel
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import load_density, load_model

each_prior = pytest.mark.parametrize("name", PRIORS)


def points(num: int = 64, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    """Columns of other means and scales."""
    noise = torch.randn(num, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (noise * torch.tensor([0.2, 30.0]) + torch.tensor([5.0, -70.0])).to(dtype)


def built(name: str, dtype: torch.dtype = torch.float32, x: Tensor | None = None) -> PointsModel:
    """Return a model that is standardised by ``x`` and of which every other parameter has moved."""
    torch.manual_seed(0)
    model = PointsModel(PRIORS[name]).to(dtype).eval()
    model.initialize(points(256) if x is None else x)
    perturb(model.flow.bijections[2], seed=2, size=0.2)
    return model


def test_it_starts_as_the_likeliest_gaussian_of_its_first_batch_and_only_of_that() -> None:
    model, x = PointsModel(), points(200)
    assert not model.initialized
    with pytest.raises(RuntimeError, match="not initialised"):
        model.log_prob(x)
    model.initialize(x)
    model.initialize(10 * x + 3)
    entropy = (x.double().std(0, correction=0).log() + 0.5 * math.log(2 * math.pi * math.e)).sum()
    assert float(model.log_prob(x).mean()) == pytest.approx(-float(entropy), rel=1e-5)


@each_prior
def test_the_log_density_is_that_of_the_jacobian_and_the_loss_moves_every_parameter(name: str) -> None:
    model = perturb(built(name, torch.float64), seed=4, size=0.05)
    x = points(4, dtype=torch.float64)
    for row, latent, found in zip(x, model.encode(x), model.log_prob(x), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda v: model.flow(v[None])[0][0], row)
        expected = standard_normal_log_density([latent[None]])[0] + torch.linalg.slogdet(jacobian).logabsdet
        assert float(found) == pytest.approx(float(expected), abs=1e-5)
    losses = model(x)
    torch.testing.assert_close(losses.detach(), -model.log_prob(x))
    losses.mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


@each_prior
@pytest.mark.parametrize("factor", [1e-3, 1e5])
def test_other_units_change_the_log_density_by_their_logarithm(name: str, factor: float) -> None:
    x, units = points(128), torch.tensor([factor, 1.0])
    difference = built(name, x=x * units).log_prob(x * units) - built(name, x=x).log_prob(x)
    torch.testing.assert_close(difference, torch.full_like(difference, -math.log(factor)), rtol=0, atol=2e-3)


@each_prior
def test_encode_decode_and_sample(name: str) -> None:
    model, x = built(name), points()
    scale = x.std(0)
    torch.testing.assert_close(model.decode(model.encode(x)) / scale, x / scale, rtol=1e-4, atol=1e-4)
    state, noise = torch.get_rng_state(), torch.randn(5, 2, generator=torch.Generator().manual_seed(4))
    samples = model.sample(5, 0.7, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(samples, model.decode(0.7 * noise))
    torch.testing.assert_close(model.sample(4, 0.0), model.decode(torch.zeros(1, 2)).expand(4, -1))


@each_prior
def test_a_stored_model_has_the_same_density_bit_for_bit(name: str, tmp_path: Path) -> None:
    model, x = built(name), points()
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state, "glow_app": {"model": model.config, "training": {}}}, tmp_path / "best.ckpt")
    for place in (save_pretrained(model, tmp_path / "model"), tmp_path / "best.ckpt"):
        loaded = load_density(place)
        assert isinstance(loaded, PointsModel)
        assert not loaded.training
        assert (loaded.config, loaded.hash) == (model.config, model.hash)
        assert torch.equal(loaded.log_prob(x), model.log_prob(x))
        assert torch.equal(loaded.sample(3, seed=2), model.sample(3, seed=2))


def test_it_is_no_image_model(tmp_path: Path) -> None:
    folder = save_pretrained(built("gaussian"), tmp_path / "model")
    with pytest.raises(ValueError, match="is a density of points, not of images; load it in Python"):
        load_model(folder)
    image_model = tiny_model()
    assert load_density(save_pretrained(image_model, tmp_path / "images")).hash == image_model.hash


def test_what_is_refused() -> None:
    model = built("gaussian")
    for shape in ((4, 3), (2,), (4, 2, 1)):
        for method in (model, model.log_prob, model.encode, model.decode, model.initialize):
            with pytest.raises(ValueError, match=rf"expects shape \(B, 2\), got {re.escape(str(shape))}"):
                method(torch.zeros(shape))
    with pytest.raises(ValueError, match="num is 0; expected"):
        model.sample(0)
    for temperature in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="expected a finite number of at least 0"):
            model.sample(2, temperature)
