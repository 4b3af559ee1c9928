import inspect
import json
import re
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from registry import perturb, random_images, tiny_model
from torch import Tensor, nn
from traced_memory import memory_below

from glow_app.bijections import Bijection
from glow_app.likelihood import standard_normal_log_density
from glow_app.models.image_model import ImageModel
from glow_app.nn import GatedResidualConditioner
from glow_app.nn.class_path import describe_part
from glow_app.priors import CNFPrior, GaussianPrior, HeadPrior, IAFPrior, MAFPrior, PlanarPrior
from glow_app.storage.model_config import build_model
from glow_app.storage.pretrained import model_hash

SHAPE = (4, 2, 3)

# No argument at its default: a configuration that forgot one would build something else.
HEADS: dict[str, Callable[..., HeadPrior]] = {
    "planar": partial(PlanarPrior, num_layers=3),
    "planar, leaky": partial(PlanarPrior, num_layers=2, nonlinearity="leaky"),
    "maf": partial(MAFPrior, num_layers=3, hidden_features=30, num_blocks=2, residual=False, max_groups=4),
    "maf, spline": partial(
        MAFPrior, hidden_features=25, elementwise="spline", num_bins=5, tail_bound=4.0, ordering="random"
    ),
    "iaf": partial(IAFPrior, num_layers=3, hidden_features=30, num_blocks=2, max_groups=3),
    "iaf, spline": partial(
        IAFPrior, num_layers=1, hidden_features=25, elementwise="spline", num_bins=3, ordering="random"
    ),
    "cnf": partial(CNFPrior, hidden_features=6, solver="rk4", num_steps=3),
    "cnf, mlp": partial(
        CNFPrior,
        velocity="mlp",
        hidden_features=6,
        num_layers=3,
        atol=1e-3,
        rtol=1e-2,
        eval_solver="rk4",
        eval_atol=1e-4,
        eval_rtol=1e-5,
        max_num_steps=50,
        eval_max_num_steps=60,
        trace="hutchinson",
        max_exact_dims=9,
        noise="gaussian",
        adjoint=True,
        kinetic_weight=0.1,
        jacobian_weight=0.2,
    ),
}

heads = pytest.mark.parametrize("prior", HEADS.values(), ids=HEADS.keys())
PRIORS: dict[str, Callable[..., Bijection]] = {"gaussian": GaussianPrior, **HEADS}
priors = pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS.keys())


def gaussian_of(head: Bijection) -> GaussianPrior:
    gaussian = next(iter(head.children()))[0]  # type: ignore[index]
    assert isinstance(gaussian, GaussianPrior)
    return gaussian


def log_density(prior: Bijection, x: Tensor, context: Tensor | None) -> Tensor:
    # The same noise where the trace is an estimate.
    torch.manual_seed(5)
    z, log_det = prior(x, context)
    return standard_normal_log_density([z]) + log_det


@pytest.mark.parametrize("context_features", [0, 3])
def test_starts_as_the_standard_normal(context_features: int) -> None:
    prior = GaussianPrior((4, 2, 3), context_features)
    assert isinstance(prior, Bijection)
    x, context = torch.randn(5, 4, 2, 3), torch.randn(5, context_features) if context_features else None
    z, log_det = prior(x, context)
    assert torch.equal(z, x)
    assert torch.equal(log_det, torch.zeros(5))


def test_is_a_gaussian_a_channel() -> None:
    prior = perturb(GaussianPrior((4, 2, 3)).double())
    x = torch.randn(5, 4, 2, 3, dtype=torch.float64)
    z, log_det = prior(x)
    mean, log_scale = (dict(prior.named_parameters())[f"whiten.{name}"] for name in ("mean", "log_scale"))
    assert mean.shape == (4, 1, 1)
    expected = torch.distributions.Normal(mean, log_scale.exp()).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(standard_normal_log_density([z]) + log_det, expected)


def test_the_context_moves_the_density() -> None:
    prior = perturb(GaussianPrior((4, 2, 3), 3))
    x = torch.randn(1, 4, 2, 3).expand(2, -1, -1, -1)
    z, log_det = prior(x, torch.randn(2, 3))
    assert log_det[0] != log_det[1]
    assert not torch.allclose(z[0], z[1])


def test_a_conditional_prior_needs_its_context() -> None:
    with pytest.raises(ValueError, match=r"context of shape .2, 3., got None"):
        GaussianPrior((4, 2, 3), 3)(torch.zeros(2, 4, 2, 3))


def test_the_configuration_is_plain() -> None:
    assert GaussianPrior((4, 2, 2)).config == {}


@heads
@pytest.mark.parametrize("context_features", [0, 3])
def test_a_head_starts_as_the_gaussian(prior: Callable[..., HeadPrior], context_features: int) -> None:
    torch.manual_seed(0)
    head, gaussian = prior(SHAPE, context_features).eval(), perturb(GaussianPrior(SHAPE, context_features), size=0.1)
    gaussian_of(head).load_state_dict(gaussian.state_dict())
    x, context = torch.randn(64, *SHAPE), torch.randn(64, context_features) if context_features else None
    z, log_det = head(x, context)
    expected, expected_log_det = gaussian(x, context)
    # A planar layer starts at a hundredth of its usual size; the others at the identity, up to rounding.
    tolerance = 0.1 if isinstance(head, PlanarPrior) else 1e-4
    torch.testing.assert_close(z, expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(log_det, expected_log_det, rtol=0, atol=tolerance)
    back, back_log_det = head.inverse(expected, context)
    torch.testing.assert_close(back, x, rtol=0, atol=2 * tolerance)
    torch.testing.assert_close(back_log_det, -expected_log_det, rtol=0, atol=tolerance)


@heads
def test_a_head_does_something_once_its_weights_move(prior: Callable[..., HeadPrior]) -> None:
    head = prior(SHAPE).eval()
    gaussian = gaussian_of(head)
    x = torch.randn(16, *SHAPE)
    for part in head.bijections:
        if part is not gaussian:
            perturb(part)
    z, log_det = head(x)
    assert (z - x).abs().max() > 0.1
    assert log_det.abs().max() > 0.1


@heads
def test_the_context_moves_the_head_and_not_only_the_gaussian(prior: Callable[..., HeadPrior]) -> None:
    torch.manual_seed(0)
    head = perturb(prior(SHAPE, 3)).eval()
    x, contexts = torch.randn(1, *SHAPE).expand(2, *SHAPE), torch.randn(2, 3)
    densities = log_density(head, x, contexts)
    assert (densities[0] - densities[1]).abs() > 1e-2
    for parameter in gaussian_of(head).parameters():
        nn.init.zeros_(parameter)
    densities = log_density(head, x, contexts)
    assert (densities[0] - densities[1]).abs() > 1e-3
    z = head(x, contexts)[0]
    assert (z[0] - z[1]).abs().max() > 1e-3


@heads
def test_a_conditional_head_needs_its_context(prior: Callable[..., HeadPrior]) -> None:
    head = prior(SHAPE, 3)
    for direction in (head.forward, head.inverse):
        for context in (None, torch.zeros(2, 4), torch.zeros(3, 3)):
            with pytest.raises(ValueError, match=r"context of shape .2, 3., got"):
                direction(torch.zeros(2, *SHAPE), context)


@heads
def test_the_configuration_has_every_argument(prior: Callable[..., HeadPrior]) -> None:
    head = prior(SHAPE, 3)
    arguments = set(inspect.signature(type(head)).parameters) - {"latent_shape", "context_features"}
    assert set(head.config) == arguments
    given = prior.keywords  # type: ignore[attr-defined]
    assert {name: head.config[name] for name in given} == given
    assert json.loads(json.dumps(head.config)) == head.config
    again = type(head)(SHAPE, 3, **head.config)  # type: ignore[arg-type]
    assert describe_part(again) == describe_part(head)
    assert describe_part(head)["class_path"] == f"glow_app.priors.{type(head).__name__}"
    head.config["num_layers"] = 99
    assert again.config == head.config


@priors
@pytest.mark.parametrize("num_classes", [None, 3])
def test_a_model_with_the_prior_is_rebuilt_from_plain_types(
    prior: Callable[..., Bijection], num_classes: int | None
) -> None:
    model = tiny_model(image_shape=(1, 8, 4), prior=prior, num_classes=num_classes)
    images = random_images(4, (1, 8, 4))
    labels = None if num_classes is None else torch.tensor([0, 1, 2, 0])
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(99)
    rebuilt = build_model(json.loads(json.dumps(model.config)), weights).eval()
    assert isinstance(rebuilt, ImageModel)
    assert type(rebuilt.flow.prior) is type(model.flow.prior)
    assert rebuilt.config == model.config
    assert model_hash(rebuilt) == model_hash(model)
    for found, expected in zip(rebuilt.encode(images, labels), model.encode(images, labels), strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(rebuilt.sample(4, seeds=0), model.sample(4, seeds=0))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("planar", "num_layers"),
        ("maf", "num_layers"),
        ("maf", "num_blocks"),
        ("iaf, spline", "num_layers"),
        ("iaf, spline", "num_blocks"),
        ("cnf", "num_layers"),
        ("cnf, mlp", "num_layers"),
    ],
)
def test_more_layers_than_weights_are_refused_before_they_are_built(name: str, size: str) -> None:
    model = tiny_model(image_shape=(1, 8, 4), prior=HEADS[name])
    config: dict[str, Any] = json.loads(json.dumps(model.config))
    for number in (len(model.state_dict()) + 1, 10**18):
        config["flow"]["prior"]["init_args"][size] = number
        with pytest.raises(ValueError, match="more parts than") as caught:
            build_model(config, model.state_dict())
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"prior": {"num_layers": 40, "num_blocks": 40}},
        {"flow": {"num_steps": 40}},
        {"conditioner": {"num_blocks": 40}, "flow": {"num_steps": [2, 2]}},
    ],
    ids=str,
)
def test_parts_are_counted_together(changes: dict[str, dict[str, object]]) -> None:
    model = tiny_model(image_shape=(1, 8, 4), conditioner=GatedResidualConditioner, prior=HEADS["maf"])
    assert len(model.state_dict()) > 40
    config: dict[str, Any] = json.loads(json.dumps(model.config))
    for part, values in changes.items():
        (config["flow"] if part == "flow" else config["flow"][part]["init_args"]).update(values)
    with pytest.raises(ValueError, match="more parts than"):
        build_model(config, dict(list(model.state_dict().items())[:41]))


def test_a_wide_prior_is_refused_without_memory_for_it() -> None:
    model = tiny_model(image_shape=(1, 8, 4), prior=HEADS["iaf"])
    config: dict[str, Any] = json.loads(json.dumps(model.config))
    config["flow"]["prior"]["init_args"]["hidden_features"] = 10**6
    vectors = {"num_features": 10**6, "prior": config["flow"]["prior"]}
    build_model(model.config, model.state_dict())  # what torch imports late is not counted
    with memory_below(2e6), warnings.catch_warnings(action="ignore"):
        for wide in (config, vectors):
            with pytest.raises(ValueError, match="do not match"):
                build_model(wide, model.state_dict())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("planar", {"num_layers": 2}),
        ("planar", {"nonlinearity": "relu"}),
        ("maf", {"num_layers": 2}),
        ("maf", {"num_blocks": 1}),
        ("maf", {"residual": True}),
        ("maf", {"elementwise": "spline"}),
        ("maf", {"hidden_features": 10**12}),
        ("maf, spline", {"num_bins": 6}),
        ("maf, spline", {"num_bins": 10**12}),
        ("iaf", {"hidden_features": "many"}),
        ("iaf", {"num_layers": None}),
        ("iaf", {"num_layers": [2]}),
        ("cnf", {"velocity": "mlp"}),
        ("cnf", {"hidden_features": 10**12}),
        ("cnf", {"solver": ["rk4"]}),
        ("cnf", {"num_steps": 10**9}),
        ("cnf", {"eval_max_num_steps": 10**9}),
        ("cnf, mlp", {"num_layers": 2}),
        ("cnf, mlp", {"atol": "small"}),
        ("cnf, mlp", {"surprise": 1}),
    ],
    ids=str,
)
def test_a_configuration_of_other_weights_is_one_line_of_value_error(name: str, changes: dict[str, object]) -> None:
    model = tiny_model(image_shape=(1, 8, 4), prior=HEADS[name])
    config: dict[str, Any] = json.loads(json.dumps(model.config))
    config["flow"]["prior"]["init_args"].update(changes)
    with pytest.raises(ValueError, match=re.compile("do not match|damaged|expected")) as caught:
        build_model(config, model.state_dict())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prior", "arguments", "message"),
    [
        (PlanarPrior, {"num_layers": 0}, "num_layers is 0; expected at least 1"),
        (PlanarPrior, {"nonlinearity": "relu"}, "nonlinearity is 'relu'; expected one of tanh, leaky"),
        (MAFPrior, {"num_layers": 0}, "num_layers is 0; expected at least 1"),
        (MAFPrior, {"num_layers": -2}, "num_layers is -2; expected at least 1"),
        (MAFPrior, {"hidden_features": 0}, "hidden_features is 0; expected at least 1"),
        (MAFPrior, {"num_blocks": -1}, "num_blocks is -1; expected at least 0"),
        (MAFPrior, {"elementwise": "cubic"}, "elementwise is 'cubic'; expected one of affine, spline"),
        (MAFPrior, {"ordering": "natural"}, "ordering is 'natural'; expected one of reversed, random"),
        (MAFPrior, {"elementwise": "spline", "num_bins": 0}, "num_bins is 0; expected 1 to 999"),
        (MAFPrior, {"elementwise": "spline", "tail_bound": 0.0}, "tail_bound is 0.0; expected a finite number above 0"),
        (IAFPrior, {"num_layers": 0}, "num_layers is 0; expected at least 1"),
        (IAFPrior, {"elementwise": "cubic"}, "elementwise is 'cubic'; expected one of affine, spline"),
        (CNFPrior, {"velocity": "unet"}, "velocity is 'unet'; expected one of auto, conv, mlp"),
        (CNFPrior, {"velocity": "mlp", "num_layers": 0}, "num_layers is 0"),
        (CNFPrior, {"solver": "rk45"}, "solver is 'rk45'; expected one of dopri5, euler, midpoint, rk4"),
        (CNFPrior, {"eval_solver": "rk45"}, "eval_solver is 'rk45'; expected one of"),
        (CNFPrior, {"num_steps": 0}, "num_steps is 0; expected at least 1"),
        (CNFPrior, {"atol": 0.0}, "atol is 0.0; expected a finite number above 0"),
        (CNFPrior, {"rtol": -1.0}, "rtol is -1.0; expected a finite number above 0"),
        (CNFPrior, {"trace": "none"}, "trace is 'none'; expected one of auto, exact, hutchinson"),
        (CNFPrior, {"noise": "cauchy"}, "noise is 'cauchy'; expected one of rademacher, gaussian"),
        (CNFPrior, {"max_exact_dims": -1}, "max_exact_dims is -1"),
        (CNFPrior, {"kinetic_weight": -1.0}, "kinetic_weight is -1.0"),
        (CNFPrior, {"jacobian_weight": float("nan")}, "jacobian_weight is nan"),
        (CNFPrior, {"hidden_features": 0}, "hidden_channels is 0; expected at least 1"),
        (CNFPrior, {"velocity": "mlp", "hidden_features": -1}, "hidden_features is -1; expected at least 1"),
    ],
)
def test_arguments_that_cannot_be_are_refused(
    prior: Callable[..., HeadPrior], arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        prior(SHAPE, **arguments)
    assert "\n" not in str(caught.value)


def test_an_iaf_on_a_large_latent_warns_and_says_what_to_do() -> None:
    with pytest.warns(
        UserWarning, match=r"latent of 1040 values: .* 1040 steps in sequence in each of 2 layers; use MAFPrior"
    ) as caught:
        IAFPrior((65, 4, 4), hidden_features=1040)
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings(action="error"):
        IAFPrior((64, 4, 4), hidden_features=1040)
        IAFPrior((65, 4, 4), hidden_features=64)
        MAFPrior((65, 4, 4), hidden_features=1040)


@pytest.mark.parametrize(
    ("shape", "name"), [((4, 1, 1), "MLPVelocity"), (SHAPE, "ConvVelocity"), ((4, 1, 2), "ConvVelocity")]
)
def test_a_continuous_prior_takes_the_network_that_fits(shape: tuple[int, int, int], name: str) -> None:
    assert name in {type(module).__name__ for module in CNFPrior(shape).modules()}
    assert CNFPrior(shape).config["velocity"] == "auto"
