"""Every task: what models and users rely on."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from registry import random_images
from torch import Tensor

from glow_app import spec
from glow_app.restoration import Clean, Colourise, Fill, RestorationTask, Upscale
from glow_app.restoration.damage import compressed, noisy
from glow_app.restoration.fill import random_mask, smooth_fill
from glow_app.seeding import Share, image_generators, step_generator

TASKS: dict[str, Callable[[], RestorationTask]] = {
    "upscale 2": lambda: Upscale(2),
    "upscale 4": lambda: Upscale(4),
    "upscale, mixed": lambda: Upscale(2, mixed=True),
    "clean": Clean,
    "colourise": Colourise,
    "fill": Fill,
}
tasks = pytest.mark.parametrize("build", TASKS.values(), ids=TASKS.keys())


def smooth_images(num: int = 4, height: int = 16, width: int = 24, seed: int = 0) -> Tensor:
    """Return pictures with edges and gradients, and black and white next to each other, uint8 (num, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(num, 3, height // 4, width // 4, generator=generator)
    large = torch.nn.functional.interpolate(rough, size=(height, width), mode="bicubic")
    return (400 * large - 70).clamp(0, 255).to(torch.uint8)


@tasks
def test_shapes_and_types(build: Callable[[], RestorationTask]) -> None:
    task, images = build(), smooth_images()
    damaged = task.damage(images)
    condition = task.condition(damaged)
    assert damaged.dtype == condition.dtype == torch.uint8
    assert condition.shape == (4, task.condition_channels(3), 16, 24)
    assert tuple(damaged.shape[2:]) == (16 // task.factor, 24 // task.factor)
    restored = task.reconcile(random_images(4, (3, 16, 24)), damaged)
    assert restored.dtype == torch.uint8
    assert restored.shape == images.shape
    assert spec.spec_of(spec.build(spec.spec_of(task), RestorationTask)) == spec.spec_of(task)


@tasks
def test_damage_depends_on_the_seed_alone(build: Callable[[], RestorationTask]) -> None:
    task, images = build(), smooth_images(6)
    whole, again, other = (task.damage(images, step_generator(seed, 3, "cpu", "train")) for seed in (0, 0, 1))
    assert torch.equal(whole, again)
    assert torch.equal(whole, other) == (isinstance(task, (Upscale, Colourise)) and not getattr(task, "mixed", False))
    assert torch.equal(images, smooth_images(6)), "the images are not changed"
    for rank in range(2):
        share = task.damage(images[rank::2], step_generator(0, 3, "cpu", "train", Share(rank, 2)))
        assert torch.equal(share, whole[rank::2])
    together = task.damage(images[:3], image_generators([5, 6, 7]))
    assert torch.equal(task.damage(images[2:3], image_generators([7])), together[2:3])


@tasks
def test_restored_pictures_agree_with_what_is_known(build: Callable[[], RestorationTask]) -> None:
    task, images, other = build(), smooth_images(), random_images(4, (3, 16, 24))
    damaged = task.damage(images, step_generator(0, 0, "cpu", "train"))
    original, known = task.reconcile(images, damaged), task.reconcile(other, damaged)
    assert torch.equal(original, images)
    assert torch.equal(task.reconcile(other[:1], damaged[:1]), known[:1]), "independent of the batch"
    agrees = task.agrees(torch.cat([known[:2], other[2:]]), damaged)
    assert (agrees is None) == isinstance(task, (Clean, Upscale))
    assert agrees is None or agrees.tolist() == [True, True, False, False]


@tasks
def test_damage_of_a_grey_picture_is_grey(build: Callable[[], RestorationTask]) -> None:
    grey = smooth_images(16)[:, :1].expand(-1, 3, -1, -1)
    damaged = build().damage(grey, torch.Generator().manual_seed(0))
    assert torch.equal(damaged[:, :3], damaged[:, :1].expand_as(damaged[:, :3]))


def test_colours_keep_every_grey_value() -> None:
    grey, start = random_images(3, (1, 32, 32), 1), random_images(3, (3, 32, 32), 2)
    coloured = Colourise().reconcile(start, grey)
    for picture, expected in zip(coloured, grey, strict=True):
        as_pillow = Image.fromarray(picture.permute(1, 2, 0).numpy()).convert("L")
        assert np.array_equal(np.asarray(as_pillow), expected[0].numpy())
    assert (coloured.amax(1) != coloured.amin(1)).float().mean() > 0.5, "they are coloured"


def test_masks_are_of_all_kinds_and_leave_something() -> None:
    shares = np.array([(random_mask(32, 48, seed) == 255).mean() for seed in range(200)])
    assert 0 < shares.max() < 1
    assert 0.05 < np.median(shares) < 0.5
    assert (shares > 0).mean() > 0.95
    assert all(set(np.unique(random_mask(5, 3, seed))) <= {0, 255} for seed in range(30))
    assert all(random_mask(32, 32, seed).any() for seed in range(500))


@pytest.mark.parametrize("shape", [(1, 1), (5, 2), (33, 31)])
def test_a_smooth_fill_continues_a_constant_and_is_grey_where_nothing_is_known(shape: tuple[int, int]) -> None:
    pictures = torch.full((2, 3, *shape), 77, dtype=torch.uint8)
    missing = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0)) < 0.6
    missing[1] = True
    missing[0, 0, 0, 0] = False
    filled = smooth_fill(pictures, missing)
    assert (filled[0].int() - 77).abs().max() <= 1
    assert (filled[1].int() - 128).abs().max() <= 1


@pytest.mark.parametrize(("height", "width"), [(16, 1024), (512, 3)])
def test_a_smooth_fill_of_a_long_picture_is_of_what_is_near(height: int, width: int) -> None:
    along = torch.linspace(0, 255, max(height, width))
    ramp = (along if width > height else along[:, None]).expand(1, 1, height, width).to(torch.uint8)
    missing = ((ramp > 180) & (ramp < 220)).expand_as(ramp)
    assert (smooth_fill(ramp, missing).int() - ramp.int()).abs().max() < 40


@pytest.mark.parametrize("sigma", [8.0, 25.0])
def test_noise_has_its_level(sigma: float) -> None:
    pixels = np.broadcast_to(np.array([90, 100, 110], np.uint8), (64, 64, 3)).copy()
    noise = torch.from_numpy(noisy(pixels, sigma, np.random.default_rng(1))).float() - torch.from_numpy(pixels)
    assert noise.std() == pytest.approx(sigma, rel=0.05)
    assert noise.mean().abs() < 1
    assert noise.flatten(0, 1).T.corrcoef().triu(1).abs().max() < 0.05, "independent in the channels"


def test_less_quality_is_more_damage() -> None:
    picture = smooth_images()[0].permute(1, 2, 0).numpy()
    errors = [np.abs(compressed(picture, q).astype(float) - picture).mean() for q in (5, 30, 90)]
    assert errors[0] > errors[1] > errors[2] > 0


def test_blocks_begin_anywhere_in_a_part_of_a_compressed_picture() -> None:
    def edges(picture: np.ndarray) -> int:
        steps = np.abs(np.diff(picture[..., 0].astype(float), axis=1)).sum(0)
        return int(np.argmax([steps[place::8].sum() for place in range(8)]))

    (image,), rng = smooth_images(1, 64, 64).permute(0, 2, 3, 1).numpy() // 2 + 64, np.random.default_rng(0)
    assert edges(compressed(image, 3)) == 7
    assert len({edges(compressed(image, 3, rng, is_cropped=True)) for _ in range(20)}) > 3


def test_photon_noise_grows_with_the_light_and_channels_may_share_it() -> None:
    image = np.full((64, 64, 3), 80, np.uint8)
    image[:, 32:] = 180
    image[..., 2] -= 30
    noise = noisy(image, 10, np.random.default_rng(0), photons=1.0, alike=True).astype(float) - image
    assert np.ptp(noise, axis=2).max() == 0
    assert noise[:, 32:].std() / noise[:, :32].std() == pytest.approx(math.sqrt(170 / 70), rel=0.1)
