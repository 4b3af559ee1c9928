"""The first batch leaves the first step of a level white, whatever it is made of."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from glow_app.bijections import InvertibleConv1x1, Whitening
from glow_app.conditioning import ClassConditioning
from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel


def weight_of(whitening: Whitening) -> Tensor:
    mixing = whitening.bijections[1]
    assert isinstance(mixing, InvertibleConv1x1)
    return mixing.affine()[0].detach().clone()


def correlated(num: int = 64, channels: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    noise = torch.randn(num, channels, 4, 3, generator=generator, dtype=torch.float64)
    return torch.einsum("ij,bjhw->bihw", mixing, noise) + torch.arange(channels)[:, None, None]


def smooth_images(num: int, image_shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Return images whose neighbouring pixels are alike."""
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = image_shape
    small = torch.rand(num, channels, height // 4, width // 4, generator=generator)
    return (255 * torch.nn.functional.interpolate(small, (height, width), mode="bilinear")).to(torch.uint8)


def test_the_batch_leaves_white_with_the_largest_components_first() -> None:
    x = correlated()
    whitening = Whitening(6).double()
    z, log_det = whitening.initialize(x)
    values = z.transpose(0, 1).flatten(1)
    torch.testing.assert_close(values.mean(1), torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(values.cov(correction=0), torch.eye(6, dtype=torch.float64))
    matrix, _, log_abs_det = whitening.affine()
    torch.testing.assert_close(log_abs_det, torch.linalg.slogdet(matrix).logabsdet)
    torch.testing.assert_close(log_det, (12 * log_abs_det).expand(64))
    normalised = x / x.std((0, 2, 3), correction=0)[:, None, None]
    # A row of the matrix divides by the deviation of its component.
    deviations = weight_of(whitening).norm(dim=1).reciprocal()
    assert (deviations.diff() < 0).all()
    largest = torch.linalg.eigvalsh(normalised.transpose(0, 1).flatten(1).cov(correction=0))[-1]
    torch.testing.assert_close(deviations[0], largest.sqrt())


def dependent(x: Tensor) -> Tensor:
    x[:, 5] = x[:, 0] + x[:, 1]
    return x


@pytest.mark.parametrize(
    "x",
    [correlated(1)[..., :2, :1], dependent(correlated()), torch.ones_like(correlated())],
    ids=["few pixels", "dependent", "constant"],
)
def test_the_rotation_stays_where_the_covariance_is_not_known(x: Tensor) -> None:
    torch.manual_seed(0)
    whitening = Whitening(6).double()
    rotation = weight_of(whitening)
    whitening.initialize(x)
    assert torch.equal(weight_of(whitening), rotation)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(6, dtype=torch.float64))


@pytest.mark.parametrize(
    ("image_shape", "num_bits", "options"),
    [
        ((1, 16, 16), 8, {}),
        ((3, 16, 32), 5, {"coupling": "additive"}),
        ((2, 8, 8), 8, {"conditioning": ClassConditioning(3)}),
    ],
)
def test_a_whitened_model_starts_with_fewer_bits_and_inverts(
    image_shape: tuple[int, int, int], num_bits: int, options: dict[str, object]
) -> None:
    images = smooth_images(24, image_shape)
    fresh = smooth_images(24, image_shape, seed=1)
    labels = torch.arange(24) % 3 if "conditioning" in options else None
    bits = {}
    for init in ("whiten", "rotation"):
        torch.manual_seed(0)
        flow = Glow(image_shape, **{"num_levels": 2, "num_steps": 2, "hidden_channels": 8, "init": init, **options})  # type: ignore[arg-type]
        model = ImageModel(flow, num_bits)
        model.initialize(images, labels, torch.Generator().manual_seed(0))
        bits[init] = float(model.bits_per_dim(fresh, labels, generator=torch.Generator().manual_seed(1)).mean())
        latents = model.encode(fresh, labels)
        kept = fresh >> (8 - num_bits)
        assert torch.equal(model.decode(latents, labels) >> (8 - num_bits), kept)
    assert bits["whiten"] < bits["rotation"] - 0.3


@pytest.mark.parametrize(
    "change",
    [lambda x: x.copy_(x[:, :1].clone()), lambda x: x[:, 2].fill_(200), torch.Tensor.zero_],
    ids=["grey as RGB", "a constant channel", "all black"],
)
def test_images_without_colour_begin_and_invert(change: Callable[[Tensor], object]) -> None:
    images = smooth_images(32, (3, 16, 16))
    change(images)
    torch.manual_seed(0)
    model = ImageModel(Glow((3, 16, 16), 2, 2, 8))
    model.initialize(images[:16])
    assert torch.equal(model.decode(model.encode(images[16:])), images[16:])
    assert model.bits_per_dim(images[16:]).mean() < 6.5
    assert all(parameter.isfinite().all() for parameter in model.parameters())
