import pytest
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Adam, Optimizer

from lightning_modules.optimizers import Muon, orthogonalised

SHAPES = [(6, 2, 3, 3), (4,), (6, 2, 3, 3), (5, 5), (3, 8, 1, 1), ()]


def parameters(seed: int = 0) -> list[Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def steps(params: list[Parameter], optimizer: Optimizer, numbers: range) -> list[Tensor]:
    """Take steps, whose gradients the parameters and the number of a step decide, and return the parameters."""
    for number in numbers:
        for one, noise in zip(params, parameters(100 + number), strict=True):
            one.grad = (one + noise).detach()
        optimizer.step()
    return [one.detach().clone() for one in params]


@pytest.mark.parametrize("shape", [(5, 8, 20), (5, 20, 8), (1, 7, 7), (3, 1, 9)])
def test_all_singular_values_come_to_about_one_and_the_directions_stay(shape: tuple[int, int, int]) -> None:
    num, size = shape[0], min(shape[1:])
    u, _, vh = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    values = torch.logspace(0, -1.5, size, dtype=torch.float64).expand(num, size)
    found = u.mT @ orthogonalised(1e3 * u @ torch.diag_embed(values) @ vh) @ vh.mT
    diagonal = found.diagonal(dim1=1, dim2=2)
    assert 0.6 < float(diagonal.min()) <= float(diagonal.max()) < 1.25
    torch.testing.assert_close(found, torch.diag_embed(diagonal), rtol=0, atol=1e-9)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no optimiser to compare with")
def test_kernels_take_the_steps_of_torch_s_own_on_matrices() -> None:
    kernels = [one for one in parameters() if one.ndim == 4]
    matrices = [Parameter(one.detach().flatten(1).clone()) for one in kernels]
    ours = Muon(kernels, lr=0.1, momentum=0.9, kernel_decay=0.05)
    theirs = torch.optim.Muon(matrices, lr=0.1, momentum=0.9, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        before = [one.detach().clone() for one in kernels]
        for one, matrix in zip(kernels, matrices, strict=True):
            gradient = torch.randn(matrix.shape)
            one.grad, matrix.grad = gradient.view(one.shape), gradient
            matrix.data.copy_(one.detach().flatten(1))
        ours.step()
        theirs.step()
        for one, matrix, old in zip(kernels, matrices, before, strict=True):
            expected = matrix.detach() - old.flatten(1)
            # Theirs are worked out in bfloat16.
            torch.testing.assert_close(one.detach().flatten(1) - old.flatten(1), expected, rtol=0, atol=5e-3)
            assert float(expected.abs().max()) > 0.02


def test_other_parameters_are_updated_exactly_as_by_adam() -> None:
    ours, theirs = parameters(), parameters()
    found = steps(ours, Muon(ours, 0.01, (0.8, 0.95), 1e-6), range(5))
    expected = steps(theirs, Adam(theirs, 0.01, (0.8, 0.95), 1e-6, fused=True), range(5))
    for one, other, shape in zip(found, expected, SHAPES, strict=True):
        assert torch.equal(one, other) == (len(shape) != 4)


@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_a_kernel_whose_gradients_end_comes_to_rest(size: float) -> None:
    kernel = Parameter(torch.randn(6, 2, 3, 3))
    optimizer = Muon([kernel], lr=1e-2, kernel_decay=0.0)
    kernel.grad = size * torch.randn(kernel.shape)
    optimizer.step()
    start = kernel.detach().clone()
    kernel.grad = torch.zeros_like(kernel)
    for number in range(1200):
        optimizer.step()
        if number == 1000:
            rest = kernel.detach().clone()
    assert torch.equal(kernel, rest), "the buffer is as good as empty"
    # A whole step changes an entry by 0.002: it ends after the few hundred in which the buffer falls to 1e-7.
    assert float((kernel.detach() - start).abs().max()) < 4


def test_only_kernels_decay() -> None:
    params, free = parameters(), parameters()
    found, expected = (
        steps(params, Muon(params, 0.1, kernel_decay=0.5), range(1)),
        steps(free, Muon(free, 0.1, kernel_decay=0.0), range(1)),
    )
    for one, other, start in zip(found, expected, parameters(), strict=True):
        lost = 0.05 * start.detach() if start.ndim == 4 else torch.zeros(())
        torch.testing.assert_close(one, other - lost, rtol=0, atol=1e-6)


def test_parameters_without_gradients_stay_and_a_closure_is_called() -> None:
    params = parameters()
    optimizer = Muon(params)

    def closure() -> float:
        params[1].grad = torch.ones(4)
        params[2].grad = torch.ones(SHAPES[2])
        return 3.0

    before = [one.detach().clone() for one in params]
    assert optimizer.step(closure) == 3.0
    assert [torch.equal(one, two) for one, two in zip(before, params, strict=True)] == [True, False, False] + 3 * [True]
