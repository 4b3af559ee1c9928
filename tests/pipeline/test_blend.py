import pytest
import torch
from registry import random_images, tiny_model

from glow_app.models.image_model import ImageModel
from glow_app.pipeline import blend, interpolate, mix_levels
from glow_app.pipeline.blend import _between, along_arc, along_line


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return tiny_model(num_bits=5)


@pytest.fixture(scope="module")
def conditional() -> ImageModel:
    return tiny_model(num_bits=5, num_classes=4)


@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("num_frames", [2, 5])
def test_every_image_is_a_frame_in_every_pixel(model: ImageModel, num_frames: int, spherical: bool) -> None:
    images = random_images(3)
    frames = interpolate(model, images, num_frames, spherical=spherical)
    assert (frames.dtype, frames.shape) == (torch.uint8, (2 * num_frames - 1, 3, 8, 8))
    assert torch.equal(frames[:: num_frames - 1], images)


def test_the_line_is_straight_in_the_latents() -> None:
    model, images = tiny_model(), random_images(2)
    latents = model.encode(images)
    quarter = model.decode([0.75 * level[:1] + 0.25 * level[1:] for level in latents])
    assert torch.equal(interpolate(model, images, 5, spherical=False)[1:2], quarter)


def test_the_arc_keeps_the_norm_and_turns_evenly() -> None:
    ends = torch.randn(2, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends[1] *= ends[0].norm() / ends[1].norm()
    points = along_arc(ends, torch.linspace(0, 1, 7, dtype=torch.float64))
    torch.testing.assert_close(points.flatten(1).norm(dim=1), ends[0].norm().expand(7))
    steps = (points[1:] - points[:-1]).flatten(1).norm(dim=1)
    torch.testing.assert_close(steps, steps[:1].expand(6))
    assert torch.equal(points[0], ends[0])
    torch.testing.assert_close(points[-1], ends[1], rtol=0, atol=0)
    assert steps[0] > 0
    # Where there is no arc, the line.
    opposite = torch.stack([ends[0], -ends[0]])
    assert torch.isfinite(along_arc(opposite, torch.tensor([0.5]))).all()
    same = along_arc(torch.stack([ends[0], ends[0]]), torch.tensor([0.3], dtype=torch.float64))
    torch.testing.assert_close(same[0], ends[0])


@pytest.mark.parametrize("spherical", [False, True])
def test_four_images_are_corners_of_a_square(conditional: ImageModel, spherical: bool) -> None:
    images, labels = random_images(4), torch.tensor([1, 3, 0, 2])
    numbers = [(0, 0), (1, 0), (0, 1), (1, 1), (0.3, 0), (0, 0.6), (0.3, 1), (1, 0.6)]
    weights = torch.tensor(numbers, dtype=torch.float32)[:, None].expand(-1, 2, -1)
    frames = blend(conditional, images, weights, labels, spherical=spherical, batch_size=3)
    assert torch.equal(frames[:4], images)
    for frame, pair, t in zip(frames[4:], [[0, 1], [0, 2], [2, 3], [1, 3]], [0.3, 0.6, 0.3, 0.6], strict=True):
        edge = blend(conditional, images[pair], torch.full((1, 2), t), labels[pair], spherical=spherical)
        assert (frame.short() - edge[0].short()).abs().max() <= 1  # the last bit of a batch


def test_inside_the_square_lines_are_bilinear_and_arcs_keep_the_norm() -> None:
    corners = torch.randn(4, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    corners *= 6 / corners.flatten(1).norm(dim=1)[:, None, None, None]
    places = torch.tensor([[0.2, 0.7], [0.5, 0.5]], dtype=torch.float64)
    u, v = places.T
    bilinear = torch.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v], dim=1)
    expected = torch.einsum("fk,kchw->fchw", bilinear, corners)
    torch.testing.assert_close(_between(along_line, corners, places), expected)
    norms = _between(along_arc, corners, places).flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.full((2,), 6.0, dtype=torch.float64))


def test_levels_are_exchanged_one_by_one(model: ImageModel) -> None:
    images = random_images(2)
    frames = mix_levels(model, images)
    assert len(frames) == 3
    assert torch.equal(frames[0], images[0])
    assert torch.equal(frames[-1], images[1])
    seen = model.quantised(images)
    first, second = (model.encode(image[None]) for image in seen)
    assert torch.equal(mix_levels(model, seen)[1:2], model.decode([second[0], first[1]]))
