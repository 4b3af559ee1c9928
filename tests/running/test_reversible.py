"""Gradients without stored activations equal those with them, and say so where they cannot."""

import copy
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from registry import perturb, random_images, tiny_given, tiny_glow
from torch import Tensor

from glow_app.bijections import ActNorm, AffineCoupling, Bijection, Chain, InvertibleConv1x1, PixelwiseChain, Squeeze
from glow_app.flows import Level
from glow_app.models.image_model import ImageModel
from glow_app.nn import ConvConditioner, GatedResidualConditioner
from glow_app.restoration import Fill, PictureConditioning
from glow_app.running import Memory, choose_runners
from glow_app.running.reversible import FIRST_FALLBACK, ReversibleRunner

MODES: list[Memory] = ["checkpoint", "reversible"]
MODELS: dict[str, dict[str, Any]] = {
    "one level": {"num_levels": 1, "num_steps": 5},
    "classes, additive": {"num_classes": 4, "coupling": "additive"},
    "gated residual": {"conditioner": GatedResidualConditioner},
    "picture": {"conditioning": lambda: PictureConditioning(Fill(), 3, 2)},
}


def built(name: str, dtype: torch.dtype) -> ImageModel:
    options = dict(MODELS[name])
    if "conditioning" in options:
        options["conditioning"] = options["conditioning"]()
    return ImageModel(tiny_glow(dtype=dtype, perturbation=0.02, **options))


def gradients(model: ImageModel, memory: Memory, autocast: bool = False, parts: int = 1) -> list[Tensor]:
    """Return the gradients of a batch, summed over so many parts of it."""
    model.set_runners(memory)
    model.zero_grad()
    images, given = random_images(8, model.flow.image_shape), tiny_given(model.flow, 8)
    generator = torch.Generator().manual_seed(1)
    for rows in torch.arange(8).chunk(parts):
        with torch.autocast("cpu", torch.bfloat16, autocast):
            loss = model(images[rows], None if given is None else given[rows], generator).sum() / len(images)
        loss.backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def relative_error(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the distance of all gradients together, relative to their size."""
    difference = torch.cat([(a - b).flatten() for a, b in zip(found, expected, strict=True)])
    return float(difference.norm() / torch.cat([b.flatten() for b in expected]).norm())


@pytest.mark.parametrize(
    ("memory", "name", "dtype", "tolerance"),
    [
        *((memory, name, torch.float64, 1e-10) for memory in MODES for name in MODELS),
        ("reversible", "one level", torch.float32, 1e-5),
    ],
)
def test_gradients_agree_with_stored_activations(
    memory: Memory, name: str, dtype: torch.dtype, tolerance: float
) -> None:
    model = built(name, dtype)
    expected = gradients(model, "store")
    with warnings.catch_warnings(action="error"):
        found = gradients(model, memory)
        in_parts = gradients(model, memory, parts=2)
    if memory == "reversible":
        drifts = [runner_of(level).drift for level in model.flow.levels]
        assert [drift is not None and 0 <= drift < tolerance for drift in drifts] == [True] * len(model.flow.levels)
    assert 0 <= relative_error(found, expected) < tolerance
    for one, other in zip(found, expected, strict=True):  # small gradients beside large ones too
        torch.testing.assert_close(one, other, rtol=0, atol=10 * tolerance * float(other.abs().max()) + tolerance**2)
    assert relative_error(in_parts, gradients(model, "store", parts=2)) < tolerance


def test_bfloat16_conditioners_are_recomputed_in_bfloat16() -> None:
    model = ImageModel(tiny_glow(num_steps=4, perturbation=0.02))
    expected = gradients(model, "store", autocast=True)
    rounding = relative_error(expected, gradients(model, "store"))
    assert rounding > 1e-4, "bfloat16 was in use"
    # Of a step run as a whole and of one run in parts a number is rounded to another bfloat16 on some machines.
    assert relative_error(gradients(model, "checkpoint", autocast=True), expected) < rounding / 10
    assert relative_error(gradients(model, "reversible", autocast=True), expected) < 3 * rounding


def runner_of(level: Any) -> ReversibleRunner:
    assert isinstance(level.runner, ReversibleRunner)
    return level.runner


def level(memory: Memory = "store", num_steps: int = 3) -> Level:
    torch.manual_seed(0)
    steps = [
        Chain(PixelwiseChain(ActNorm(4), InvertibleConv1x1(4)), AffineCoupling(4, ConvConditioner(2, 4, 6, 3)))
        for _ in range(num_steps)
    ]
    chain = run_by(memory, Level(Squeeze(), *steps).double())
    chain.initialize(*inputs()[:2])
    return perturb(chain, size=0.05)


def run_by(memory: Memory, level: Level) -> Level:
    choose_runners(SimpleNamespace(levels=[level]), memory)  # type: ignore[arg-type]
    return level


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, 1, 4, 4), (6, 3))
    x, context = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return x.requires_grad_(), context.requires_grad_()


LOSSES: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda z, log_det: z.sin().sum(),
    lambda z, log_det: log_det.square().sum(),
    lambda z, log_det: (z.square().flatten(1).sum(1) * log_det).sum(),
]


@pytest.mark.parametrize("memory", MODES)
@pytest.mark.parametrize("loss", LOSSES, ids=["latent", "log_det", "both"])
def test_each_output_reaches_input_context_and_parameters(memory: Memory, loss: Callable[..., Tensor]) -> None:
    found = []
    for mode in ("store", memory):
        chain, (x, context) = level(mode), inputs()
        loss(*chain(x, context)).backward()
        found.append([tensor.grad for tensor in (x, context, *chain.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_frozen_parameters_and_a_frozen_input_get_no_gradient() -> None:
    chain, (x, context) = level("reversible"), inputs()
    frozen = list(chain.bijections[1].parameters())
    for parameter in frozen:
        parameter.requires_grad_(False)
    z, log_det = chain(x.detach(), context.detach())
    (z.sum() + log_det.sum()).backward()
    assert all(parameter.grad is None for parameter in frozen)
    assert all(parameter.grad is not None for parameter in chain.parameters() if parameter.requires_grad)


class Flattens(Bijection):
    """Loses all but a few digits of what it is given."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._scaled(x, 1e-5)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._scaled(z, 1e5)

    def _scaled(self, x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        # Beside 1 there is no room for the digits of a small number.
        shift = 1.0 if scale < 1 else 0.0
        y = (x - (1 - shift)) * scale + shift
        return y, x.new_full((x.shape[0],), x[0].numel()) * torch.tensor(scale, dtype=x.dtype).log()


def test_an_ill_conditioned_inverse_falls_back_with_a_message_and_right_gradients() -> None:
    x, context = (tensor.detach().float() for tensor in inputs())
    found: dict[str, list[Tensor]] = {}
    parts = list(level().float().bijections)
    chain = Level(parts[0], parts[1], Flattens(), parts[2])  # type: ignore[arg-type]
    for memory in get_args(Memory):
        run_by(memory, chain)
        chain.zero_grad()
        z, log_det = chain(x, context)
        if memory == "reversible":
            with pytest.warns(UserWarning, match=r"relative error of .*ill-conditioned\. They are checkpointed now"):
                (z.sum() + log_det.sum()).backward()
        else:
            (z.sum() + log_det.sum()).backward()
        found[memory] = [parameter.grad for parameter in chain.parameters() if parameter.grad is not None]
    runner = runner_of(chain)
    assert runner.drift is not None
    assert runner.drift > 1e-5
    assert runner.fallback == FIRST_FALLBACK
    assert relative_error(found["reversible"], found["checkpoint"]) == 0
    assert relative_error(found["reversible"], found["store"]) < 1e-6  # where all is stored, the last steps are fused
    # Then for a while without the detour; when it is taken again, without another warning.
    runner.fallback = 5
    taken = []
    for _ in range(10):
        before, runner.drift = runner.drift, None
        with warnings.catch_warnings(action="error"):
            z, log_det = chain(x, context)
            (z.sum() + log_det.sum()).backward()
        taken.append(runner.drift is not None)
        runner.drift = before
    assert [step for step, value in enumerate(taken) if value] == [5]


def test_values_that_are_not_finite_say_nothing_about_the_inverse() -> None:
    chain, (x, context) = level("reversible"), inputs()
    poisoned = x.detach().clone()
    poisoned[0, 0, 0, 0] = torch.nan
    with warnings.catch_warnings(action="error"):
        z, log_det = chain(poisoned, context)
        (z.sum() + log_det.sum()).backward()
    assert any(not p.grad.isfinite().all() for p in chain.parameters() if p.grad is not None)
    assert not runner_of(chain).fallback


def test_the_activations_kept_do_not_grow_with_the_steps() -> None:
    def kept(memory: Memory, num_steps: int) -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        chain = level(memory, num_steps)
        parameters = {parameter.untyped_storage().data_ptr() for parameter in chain.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outputs = chain(*inputs())
        assert outputs[0].requires_grad
        return sum(size for pointer, size in sizes.items() if pointer not in parameters)

    assert kept("reversible", 8) == kept("reversible", 2)
    assert kept("reversible", 8) < kept("checkpoint", 8) < kept("store", 8) / 4


def test_a_copy_has_runners_of_its_own() -> None:
    model = ImageModel(tiny_glow())
    model.set_runners("reversible")
    twin = copy.deepcopy(model)
    assert twin.memory == "reversible"
    runners = [runner_of(level) for one in (model, twin) for level in one.flow.levels]
    assert len(set(map(id, runners))) == 2 * len(model.flow.levels)


def test_compilation_is_refused_unless_activations_are_stored() -> None:
    with pytest.raises(ValueError, match=r"model\.compile: needs model\.memory store, got reversible"):
        ImageModel(tiny_glow()).set_runners("reversible", compiled=True)
