import pytest
import torch
from registry import perturb

from glow_app.bijections import MaskedAutoregressive, SplineMap


@pytest.mark.parametrize("is_reversed", [False, True])
def test_starts_as_the_identity_and_is_triangular_in_its_order(is_reversed: bool) -> None:
    flow = MaskedAutoregressive(6, 32, elementwise=SplineMap(), is_reversed=is_reversed).double()
    x = torch.randn(3, 6, dtype=torch.float64)
    for y, log_det in (flow(x), flow.inverse(x)):
        torch.testing.assert_close(y, x)
        torch.testing.assert_close(log_det, torch.zeros_like(log_det))
    perturb(flow, size=0.5)
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x[None])[0][0], x[0])
    ordered = jacobian.flip(0, 1) if is_reversed else jacobian
    assert torch.equal(ordered, ordered.tril())
    assert ordered.tril(-1).abs().max() > 0.01
