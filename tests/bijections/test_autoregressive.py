import pytest
import torch
from registry import perturb

from glow_app.bijections import Inverse, MaskedAutoregressive, Reshape, SplineMap


@pytest.mark.parametrize("ordering", ["natural", "reversed", "random"])
def test_starts_as_the_identity(ordering: str) -> None:
    flow = MaskedAutoregressive(5, 16, elementwise=SplineMap(), ordering=ordering)  # type: ignore[arg-type]
    x = torch.randn(3, 5)
    for direction in (flow.forward, flow.inverse):
        y, log_det = direction(x)
        torch.testing.assert_close(y, x)
        torch.testing.assert_close(log_det, torch.zeros(3))


@pytest.mark.parametrize("ordering", ["natural", "reversed", "random"])
def test_the_jacobian_is_triangular_in_its_ordering(ordering: str) -> None:
    flow = perturb(MaskedAutoregressive(6, 32, ordering=ordering).double(), size=0.5)  # type: ignore[arg-type]
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x[None])[0][0], torch.randn(6, dtype=torch.float64))
    ordered = jacobian[flow.order][:, flow.order]
    assert torch.equal(ordered, ordered.tril())
    assert ordered.tril(-1).abs().max() > 0.01
    assert (flow.order.tolist() == list(range(6))) == (ordering == "natural")


def test_a_random_order_is_saved_with_the_weights() -> None:
    torch.manual_seed(0)
    one, other = (MaskedAutoregressive(20, 8, ordering="random") for _ in range(2))
    assert not torch.equal(one.order, other.order)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.order, other.order)


def test_the_inverse_flow_draws_in_one_pass() -> None:
    flow = Inverse(perturb(MaskedAutoregressive(6, 12)))
    calls = []
    flow.bijection.network.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr]
    flow.inverse(torch.randn(2, 6))
    assert calls == [1]


def test_the_ordering_is_checked() -> None:
    with pytest.raises(ValueError, match="ordering is 'raster'; expected one of natural, reversed, random"):
        MaskedAutoregressive(3, 4, ordering="raster")  # type: ignore[arg-type]


def test_a_reshape_keeps_every_value() -> None:
    with pytest.raises(ValueError, match=r"\(4, 2\) and \(7,\) hold different numbers"):
        Reshape((4, 2), (7,))
    with pytest.raises(ValueError, match=r"expects shape \(B, 4, 2\), got \(3, 2, 4\)"):
        Reshape((4, 2), (8,))(torch.zeros(3, 2, 4))
