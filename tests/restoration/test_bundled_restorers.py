"""The bundled models that restore pictures: small, and nearer to the truth than what they see."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from glow_app import load_model
from glow_app.data.faces.drawing import render_face
from glow_app.data.faces.face import draw_face
from glow_app.restoration import Restoration, Upscale, psnr, require_task, restore
from glow_app.restoration.colourise import luma
from glow_app.restoration.damage import compressed, noisy
from glow_app.storage.model_folders import bundled_restorers
from glow_app.storage.stored_model import StoredModel

pytestmark = pytest.mark.slow


@pytest.fixture
def faces() -> Tensor:
    """Faces that no model was trained on."""
    return torch.from_numpy(np.stack([render_face(draw_face(123, number), 64) for number in range(4)]))


def restored(name: str, faces: Tensor, temperature: float, count: int = 1) -> list[Restoration]:
    model = load_model(name).freeze()
    damage = require_task(model).damage
    return [restore(model, damaged, count, temperature, seeds=0) for damaged in damage(faces)]


def test_enlarged_faces_are_nearer_to_the_truth_than_bicubic_ones() -> None:
    faces = torch.from_numpy(np.stack([render_face(draw_face(123, number), 256) for number in range(4)]))
    restorations = restored("faces", faces, 0.0)
    near = psnr(torch.stack([restoration.draws[0] for restoration in restorations]), faces)
    before = psnr(torch.stack([restoration.base for restoration in restorations]), faces)
    assert (near - before).mean() >= 5


@pytest.mark.parametrize("side", [1, 3, 12])
def test_pictures_of_a_few_pixels_stay(side: int) -> None:
    model = load_model("photos-clean").freeze()
    for colour in ((10, 200, 30), (255, 0, 0)):
        picture = torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, side, side).contiguous()
        assert torch.equal(restore(model, picture, 1, 0.0).draws[0], picture)


def test_models_for_photographs_name_their_source_by_which_the_page_orders_them() -> None:
    assert {StoredModel(name).facts["data"]["source"] for name in bundled_restorers("photos")} == {"photos"}


def test_filled_faces_are_nearer_to_the_truth_than_smoothly_filled_ones(faces: Tensor) -> None:
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[:, 22:40, 34:52] = 255  # an eye
    model = load_model("faces-fill").freeze()
    restorations = [restore(model, face, 1, 0.0, seeds=0, mask=mask) for face in faces]
    filled = torch.stack([restoration.draws[0] for restoration in restorations])
    assert torch.equal(filled[:, :, mask[0] == 0], faces[:, :, mask[0] == 0])
    smooth, missing = torch.stack([one.base for one in restorations]), (mask == 255).expand(len(faces), -1, -1, -1)
    assert (psnr(filled, faces, missing) - psnr(smooth, faces, missing)).mean() >= 2


def test_coloured_faces_are_as_colourful_as_the_true_ones_and_differ(faces: Tensor) -> None:
    def colourfulness(images: Tensor) -> float:
        return float((images.float() - luma(images).float()).abs().mean())

    for face, restoration in zip(faces, restored("faces-colourise", faces, 0.7, 4), strict=True):
        assert torch.equal(luma(restoration.draws), luma(face[None]).expand(4, -1, -1, -1))
        assert 0.4 <= colourfulness(restoration.draws) / colourfulness(face[None]) <= 2.5
        assert restoration.spread.mean() > 5


def reduced(pixels: np.ndarray) -> np.ndarray:
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    return Upscale(2).damage(image)[0].permute(1, 2, 0).numpy()


DAMAGES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], float]] = {
    "half the size": ("photos-upscale2", reduced, 3.0),
    "noise": ("photos-clean", lambda pixels: noisy(pixels, 25, np.random.default_rng(0)), 7.5),
    "JPEG": ("photos-clean", lambda pixels: compressed(pixels, 20), 1.5),
    "noise, then JPEG": (
        "photos-clean",
        lambda pixels: compressed(noisy(pixels, 15, np.random.default_rng(0)), 60),
        2.5,
    ),
}


@pytest.mark.parametrize(("name", "damage", "gain"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_photograph_is_nearer_to_the_truth(
    name: str, damage: Callable[[np.ndarray], np.ndarray], gain: float
) -> None:
    sample_images = pytest.importorskip("sklearn.datasets", reason="scikit-learn has the photograph")
    flower = sample_images.load_sample_image("flower.jpg")[120:280, 180:380].copy()
    restoration = restore(load_model(name).freeze(), torch.from_numpy(damage(flower)).permute(2, 0, 1), 1, 0.0, seeds=0)
    truth = torch.from_numpy(flower).permute(2, 0, 1)[None]
    assert psnr(restoration.draws, truth) - psnr(restoration.base[None], truth) >= gain
