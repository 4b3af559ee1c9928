import math
import re
from collections.abc import Mapping

import pytest
import torch
from registry import tiny_context, tiny_glow
from torch import Tensor

from glow_app.bijections import DiagonalAffine
from glow_app.flows import Context, Glow, MultiscaleFlow
from glow_app.flows.context import rows_of
from glow_app.flows.multiscale import level_shapes
from glow_app.likelihood import standard_normal_log_density
from glow_app.nn import GatedResidualConditioner
from glow_app.priors import MAFPrior
from glow_app.running import Memory, choose_runners

CONFIGURATIONS: dict[str, Mapping[str, object]] = {
    "one channel": {"image_shape": (1, 8, 8), "num_levels": 3, "num_steps": [1, 2, 1]},
    "not square, one level": {"image_shape": (2, 4, 2), "num_levels": 1},
    "additive, residual": {
        "image_shape": (1, 4, 8),
        "coupling": "additive",
        "conditioner": GatedResidualConditioner,
    },
    "classes, residual": {"num_classes": 3, "embedding_features": 2, "conditioner": GatedResidualConditioner},
    "classes, additive": {"image_shape": (1, 4, 8), "num_classes": 2, "coupling": "additive"},
    "condition with a mask": {
        "image_shape": (1, 4, 8),
        "num_levels": 1,
        "condition_channels": 2,
        "condition_mask": True,
        "condition_features": 2,
    },
    "grey condition, classes": {
        "num_classes": 2,
        "embedding_features": 2,
        "condition_channels": 1,
        "condition_features": 3,
    },
    "condition, additive, residual": {
        "image_shape": (1, 4, 4),
        "num_levels": 1,
        "condition_channels": 1,
        "condition_features": 2,
        "coupling": "additive",
        "conditioner": GatedResidualConditioner,
    },
}

configurations = pytest.mark.parametrize("arguments", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())


def built(arguments: Mapping[str, object], batch_size: int = 3) -> tuple[Glow, Tensor, Context]:
    options = {
        "image_shape": (2, 4, 4),
        "hidden_channels": 6,
        "perturbation": 0.05,
        "dtype": torch.float64,
        **arguments,
    }
    flow = tiny_glow(**options)  # type: ignore[arg-type]
    x = torch.rand(batch_size, *flow.image_shape, dtype=torch.float64) - 0.5
    with torch.no_grad():
        return flow, x, tiny_context(flow, batch_size)


@configurations
def test_round_trips(arguments: Mapping[str, object]) -> None:
    flow, x, context = built(arguments)
    latents, log_det = flow(x, context)
    assert [tuple(latent.shape[1:]) for latent in latents] == flow.latent_shapes
    assert sum(latent[0].numel() for latent in latents) == x[0].numel()
    back, inverse_log_det = flow.inverse(latents, context)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=0, atol=1e-8)
    torch.testing.assert_close(flow.decode(flow.encode(x, context), context), x, rtol=0, atol=1e-9)

    noise = [torch.randn_like(latent) for latent in latents]
    image, log_det = flow.inverse(noise, context)
    again, forward_log_det = flow(image, context)
    for found, expected in zip(again, noise, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(forward_log_det, -log_det, rtol=0, atol=1e-8)


@configurations
def test_the_log_det_equals_the_jacobians(arguments: Mapping[str, object]) -> None:
    flow, x, context = built(arguments, batch_size=1)

    def flat(values: Tensor) -> Tensor:
        latents = flow(values.reshape(x.shape), context)[0]
        return torch.cat([latent.flatten() for latent in latents])

    jacobian = torch.autograd.functional.jacobian(flat, x.flatten())
    assert jacobian.shape == (x.numel(), x.numel())
    log_det = flow(x, context)[1]
    assert log_det.shape == (1,)
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian).logabsdet, rtol=0, atol=1e-7)
    density = standard_normal_log_density(flow.encode(x, context)) + log_det
    torch.testing.assert_close(flow.log_prob(x, context), density)
    torch.testing.assert_close(flow.level_log_probs(x, context).sum(1), density)


@configurations
def test_every_parameter_learns(arguments: Mapping[str, object]) -> None:
    flow, x, _ = built(arguments, 16)  # of fewer images none may reach a unit
    flow.log_prob(x, tiny_context(flow, len(x))).sum().backward()
    if flow.encoder is not None:  # which learns from its estimate alone
        condition = torch.rand(16, flow.condition_channels, *flow.image_shape[1:], dtype=x.dtype) - 0.5
        (x - flow.encoder.estimate(condition)).square().sum().backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@configurations
def test_images_of_a_batch_do_not_see_each_other(arguments: Mapping[str, object]) -> None:
    flow, x, context = built(arguments)
    together = flow.log_prob(x, context)
    for index in range(len(x)):
        alone = flow.log_prob(x[index : index + 1], rows_of(context, slice(index, index + 1)))
        torch.testing.assert_close(alone[0], together[index])


def test_the_first_batch_leaves_nearly_white() -> None:
    torch.manual_seed(0)
    flow = Glow((3, 8, 8), 2, 2, 8)
    x = 0.2 * torch.rand(64, 3, 8, 8) + torch.tensor([0.0, 0.1, 0.3])[:, None, None]
    flow.initialize(x)
    for latent in flow.encode(x):
        assert latent.mean().abs() < 0.2
        assert 0.6 < latent.std() < 1.5


def test_class_labels_change_the_density_and_the_samples() -> None:
    flow, x, _ = built({"num_classes": 3}, batch_size=1)
    densities = {flow.log_prob(x, flow.embed(torch.tensor([label]))).item() for label in range(3)}
    assert len(densities) == 3
    noise = [torch.randn(1, *shape, dtype=torch.float64) for shape in flow.latent_shapes]
    images = [flow.decode(noise, flow.embed(torch.tensor([label]))) for label in range(3)]
    assert not torch.allclose(images[0], images[1])
    assert not torch.allclose(images[1], images[2])


def test_labels_missing_or_out_of_range_are_refused() -> None:
    flow = tiny_glow((2, 4, 4), num_classes=3)
    with pytest.raises(ValueError, match="class-conditional: give labels from 0 to 2"):
        flow.embed(None)
    for labels in ([0, 3], [-1, 0]):
        with pytest.raises(ValueError, match=re.escape(f"labels are from {labels[0]} to {labels[1]}; expected 0 to 2")):
            flow.embed(torch.tensor(labels))
    context = flow.embed(torch.tensor([0, 2]))
    assert context is not None
    assert context.shape == (2, 32)


@pytest.mark.parametrize("memory", ["store", "checkpoint", "reversible"])
@configurations
def test_gradients_are_those_of_the_plain_chain(arguments: Mapping[str, object], memory: Memory) -> None:
    flow, x, _ = built(arguments)
    gradients = []
    for mode in (None, memory):
        if mode is not None:
            choose_runners(flow, mode)
        flow.zero_grad()
        flow.log_prob(x, tiny_context(flow, len(x))).sum().backward()
        gradients.append([parameter.grad for parameter in flow.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-6, atol=1e-8)


def test_a_condition_changes_the_density_and_the_samples() -> None:
    flow = tiny_glow((3, 8, 8), perturbation=0.1, condition_channels=3)
    x, noise = torch.rand(2, 3, 8, 8) - 0.5, [torch.randn(2, *shape) for shape in flow.latent_shapes]
    conditions = torch.rand(2, 2, 3, 8, 8) - 0.5
    densities, images = zip(
        *[
            (flow.log_prob(x, context), flow.decode(noise, context))
            for context in (flow.context(None, condition) for condition in conditions)
        ],
        strict=True,
    )
    assert (densities[0] - densities[1]).abs().min() > 0.1
    assert (images[0] - images[1]).abs().amax((1, 2, 3)).min() > 0.1


@pytest.mark.parametrize(
    ("arguments", "condition", "message"),
    [
        ({}, torch.zeros(2, 3, 8, 8), "takes no condition"),
        ({"condition_channels": 3}, None, "needs a condition of shape (B, 3, H, W), got none"),
        ({"condition_channels": 3}, torch.zeros(2, 1, 8, 8), "got shape (2, 1, 8, 8)"),
        ({"condition_channels": 3}, torch.zeros(2, 3, 16, 8), "expects a context of shape"),
    ],
)
def test_a_wrong_condition_is_refused(arguments: dict[str, object], condition: Tensor | None, message: str) -> None:
    flow = tiny_glow((3, 8, 8), **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=re.escape(message)):
        flow.log_prob(torch.zeros(2, 3, 8, 8), flow.context(None, condition))


@pytest.mark.parametrize("channels", [0, 3])
def test_images_of_other_sizes_are_coded_exactly(channels: int) -> None:
    flow = tiny_glow((3, 8, 8), dtype=torch.float64, perturbation=0.05, condition_channels=channels)
    x = torch.rand(2, 3, 12, 20, dtype=torch.float64) - 0.5
    context = flow.context(None, x[:, :channels].flip(0)) if channels else None
    latents, log_det = flow(x, context)
    assert [tuple(latent.shape[1:]) for latent in latents] == flow.latent_shapes_at(12, 20)
    back, inverse_log_det = flow.inverse(latents, context)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=0, atol=1e-8)


def test_other_sizes_need_a_prior_without_a_size_and_sides_that_can_be_halved() -> None:
    with pytest.raises(ValueError, match="with a Gaussian prior"):
        tiny_glow((3, 8, 8), prior=MAFPrior).latent_shapes_at(16, 8)
    with pytest.raises(ValueError, match="height is 10 and width is 8; expected multiples of 4"):
        tiny_glow((3, 8, 8)).latent_shapes_at(10, 8)


def test_guidance_extrapolates_from_the_mean_of_all_classes() -> None:
    flow = tiny_glow((2, 4, 4), num_classes=3, embedding_features=4)
    assert flow.embedding is not None
    labels = torch.tensor([2, 0, 2, 1])
    plain, mean = flow.embedding.weight[labels], flow.embedding.weight.mean(0)
    for guidance in (1, 1.0, [1.0] * 4):
        assert torch.equal(flow.embed(labels, guidance), plain)  # type: ignore[arg-type]
    torch.testing.assert_close(flow.embed(labels, 1.5), plain + 0.5 * (plain - mean))
    torch.testing.assert_close(flow.embed(labels, 0.0), mean.expand(4, -1))
    mixed = flow.embed(labels, [1.0, 1.25, 0.3, 2.0])
    assert mixed is not None
    for number, guidance in enumerate([1.0, 1.25, 0.3, 2.0]):
        assert torch.equal(mixed[number : number + 1], flow.embed(labels[number : number + 1], guidance))  # type: ignore[arg-type]


def test_guidance_out_of_range_or_without_classes_is_refused() -> None:
    flow, unconditional = tiny_glow((2, 4, 4), num_classes=3), tiny_glow((2, 4, 4))
    for guidance in (-0.1, float("nan"), float("inf"), [1.0, -2.0]):
        with pytest.raises(ValueError, match="expected a finite number from 0"):
            flow.embed(torch.tensor([0, 1]), guidance)
    with pytest.raises(ValueError, match="has no classes; leave guidance out"):
        unconditional.embed(None, 1.25)
    assert unconditional.embed(torch.tensor([0, 7])) is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_levels": 4},
        {"image_shape": (3, 9, 8)},
        {"num_steps": 0},
        {"num_steps": [1, 2, 3]},
        {"num_steps": [1, 0]},
        {"hidden_channels": 0},
        {"num_classes": 0},
        {"num_classes": 2, "embedding_features": 0},
        {"coupling": "spline"},
    ],
    ids=str,
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{list(arguments)[-1]} is .*[;:]"):
        Glow(**{"image_shape": (3, 8, 8), "num_levels": 2, "num_steps": 1, "hidden_channels": 4, **arguments})  # type: ignore[arg-type]


def test_images_and_latents_of_other_shapes_are_refused() -> None:
    flow = tiny_glow((3, 8, 8), prior=MAFPrior)
    for shape in ((2, 3, 8, 4), (2, 1, 8, 8), (3, 8, 8)):
        with pytest.raises(ValueError, match=r"expected images of shape|height is"):
            flow(torch.zeros(shape))
    good = [torch.zeros(2, *shape) for shape in flow.latent_shapes]
    for bad in (good[:1], good[::-1], [], [good[0], good[1][:, :, :1]]):
        with pytest.raises(ValueError, match="expected latents of shapes"):
            flow.inverse(bad)
    with pytest.raises(ValueError, match="expected latents of shapes"):
        flow.inverse([good[0], good[1][:1]])


def test_uninitialised_use_is_an_error() -> None:
    flow = Glow((3, 8, 8), 2, 1, 4)
    with pytest.raises(RuntimeError, match="not initialised"):
        flow.log_prob(torch.zeros(1, 3, 8, 8))
    with pytest.raises(RuntimeError, match="not initialised"):
        flow.decode([torch.zeros(1, *shape) for shape in flow.latent_shapes])


def test_the_configuration_is_plain_and_complete() -> None:
    flow = tiny_glow((1, 8, 8), 3, [1, 3, 2], 4, num_classes=2, coupling="additive")
    assert flow.config == {
        "image_shape": [1, 8, 8],
        "num_levels": 3,
        "num_steps": [1, 3, 2],
        "hidden_channels": 4,
        "coupling": "additive",
        "num_classes": 2,
        "embedding_features": 32,
        "conditioner": {"class_path": "glow_app.nn.ConvConditioner", "init_args": {}},
        "prior": {"class_path": "glow_app.priors.GaussianPrior", "init_args": {}},
    }


def test_a_flow_without_steps_is_a_standard_normal() -> None:
    flow = MultiscaleFlow((2, 4, 6), [[]], [], DiagonalAffine(8))
    x = torch.randn(3, 2, 4, 6)
    expected = -0.5 * (x.square().sum((1, 2, 3)) + 48 * math.log(2 * math.pi))
    torch.testing.assert_close(flow.log_prob(x), expected)
    assert level_shapes((2, 4, 6), 1) == flow.latent_shapes
