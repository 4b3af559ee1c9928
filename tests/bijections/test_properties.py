"""Properties of every bijection, for every entry of the registry."""

import inspect
import re
from collections.abc import Callable, Iterator

import pytest
import torch
from registry import REGISTRY, Case
from torch import Tensor, nn
from torch.func import functional_call

from glow_app.bijections import Bijection

Map = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


@pytest.fixture(params=list(REGISTRY.values()), ids=list(REGISTRY))
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def both_ways(case: Case, batch_size: int = 3) -> Iterator[tuple[Map, Tensor, Tensor | None]]:
    """Yield each direction of the bijection with an input that belongs to it."""
    bijection, x, context = case.build(batch_size)
    yield bijection.forward, x, context
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(bijection(x, context)[0].shape, generator=generator, dtype=x.dtype)
    yield bijection.inverse, z, context


def row(context: Tensor | None, index: int) -> Tensor | None:
    return None if context is None else context[index : index + 1]


@pytest.mark.parametrize("side", ["data", "latent"])
def test_round_trip(case: Case, side: str) -> None:
    bijection, x, context = case.build()
    there: Map = bijection.forward
    back: Map = bijection.inverse
    if side == "latent":
        there, back, x = back, there, torch.randn_like(bijection(x, context)[0])
    y, log_det = there(x, context)
    again, back_log_det = back(y, context)
    assert again.shape == x.shape
    torch.testing.assert_close(again, x, rtol=0, atol=case.tolerance)
    torch.testing.assert_close(back_log_det, -log_det, rtol=0, atol=case.tolerance)


def test_encode_and_decode_are_the_directions_without_log_dets(case: Case) -> None:
    bijection, x, context = case.build()
    z = bijection(x, context)[0]
    torch.testing.assert_close(bijection.encode(x, context), z, rtol=0, atol=case.tolerance)
    torch.testing.assert_close(
        bijection.decode(z, context), bijection.inverse(z, context)[0], rtol=0, atol=case.tolerance
    )


def test_log_det_equals_the_jacobians(case: Case) -> None:
    for direction, x, context in both_ways(case, batch_size=2):
        log_det = direction(x, context)[1]
        for index in range(len(x)):

            def flat(values: Tensor, index: int = index, direction: Map = direction, x: Tensor = x) -> Tensor:
                return direction(values.reshape(1, *x.shape[1:]), row(context, index))[0].flatten()  # noqa: B023

            jacobian = torch.autograd.functional.jacobian(flat, x[index].flatten())
            assert jacobian.shape == (x[0].numel(), x[0].numel())
            expected = torch.linalg.slogdet(jacobian).logabsdet
            torch.testing.assert_close(log_det[index], expected, rtol=0, atol=case.tolerance)


def test_images_of_a_batch_do_not_see_each_other(case: Case) -> None:
    for direction, x, context in both_ways(case):
        y, log_det = direction(x, context)
        assert log_det.shape == (len(x),) == (len(y),)
        assert log_det.dtype == y.dtype == torch.float64
        for index in range(len(x)):
            y_alone, log_det_alone = direction(x[index : index + 1], row(context, index))
            assert log_det_alone.shape == (1,) == (len(y_alone),)
            torch.testing.assert_close(y_alone[0], y[index], rtol=0, atol=case.row_tolerance)
            torch.testing.assert_close(log_det_alone[0], log_det[index], rtol=0, atol=case.row_tolerance)
        changed = x.clone()
        changed[1] = -7.0 * changed[1] + 1.0
        y_changed, log_det_changed = direction(changed, context)
        for index in (0, 2):
            torch.testing.assert_close(y_changed[index], y[index], rtol=0, atol=case.row_tolerance)
            torch.testing.assert_close(log_det_changed[index], log_det[index], rtol=0, atol=case.row_tolerance)
        assert not torch.allclose(y_changed[1], y[1])


def test_nothing_is_changed_in_place_and_training_equals_evaluation(case: Case) -> None:
    bijection, x, context = case.build()
    z = bijection(x, context)[0].detach()
    state = {name: value.clone() for name, value in bijection.state_dict().items()}
    for direction, values in ((bijection.forward, x), (bijection.inverse, z)):
        results = []
        for mode in (True, False):
            bijection.train(mode)
            given = values.clone()
            given_context = None if context is None else context.clone()
            results.append(direction(given, given_context))
            assert torch.equal(given, values)
            assert context is None or torch.equal(given_context, context)  # type: ignore[arg-type]
        assert all(torch.equal(trained, evaluated) for trained, evaluated in zip(*results, strict=True))
    for name, value in bijection.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_fresh_instance_with_the_state_is_the_same(case: Case) -> None:
    bijection, x, context = case.build()
    torch.manual_seed(99)
    fresh = case.constructor().to(torch.float64)
    fresh.load_state_dict(bijection.state_dict())
    z = bijection(x, context)[0]
    for ours, theirs in ((bijection.forward, fresh.forward), (bijection.inverse, fresh.inverse)):
        values = x if ours == bijection.forward else z
        for expected, found in zip(ours(values, context), theirs(values, context), strict=True):
            assert torch.equal(found, expected)


def test_initialising_again_changes_nothing(case: Case) -> None:
    bijection, x, context = case.build()
    expected = bijection(x, context)
    found = bijection.initialize(5 * x + 1, context)
    again = bijection(x, context)
    assert all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))
    # Up to rounding: fused bijections initialise one by one.
    for returned, expected_value in zip(found, bijection(5 * x + 1, context), strict=True):
        torch.testing.assert_close(returned, expected_value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("side", ["data", "latent"])
def test_a_wrong_shape_is_a_value_error_that_names_both(case: Case, side: str) -> None:
    bijection, x, context = case.build(batch_size=2)
    z = bijection(x, context)[0]
    values, bad = (x, case.bad_shape) if side == "data" else (z, case.bad_latent_shape)
    direction = bijection.forward if side == "data" else bijection.inverse
    channels, *sides = values.shape[1:]
    for shape in (bad or (channels + 1, *sides), (channels, *sides, 2)):
        with pytest.raises(ValueError, match=re.compile("expect|fit")) as caught:
            direction(torch.zeros(2, *shape, dtype=x.dtype), context)
        shapes = re.findall(r"\(2(?:, \d+)+\)", str(caught.value))
        assert shapes, "the message names the shape that came"
        assert "\n" not in str(caught.value)


def test_a_context_of_another_shape_is_a_value_error(case: Case) -> None:
    bijection, x, context = case.build(batch_size=2)
    if context is None:
        pytest.skip("it takes no context")
    z = bijection(x, context)[0]
    for bad in (None, context[:, :-1], context[0]):
        for direction, values in ((bijection.forward, x), (bijection.inverse, z)):
            with pytest.raises(ValueError, match=r"context of shape \("):
                direction(values, bad)


def test_gradients_are_right_and_reach_everything(case: Case) -> None:
    bijection, x, context = case.build(batch_size=2)
    tensors = {"x": x} | ({} if context is None else {"context": context}) | dict(bijection.named_parameters())
    sizes = [tensor.numel() for tensor in tensors.values()]

    def outputs(values: Tensor) -> tuple[Tensor, Tensor]:
        parts = zip(tensors.items(), values.split(sizes), strict=True)
        given = {name: part.view_as(tensor) for (name, tensor), part in parts}
        return functional_call(bijection, given, (given.pop("x"), given.pop("context", None)))

    # All in one vector, which needs the fewest evaluations.
    values = torch.cat([tensor.detach().flatten() for tensor in tensors.values()]).requires_grad_()
    assert torch.autograd.gradcheck(outputs, (values,), fast_mode=True)
    z, log_det = outputs(values)
    weights = torch.randn(z.shape, generator=torch.Generator().manual_seed(1), dtype=z.dtype)
    (gradient,) = torch.autograd.grad((weights * z).sum() + log_det.sum(), values)
    for name, part in zip(tensors, gradient.split(sizes), strict=True):
        assert part.isfinite().all(), name
        assert part.abs().max() > 1e-8, f"{name} is not reached"


def test_the_inverse_is_differentiable_too(case: Case) -> None:
    bijection, x, context = case.build(batch_size=2)
    z = bijection(x, context)[0].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: bijection.inverse(values, context), (z,), fast_mode=True)


def test_bijections_invert_under_autocast(case: Case) -> None:
    bijection, x, context = case.build(dtype=torch.float32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        z, log_det = bijection(x, context)
        back, inverse_log_det = bijection.inverse(z, context)
    for tensor in (z, log_det, back, inverse_log_det):
        assert tensor.dtype == torch.float32
    torch.testing.assert_close(back, x, rtol=0, atol=1e-4)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=0, atol=1e-4)


def test_the_registry_holds_every_bijection() -> None:
    registered = {type(module) for case in REGISTRY.values() for module in case.constructor().modules()}
    missing = {cls.__qualname__ for cls in concrete_subclasses(Bijection)} - {cls.__qualname__ for cls in registered}
    assert not missing, "add them to REGISTRY of tests/registry.py"


def concrete_subclasses(cls: type[nn.Module]) -> Iterator[type[nn.Module]]:
    for subclass in cls.__subclasses__():
        if subclass.__module__.startswith("glow_app.") and not inspect.isabstract(subclass):
            yield subclass
        yield from concrete_subclasses(subclass)
