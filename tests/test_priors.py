import inspect
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from flow_checks import check_samples
from registry import perturb, tiny_model
from torch import nn

from glow_app.bijections import Bijection
from glow_app.likelihood import standard_normal_log_density
from glow_app.priors import CNFPrior, GaussianPrior, HeadPrior, IAFPrior, MAFPrior, PlanarPrior
from glow_app.spec import build, spec_of
from glow_app.storage.model_config import build_model

SHAPE = (4, 2, 3)

# No argument has its default value, so a configuration that omits one builds a different prior.
HEADS: dict[str, Callable[..., HeadPrior]] = {
    "planar": partial(PlanarPrior, num_layers=2),
    "maf, spline": partial(MAFPrior, hidden_features=25, elementwise="spline", num_bins=5, tail_bound=4.0),
    "iaf": partial(IAFPrior, num_layers=3, hidden_features=30, num_blocks=2, max_groups=3),
    "cnf": partial(CNFPrior, hidden_features=6, num_layers=1, num_frequencies=1, solver="rk4", num_steps=3),
    "cnf, noisy": partial(
        CNFPrior,
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
        kinetic_weight=0.1,
        jacobian_weight=0.2,
    ),
}

heads = pytest.mark.parametrize("prior", HEADS.values(), ids=HEADS.keys())


def gaussian_of(head: Bijection) -> GaussianPrior:
    gaussian = next(iter(head.children()))[0]  # type: ignore[index]
    assert isinstance(gaussian, GaussianPrior)
    return gaussian


@heads
@pytest.mark.parametrize("context_features", [0, 3])
def test_learned_prior_starts_close_to_the_gaussian(prior: Callable[..., HeadPrior], context_features: int) -> None:
    head, gaussian = prior(SHAPE, context_features).eval(), perturb(GaussianPrior(SHAPE, context_features), size=0.1)
    gaussian_of(head).load_state_dict(gaussian.state_dict())
    x, context = torch.randn(16, *SHAPE), torch.randn(16, context_features) if context_features else None
    # A planar layer starts at a hundredth of its usual size; the others at the identity, up to rounding.
    tolerance = 0.1 if isinstance(head, PlanarPrior) else 1e-4
    for found, expected in zip(head(x, context), gaussian(x, context), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@heads
def test_context_changes_the_head_and_not_only_the_gaussian(prior: Callable[..., HeadPrior]) -> None:
    head = perturb(prior(SHAPE, 3)).eval()
    for parameter in gaussian_of(head).parameters():
        nn.init.zeros_(parameter)
    x, contexts = torch.randn(1, *SHAPE).expand(2, *SHAPE), torch.randn(2, 3)
    torch.manual_seed(5)  # for the noise of the trace estimate
    z, log_det = head(x, contexts)
    assert (z - x).abs().max() > 0.1
    assert (z[0] - z[1]).abs().max() > 1e-3
    density = standard_normal_log_density([z]) + log_det
    assert (density[0] - density[1]).abs() > 1e-3


@pytest.mark.parametrize("prior", [GaussianPrior, partial(GaussianPrior, rank=3), *HEADS.values()])
def test_samples_are_those_of_the_density(prior: Callable[..., GaussianPrior | HeadPrior]) -> None:
    built = perturb(prior(SHAPE, 3).double().eval(), size=0.1)
    check_samples(built, SHAPE, torch.randn(3, 3, dtype=torch.float64), 1e-2 if isinstance(built, CNFPrior) else 1e-8)


@pytest.mark.parametrize("context_features", [0, 3])
@pytest.mark.parametrize("prior", [GaussianPrior, partial(GaussianPrior, rank=3), *HEADS.values()])
def test_a_head_alone_is_a_density_of_vectors(prior: Callable[..., HeadPrior], context_features: int) -> None:
    density = perturb(prior((5,), context_features).double().eval(), size=0.1)
    context = torch.randn(3, context_features, dtype=torch.float64) if context_features else None
    check_samples(density, (5,), context, 1e-2 if isinstance(density, CNFPrior) else 1e-8)
    x = torch.randn(1, 5, dtype=torch.float64)
    first = None if context is None else context[:1]
    torch.manual_seed(5)  # for the noise of the trace estimate
    log_det = density(x, first)[1]
    if spec_of(density).get("trace") != "hutchinson":
        jacobian = torch.autograd.functional.jacobian(lambda x: density(x, first)[0], x).view(5, 5)
        tolerance = 1e-4 if isinstance(density, CNFPrior) else 1e-9
        torch.testing.assert_close(jacobian.slogdet().logabsdet, log_det[0], rtol=0, atol=tolerance)


@heads
def test_config_contains_every_argument(prior: Callable[..., HeadPrior]) -> None:
    head = prior(SHAPE, 3)
    given = prior.keywords  # type: ignore[attr-defined]
    config = spec_of(tiny_model(image_shape=(1, 8, 4), prior=prior).flow)["prior"]
    others = {"latent_shape", "context_features", "options"}
    assert config.keys() >= set(inspect.signature(type(head)).parameters) - others | given.keys() | {"type"}
    assert {name: config[name] for name in given} == given
    assert type(build({**config, "latent_shape": SHAPE}, HeadPrior)) is type(head)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *(("iaf", changes) for changes in ({"num_layers": 2}, {"hidden_features": 10**12})),
        *(("iaf", {"hidden_features": "many"}), ("maf, spline", {"num_bins": 10**12}), ("cnf, noisy", {"surprise": 1})),
        *(("cnf", changes) for changes in ({"num_frequencies": 2}, {"num_steps": 10**9})),
    ],
    ids=str,
)
def test_a_configuration_that_does_not_match_the_weights_is_refused(name: str, changes: dict[str, object]) -> None:
    model = tiny_model(image_shape=(1, 8, 4), prior=HEADS[name])
    config: dict[str, Any] = json.loads(json.dumps(model.config))
    config["flow"]["prior"].update(changes)
    with pytest.raises(ValueError, match=re.compile("do not match|damaged|expected|no option")) as caught:
        build_model(config, model.state_dict())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prior", "arguments"),
    [
        (PlanarPrior, {"num_layers": 0}),
        (MAFPrior, {"hidden_features": 0}),
        (MAFPrior, {"elementwise": "cubic"}),
        (MAFPrior, {"max_groups": 1}),
        (CNFPrior, {"solver": "rk45"}),
        (CNFPrior, {"eval_rtol": float("inf")}),
        (CNFPrior, {"jacobian_weight": float("nan")}),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_by_name(prior: Callable[..., HeadPrior], arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"^{list(arguments)[-1]} is .*; expected"):
        prior(SHAPE, **arguments)
