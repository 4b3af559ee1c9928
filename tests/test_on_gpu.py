"""Models and bijections on a GPU."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from gpu_device import DEVICE, IS_CUDA, on_gpu
from registry import PRIORS, REGISTRY, Case, OtherConditioner, random_images, tiny_given, tiny_model

from glow_app.bijections import ActNorm, InvertibleConv1x1, PixelwiseChain

pytestmark = on_gpu
MODELS: dict[str, dict[str, Any]] = {
    "classes": {"num_classes": 3},
    "additive": {"coupling": "additive"},
    "other conditioner": {"conditioner": OtherConditioner},
    **{name: {"prior": prior} for name, prior in PRIORS.items()},
}


@pytest.fixture
def tf32() -> Iterator[None]:
    """Allow TF32, as a user's program may."""
    switches: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = True
    yield
    for switch, allowed in zip(switches, before, strict=True):
        switch.allow_tf32 = allowed


@pytest.mark.usefixtures("tf32")
@pytest.mark.parametrize("case", REGISTRY.values(), ids=list(REGISTRY))
def test_a_bijection_agrees_with_the_cpu_in_float64(case: Case) -> None:
    exact, x, context = case.build()
    there: Any = copy.deepcopy(exact).float().to(DEVICE)
    moved = None if context is None else context.float().to(DEVICE)
    with torch.no_grad():
        z, log_det = exact(x, context)
        found, found_log_det = there(x.float().to(DEVICE), moved)
        back, back_log_det = there.inverse(found, moved)
    assert found.device.type == DEVICE.type
    size = float(z.abs().max())
    torch.testing.assert_close(found.cpu().double(), z, rtol=1e-4, atol=1e-4 * size)
    torch.testing.assert_close(found_log_det.cpu().double(), log_det, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(back.cpu().double(), x, rtol=1e-3, atol=1e-3 * float(x.abs().max()))
    torch.testing.assert_close(back_log_det.cpu(), -found_log_det.cpu(), rtol=1e-3, atol=1e-2)


@pytest.mark.usefixtures("tf32")
@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_reconstruction_is_exact_and_samples_match_the_cpu(options: dict[str, Any]) -> None:
    exact = tiny_model(**options).double()
    model = copy.deepcopy(exact).float().to(DEVICE)
    images, given = random_images(16), tiny_given(model.flow, 16)
    for narrow in (False, True):
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=narrow):
            assert torch.equal(model.decode(model.encode(images, given), given).cpu(), images)
    drawn = [one.sample(16, 0.7, 0, given).cpu().short() for one in (exact, model)]
    assert (drawn[0] - drawn[1]).abs().max() <= 1


@pytest.mark.usefixtures("tf32")
def test_matrix_products_do_not_use_tf32() -> None:
    torch.manual_seed(0)
    chain = PixelwiseChain(ActNorm(64), InvertibleConv1x1(64)).double()
    x = torch.randn(8, 64, 16, 16, dtype=torch.float64)
    z, _ = chain.initialize(x)
    with torch.no_grad():
        found, _ = copy.deepcopy(chain).float().to(DEVICE)(x.float().to(DEVICE))
    assert float((found.cpu().double() - z).norm() / z.norm()) < 1e-6  # TF32 has 3e-4


@pytest.mark.skipif(not IS_CUDA, reason="needs CUDA streams")
@pytest.mark.parametrize("narrow", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_a_training_step_does_not_synchronise(narrow: bool, num_classes: int | None) -> None:
    model = tiny_model(num_classes=num_classes).to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    images, given = random_images(8).to(DEVICE), tiny_given(model.flow, 8)
    given = None if given is None else given.to(DEVICE)

    def step() -> None:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=narrow):
            loss = model(images, given).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
