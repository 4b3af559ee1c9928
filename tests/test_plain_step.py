"""The training step that benchmarks/step_changes.py starts from computes the same as the product."""

import pytest
import torch
from plain import LaidOutConditioner, PlainConditioner, set_apart
from registry import perturb

from glow_app.flows import Glow
from glow_app.nn import ConvConditioner


@pytest.mark.parametrize("conditioner", [PlainConditioner, LaidOutConditioner])
def test_the_plain_step_equals_the_product(conditioner: type[ConvConditioner]) -> None:
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    product = Glow((3, 8, 8), 2, 2, 6).double()
    plain = Glow((3, 8, 8), 2, 2, 6, conditioner=conditioner)
    set_apart(plain)
    plain = plain.double()
    product.initialize(x)
    perturb(product, size=0.1)
    plain.load_state_dict(product.state_dict())
    expected, log_prob = product.log_prob(x), plain.log_prob(x)
    torch.testing.assert_close(log_prob, expected, rtol=1e-12, atol=0)
    expected.sum().backward()
    log_prob.sum().backward()
    for parameter, other in zip(plain.parameters(), product.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-9, atol=1e-9)
