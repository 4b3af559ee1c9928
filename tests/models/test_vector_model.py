import json
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from registry import perturb, tiny_model
from torch import Tensor
from torch.distributions import Normal

from glow_app.bijections import ActNorm, Bijection, DiagonalAffine
from glow_app.likelihood import standard_normal_log_density
from glow_app.models.vector_model import VectorModel
from glow_app.nn import DataDependentAffine
from glow_app.priors import CNFPrior, GaussianPrior, IAFPrior, MAFPrior, PlanarPrior
from glow_app.storage.model_config import build_model
from glow_app.storage.pretrained import model_hash, save_pretrained
from glow_app.storage.stored_model import load_density, load_model

FEATURES = 3

PRIORS: dict[str, Callable[..., Bijection]] = {
    "gaussian": GaussianPrior,
    "planar": partial(PlanarPrior, num_layers=3),
    "maf": partial(MAFPrior, hidden_features=8),
    "maf, spline": partial(MAFPrior, hidden_features=8, elementwise="spline", num_bins=4, ordering="random"),
    "iaf": partial(IAFPrior, hidden_features=8),
    "cnf": partial(CNFPrior, hidden_features=6, num_layers=1),
}

each_prior = pytest.mark.parametrize("name", PRIORS)


def vectors(num: int = 64, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    """Columns of other means and scales."""
    noise = torch.randn(num, FEATURES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (noise * torch.tensor([0.2, 1.0, 30.0]) + torch.tensor([5.0, 0.0, -70.0])).to(dtype)


def built(name: str, dtype: torch.dtype = torch.float32, x: Tensor | None = None) -> VectorModel:
    """Return a model that is standardised by ``x`` and of which every other parameter has moved."""
    torch.manual_seed(0)
    model = VectorModel(FEATURES, PRIORS[name]).to(dtype).eval()
    model.initialize(vectors(256) if x is None else x)
    perturb(model.flow.bijections[2], seed=2, size=0.2)
    return model


def norm_of(model: VectorModel) -> DataDependentAffine:
    part = model.flow.bijections[1]
    assert isinstance(part, ActNorm)
    return part.norm


def noise(num: int, seed: int, num_features: int = FEATURES) -> Tensor:
    return torch.randn(num, num_features, generator=torch.Generator().manual_seed(seed))


def trained(x: Tensor, num_steps: int = 200) -> VectorModel:
    """Return a model after as many steps of a real optimiser, clipped as real runs are."""
    torch.manual_seed(0)
    model = VectorModel(FEATURES, PRIORS["maf"])
    model.initialize(x)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(num_steps):
        optimizer.zero_grad()
        model(x).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        optimizer.step()
    return model.eval()


def test_a_gaussian_in_the_datas_own_units() -> None:
    model = perturb(built("gaussian", torch.float64), seed=3)
    prior = model.flow.bijections[2]
    assert isinstance(prior, GaussianPrior)
    assert isinstance(prior.whiten, DiagonalAffine)
    norm, mean, log_scale = norm_of(model), prior.whiten.mean.flatten(), prior.whiten.log_scale.flatten()
    expected = Normal(mean * (-norm.log_scale).exp() - norm.bias, (log_scale - norm.log_scale).exp())
    x = vectors(dtype=torch.float64)
    torch.testing.assert_close(model.log_prob(x), expected.log_prob(x).sum(1))


def test_it_starts_as_the_likeliest_gaussian_of_its_first_batch() -> None:
    model, x = VectorModel(FEATURES), vectors(200)
    model.initialize(x)
    entropy = (x.double().std(0, correction=0).log() + 0.5 * math.log(2 * math.pi * math.e)).sum()
    assert float(model.log_prob(x).mean()) == pytest.approx(-float(entropy), rel=1e-5)


@each_prior
def test_the_log_density_is_that_of_the_jacobian(name: str) -> None:
    model = perturb(built(name, torch.float64), seed=4, size=0.05)
    x = vectors(4, dtype=torch.float64)
    z = model.encode(x)
    for row, latent, found in zip(x, z, model.log_prob(x), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda v: model.flow(v[None])[0][0], row)
        expected = standard_normal_log_density([latent[None]])[0] + torch.linalg.slogdet(jacobian).logabsdet
        assert float(found) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "factor"),
    [*((name, factor) for name in PRIORS for factor in (10.0, 1e-3, 1e5)), ("gaussian", 1e-7), ("gaussian", 1e-12)],
)
def test_other_units_change_the_log_density_by_their_logarithm(name: str, factor: float) -> None:
    x = vectors(128)
    units = torch.tensor([1.0, factor, 1.0])
    ours, theirs = built(name, x=x), built(name, x=x * units)
    difference = theirs.log_prob(x * units) - ours.log_prob(x)
    torch.testing.assert_close(difference, torch.full_like(difference, -math.log(factor)), rtol=0, atol=2e-3)


@pytest.mark.parametrize("factor", [10.0, 1e-4])
def test_training_is_the_same_in_other_units(factor: float) -> None:
    x = vectors(256)
    x[:, 1] = 0.1 * x[:, 1] + 25 * (x[:, 0] - 5) ** 2
    units = torch.tensor([1.0, factor, 1.0])
    ours, theirs = trained(x), trained(x * units)
    before = VectorModel(FEATURES)
    before.initialize(x)
    assert ours.log_prob(x).mean() > before.log_prob(x).mean() + 0.3
    assert float(theirs.log_prob(x * units).mean() - ours.log_prob(x).mean()) == pytest.approx(
        -math.log(factor), abs=0.1
    )


@each_prior
def test_encode_and_decode_undo_each_other(name: str) -> None:
    model, x = built(name), vectors()
    z = model.encode(x)
    assert (z.shape, z.dtype) == (x.shape, torch.float32)
    scale = x.std(0)
    torch.testing.assert_close(model.decode(z) / scale, x / scale, rtol=1e-4, atol=1e-4)
    z = noise(64, 7)
    torch.testing.assert_close(model.encode(model.decode(z)), z, rtol=1e-3, atol=1e-3)


@each_prior
def test_samples_are_decoded_noise(name: str) -> None:
    model, state = built(name), torch.get_rng_state()
    x = model.sample(5, 0.7, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert (x.shape, x.dtype, x.requires_grad) == ((5, FEATURES), torch.float32, False)
    assert torch.equal(x, model.decode(0.7 * noise(5, 4)))
    assert torch.equal(x, model.sample(5, 0.7, seed=4))
    assert not torch.equal(x, model.sample(5, 0.7, seed=5))
    assert torch.equal(model.sample(3), model.sample(3, 1.0, 0))


def test_samples_have_the_moments_of_the_density() -> None:
    model, x = VectorModel(FEATURES), vectors(2000)
    model.initialize(x)
    samples = model.sample(50_000, seed=1)
    torch.testing.assert_close((samples.mean(0) - x.mean(0)) / x.std(0), torch.zeros(FEATURES), rtol=0, atol=0.02)
    torch.testing.assert_close(samples.std(0), x.std(0), rtol=0.02, atol=0)


@each_prior
def test_at_temperature_0_all_samples_are_the_middle(name: str) -> None:
    model = built(name)
    x = model.sample(4, 0.0)
    torch.testing.assert_close(x, model.decode(torch.zeros(1, FEATURES)).expand(4, -1))
    assert model.sample(4, 1.0).std(0).min() > 0


def test_bad_numbers() -> None:
    model = built("gaussian")
    for num in (0, -1):
        with pytest.raises(ValueError, match=f"num is {num}; expected at least 1"):
            model.sample(num)
        with pytest.raises(ValueError, match=f"is {num}; expected at least 1"):
            VectorModel(num)
    for temperature in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"temperature is {temperature}; expected a finite number from 0"):
            model.sample(2, temperature)


@each_prior
def test_bad_shapes(name: str) -> None:
    model = built(name)
    for shape in ((4, 2), (3,), (4, 3, 1)):
        for method in (model, model.log_prob, model.encode, model.decode, model.initialize):
            with pytest.raises(ValueError, match=rf"expects shape \(B, 3\), got {re.escape(str(shape))}"):
                method(torch.zeros(shape))
    for method in (model.log_prob, model.encode, model.decode):
        assert len(method(torch.zeros(0, FEATURES))) == 0


def test_initialize_happens_once() -> None:
    model = VectorModel(FEATURES, PRIORS["maf"])
    assert not model.initialized
    with pytest.raises(RuntimeError, match="not initialised"):
        model.log_prob(vectors())
    model.initialize(vectors())
    assert model.initialized
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.initialize(10 * vectors(seed=5) + 3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@each_prior
def test_training_minimises_the_negative_log_density_of_every_parameter(name: str) -> None:
    model, x = built(name), vectors()
    losses = model(x)
    torch.testing.assert_close(losses.detach(), -model.log_prob(x))
    assert not model.log_prob(x).requires_grad
    losses.mean().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@each_prior
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_weights_decide_the_precision(name: str, dtype: torch.dtype) -> None:
    model = built(name, dtype)
    x = vectors(dtype=torch.float64 if dtype == torch.float32 else torch.float32)
    results = (model(x), model.log_prob(x), model.encode(x), model.decode(x), model.sample(2))
    assert {result.dtype for result in results} == {dtype}


@each_prior
def test_autocast_keeps_the_density_in_float32(name: str) -> None:
    model, x = built(name), vectors()
    expected = model.log_prob(x)
    with torch.autocast("cpu", torch.bfloat16):
        found, z = model.log_prob(x), model.encode(x)
        assert {found.dtype, z.dtype} == {torch.float32}
        scale = x.std(0)
        torch.testing.assert_close(model.decode(z) / scale, x / scale, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.1)


@each_prior
def test_the_configuration_and_the_weights_are_the_model(name: str) -> None:
    model, x = built(name), vectors()
    config = json.loads(json.dumps(model.config))
    assert config["num_features"] == FEATURES
    assert config["prior"]["class_path"].startswith("glow_app.priors.")
    rebuilt = build_model(config, model.state_dict()).eval()
    assert isinstance(rebuilt, VectorModel)
    assert rebuilt.config == model.config
    assert torch.equal(rebuilt.log_prob(x), model.log_prob(x))


def checkpoint(path: Path, config: dict[str, Any], model: VectorModel) -> Path:
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "glow_app": {"model": config, "training": {}}}, path)
    return path


@each_prior
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_file_has_the_same_density_bit_for_bit(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model, x = built(name, dtype), vectors(dtype=dtype)
    exported = save_pretrained(model, tmp_path / "model")
    for place in (exported, checkpoint(tmp_path / "best.ckpt", model.config, model)):
        loaded = load_density(place)
        assert isinstance(loaded, VectorModel)
        assert not loaded.training
        assert model_hash(loaded) == model_hash(model)
        assert torch.equal(loaded.log_prob(x), model.log_prob(x))
        assert torch.equal(loaded.sample(3, seed=2), model.sample(3, seed=2))


def test_it_is_no_image_model(tmp_path: Path) -> None:
    folder = save_pretrained(built("gaussian"), tmp_path / "model")
    with pytest.raises(ValueError, match="is a density of vectors, not of images; in Python, load_density reads it"):
        load_model(folder)
    image_model = tiny_model()
    assert model_hash(load_density(save_pretrained(image_model, tmp_path / "images"))) == model_hash(image_model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_features": 4}, "do not match"),
        ({"num_features": "3"}, "damaged"),
        ({"num_features": 10**18}, "model configuration"),
        ({"num_features": None}, "damaged"),
        ({"num_features": 0}, "expected at least 1"),
        ({"prior": None}, "damaged"),
        ({"prior": {"class_path": "os.system", "init_args": {}}}, "'os.system'"),
        ({"prior": {"class_path": "glow_app.priors.PlanarPrior", "init_args": {"num_layers": 10**9}}}, "do not match"),
        ({"prior": {"class_path": "glow_app.priors.PlanarPrior", "init_args": {"layers": 2}}}, "damaged"),
        ({"prior": {"class_path": "glow_app.priors.GaussianPrior"}}, "damaged"),
    ],
    ids=str,
)
def test_a_damaged_configuration_is_one_line_of_value_error(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    model = built("planar")
    path = checkpoint(tmp_path / "best.ckpt", {**model.config, **change}, model)
    with pytest.raises(ValueError, match=words) as caught:
        load_density(path)
    assert "\n" not in str(caught.value)


def test_the_standardisation_is_of_the_first_batch() -> None:
    norm = norm_of(built("gaussian"))
    torch.testing.assert_close(norm.log_scale.exp(), 1 / vectors(256).std(0, correction=0))
    torch.testing.assert_close(norm.bias, -vectors(256).mean(0), rtol=1e-4, atol=1e-4)
