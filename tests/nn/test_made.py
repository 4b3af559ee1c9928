import pytest
import torch
from registry import perturb
from torch import Tensor

from glow_app.nn import MADE

sizes = pytest.mark.parametrize(("features", "hidden"), [(1, 3), (2, 5), (5, 3), (4, 11)])
networks = pytest.mark.parametrize("context_features", [0, 3])


def made(features: int, hidden: int, **arguments: object) -> MADE:
    return perturb(MADE(features, hidden, 2, **arguments).double(), size=0.5)  # type: ignore[arg-type]


@sizes
@networks
def test_a_feature_sees_those_before_it_and_no_other(features: int, hidden: int, context_features: int) -> None:
    network = made(features, hidden, context_features=context_features, num_blocks=2)
    context = torch.randn(99, context_features, dtype=torch.float64) if context_features else None
    x = torch.randn(99, features, dtype=torch.float64)  # of many points: a rectifier that is off hides a connection
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x, context).sum((0, 2)), x)
    seen = (jacobian != 0).any(1).double()
    assert torch.equal(seen, seen.tril(-1))
    if hidden >= features:
        assert torch.equal(seen, torch.ones_like(seen).tril(-1))
    if context is not None and hidden >= features:
        of_context = torch.autograd.functional.jacobian(lambda c: network(x, c).sum((0, 2)), context)
        assert (of_context.abs().amax((1, 2)) > 0).all()


@sizes
@networks
def test_step_by_step_equals_all_at_once(features: int, hidden: int, context_features: int) -> None:
    network = made(features, hidden, context_features=context_features, num_blocks=2)
    x = torch.randn(7, features, dtype=torch.float64)
    context = torch.randn(7, context_features, dtype=torch.float64) if context_features else None
    found = []

    def step(group: slice, parameters: Tensor) -> Tensor:
        found.append(parameters)
        return x[:, group]

    network.unroll(step, 7, context)
    torch.testing.assert_close(torch.cat(found, 1), network(x, context), rtol=0, atol=1e-12)
    assert len(found) == len(network.groups) == network.num_groups <= min(features, hidden + 1)


def test_features_that_see_the_same_share_a_step() -> None:
    assert made(5, 3).groups == [slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 5)]
    assert made(5, 3, context_features=1).groups == [slice(0, 1), slice(1, 3), slice(3, 5)]
    assert made(3, 8).groups == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert made(1, 4).groups == [slice(0, 1)]


@pytest.mark.parametrize("context_features", [0, 2])
@pytest.mark.parametrize("max_groups", [2, 5])
def test_groups_are_as_few_as_asked_and_alike(max_groups: int, context_features: int) -> None:
    groups = made(20, 40, context_features=context_features, max_groups=max_groups).groups
    assert [value for group in groups for value in range(group.start, group.stop)] == list(range(20))
    assert len(groups) == max_groups
    sizes = sorted(group.stop - group.start for group in groups)
    # Without a context the first value stands alone: no hidden unit could serve it.
    assert sizes[-1] - sizes[0 if context_features else 1] <= 1
