"""Restoring pictures of any size, in tiles."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from registry import random_images, tiny_restorer

from glow_app.likelihood import to_uint8
from glow_app.pictures.images import to_pil
from glow_app.pictures.inputs import Picture
from glow_app.restoration import (
    Clean,
    Colourise,
    Fill,
    RestorationTask,
    Upscale,
    picture_conditioning_of,
    require_task,
    restore,
    restore_successively,
)
from glow_app.restoration.colourise import luma
from glow_app.restoration.decision import _SAMPLE


def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TILE": 128, "OVERLAP": 64, "MARGIN": 16}.items():
        monkeypatch.setattr(f"glow_app.restoration.tiles.{name}", value)


def test_files_pillow_images_and_arrays_are_restored_as_tensors_are(tmp_path: Path) -> None:
    pixels, hole = random_images(1, (3, 6, 10))[0], torch.zeros(1, 6, 10, dtype=torch.uint8)
    hole[:, 2:4, 3:7] = 255
    files = [tmp_path / "photo.png", tmp_path / "mask.png"]
    to_pil(pixels).save(files[0])
    to_pil(hole).save(files[1])
    model = tiny_restorer(Fill())
    expected = restore(model, Fill().prepare(pixels, mask=hole), 2, seeds=0).draws
    assert len(str(restore(model, files[0], mask=files[1]))) < 200
    arrays = [pixels.permute(1, 2, 0).numpy(), hole[0].numpy()]
    forms: list[Sequence[Picture]] = [files, [to_pil(pixels), to_pil(hole)], arrays, [pixels, hole]]
    for form in forms:
        assert torch.equal(restore(model, form[0], 2, seeds=0, mask=form[1]).draws, expected)
    with pytest.raises(ValueError, match=r"^Clean takes no input 'mask'"):
        restore(tiny_restorer(Clean()), files[0], mask=files[1])


@pytest.mark.parametrize("task", [Upscale(), Clean(), Fill()])
@pytest.mark.parametrize("is_grey", [False, True])
def test_draws_of_a_grey_picture_are_grey(
    task: RestorationTask, is_grey: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_tiles(monkeypatch)
    images = random_images(1, (3, 136, 8)) // 4 + 96
    images = luma(images).expand(-1, 3, -1, -1) if is_grey else images
    damaged = task.damage(images, torch.Generator().manual_seed(0))
    draws = restore(tiny_restorer(task), damaged[0], 2, 1.0, seeds=0).draws
    assert bool((draws == draws[:, :1]).all()) == is_grey
    agrees = task.agrees(draws, damaged.expand(2, -1, -1, -1))
    assert agrees is None or agrees.all()


def test_a_colour_picture_is_made_grey_to_be_coloured(tmp_path: Path) -> None:
    model, colours = tiny_restorer(Colourise()), to_pil(random_images(1, (3, 6, 10))[0])
    with pytest.warns(UserWarning, match="made grey") as warned:
        draws = restore(model, colours, 1, seeds=0).draws
    assert warned[0].filename == __file__
    colours.save(tmp_path / "photo.png")
    with pytest.warns(UserWarning, match="photo.png: colours made grey"):
        assert torch.equal(restore(model, tmp_path / "photo.png", 1, seeds=0).draws, draws)


@pytest.mark.parametrize("sides", [(1, 1), (13, 30)])
def test_a_picture_of_any_size_is_enlarged(sides: tuple[int, int]) -> None:
    damaged = random_images(1, (3, *sides))[0] // 2 + 64
    result = restore(tiny_restorer(Upscale()), damaged, 3, 0.7, seeds=5)
    expected = (3, 2 * sides[0], 2 * sides[1])
    assert result.draws.shape == (3, *expected)
    assert result.base.shape == result.mean.shape == expected
    assert result.spread.shape == result.shown_spread.shape == (1, *expected[1:])
    torch.testing.assert_close(result.mean.float(), result.draws.float().mean(0), rtol=0, atol=0.5)
    torch.testing.assert_close(result.spread, result.draws.float().std(0, correction=0).mean(0, keepdim=True))
    assert result.draws.seeds == [5, 6, 7]
    assert result.draws.facts[0] == {"seed": 5, "temperature": 0.7}
    assert torch.equal(restore(tiny_restorer(Upscale()), damaged, 1, 0.7, seeds=6).draws[0], result.draws[1])


def test_the_grey_values_are_returned_exactly() -> None:
    grey = Colourise().damage(random_images(1, (3, 21, 10)))[0]
    assert (luma(restore(tiny_restorer(Colourise()), grey, 3, seeds=0).draws) == grey).all()


def test_seams_of_tiles_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = torch.linspace(60, 200, 248).expand(1, 40, 248).to(torch.uint8)
    model = tiny_restorer(Colourise(), 0.03)
    # They explode, in each tile differently.
    monkeypatch.setattr("glow_app.restoration.tiles._MOST_OVERSHOOT", math.inf)
    whole = restore(model, damaged, 2, 0.7, seeds=3).draws.int()
    small_tiles(monkeypatch)
    tiled = restore(model, damaged, 2, 0.7, seeds=3).draws.int()
    assert (tiled - whole).abs().max() <= 1
    # Steps between columns, at the edges of the tiles and elsewhere.
    steps = tiled.diff(dim=3).abs().float().mean((0, 1, 2))
    edges = torch.tensor([63, 127, 191])
    others = torch.ones(len(steps), dtype=torch.bool).index_fill(0, edges, False)
    assert steps[edges].max() <= 1.2 * steps[others].max()


@pytest.mark.parametrize("task", [Upscale(), Fill(), Clean()])
def test_at_temperature_0_the_result_is_the_estimate(task: RestorationTask, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_restorer(task)
    damaged = task.damage(random_images(1, (3, 136, 200)) // 2 + 64, torch.Generator().manual_seed(0))
    estimate = picture_conditioning_of(model).estimate(task.condition(damaged))
    pixels = to_uint8(estimate, 8)
    monkeypatch.setattr(model, "decode_values", None)  # the flow is not asked
    for _ in range(2):
        draws = restore(model, damaged[0], 2, 0.0, seeds=3).draws
        assert (draws[0].int() - pixels[0].int()).abs().max() <= 1
        assert torch.equal(draws[0], draws[1])
        assert draws.seeds == [3, 4]
        small_tiles(monkeypatch)


def test_large_pictures_are_drawn_one_by_one_and_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, damaged = tiny_restorer(Upscale()), random_images(1, (3, 9, 12))[0]
    together = restore(model, damaged, 3, 1.0, seeds=2)
    monkeypatch.setattr("glow_app.restoration.restoring._PIXELS_AT_A_TIME", 1)
    decode_values, at_a_time = model.decode_values, []

    def noted(latents: list[torch.Tensor], *rest: Any) -> torch.Tensor:
        at_a_time.append(len(latents[0]))
        return decode_values(latents, *rest)

    monkeypatch.setattr(model, "decode_values", noted)
    alone = restore(model, damaged, 3, 1.0, seeds=2)
    assert at_a_time == [1, 1, 1]
    assert torch.equal(alone.draws, together.draws)
    assert torch.equal(alone.mean, together.mean)
    torch.testing.assert_close(alone.spread, together.spread)


def test_where_a_draw_explodes_it_is_drawn_again_with_less_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    model, damaged = tiny_restorer(Colourise()), random_images(1, (1, 32, 64))[0] // 4 + 96
    usual = restore(model, damaged, 3, 0.7, seeds=0)
    decode_values = model.decode_values
    noises: list[torch.Tensor] = []

    def explodes_for_large_noise(levels: list[torch.Tensor], *arguments: object) -> torch.Tensor:
        values = decode_values(levels, *arguments)  # type: ignore[arg-type]
        noises.append(levels[0].clone())
        values[-1, :, 8, 8] += 100 * (levels[0][-1, 0, 4, 4].abs() > 0.1)  # of the last draw, at one pixel
        return values

    monkeypatch.setattr(model, "decode_values", explodes_for_large_noise)
    again = restore(model, damaged, 3, 0.7, seeds=0)
    assert (again.overshoot > 25_000).tolist() == [False, False, True]
    assert [len(noise) for noise in noises] == [3] + [1] * (len(noises) - 1)
    assert noises[0][2, 0, 4, 4].abs() > 0.1 >= noises[-1][0, 0, 4, 4].abs() > 0
    assert torch.equal(again.draws[:2], usual.draws[:2])
    assert torch.equal(noises[-1][0, :, :, 16:], noises[0][2, :, :, 16:]), "elsewhere it is the same noise"
    assert (again.draws[2].int() - usual.draws[2].int())[..., 56:].abs().max() <= 1


@pytest.mark.parametrize("sides", [(20, 30), (30, 600)])
def test_a_picture_that_needs_no_change_is_returned_as_it_is(sides: tuple[int, int]) -> None:
    model, picture = tiny_restorer(Clean()), random_images(1, (3, *sides))[0] // 2 + 64
    correction = picture_conditioning_of(model).encoder.correction
    with torch.no_grad():
        for parameter in correction.parameters():
            parameter.zero_()
        result = restore(model, picture, 2, temperature=0.0, seeds=0)
        draws = restore(model, picture, 2, seeds=0)
        correction.bias.fill_(1.0)  # 16 grey levels
    assert torch.equal(result.draws[:], picture.expand(2, -1, -1, -1))
    assert result.is_clean
    assert draws.note == "cleaned throughout"
    assert not torch.equal(draws.draws[0], draws.draws[1])
    assert restore(model, picture, 1, temperature=0.0, seeds=0).note == "cleaned throughout"


def test_each_place_is_corrected_if_it_changes_more_than_clean_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    model, picture = tiny_restorer(Clean()), random_images(1, (3, 160, 320))[0] // 2 + 64
    changes = torch.zeros(160, 320)

    def estimate(damaged: torch.Tensor) -> torch.Tensor:
        passes.append(damaged.shape)
        return (damaged.float() + changes) / 256 - 0.498

    monkeypatch.setattr(picture_conditioning_of(model), "estimate", estimate)
    results, least = [], Clean.least_change
    for width, change in ((16, 1.4 * least), (64, 4 * least), (240, 1.1 * least)):
        changes[:] = 0
        changes[96:, -width:] = change
        changes[:96, -width:] = change if width == 240 else 0.4 * least
        passes: list[Sequence[int]] = []
        results.append(restore(model, picture, 2, seeds=0, temperature=0.0))
    texture, corner, noise = results
    assert torch.equal(texture.draws[1], picture)
    assert texture.note is not None
    difference = corner.draws[1].int() - picture.int()
    assert torch.equal(corner.draws[0], corner.draws[1])
    assert not difference[:, :, :192].any()
    assert not difference[:, :32].any()
    assert (difference[:, -32:, -32:] == round(4 * least)).all()
    assert "at the bottom right" in (corner.note or "")
    assert noise.note == "cleaned throughout"
    forced = restore(model, picture // 2, 1, seeds=0, temperature=0.0, force=True)
    assert torch.equal(forced.draws[0], (picture // 2 + changes.round()).to(torch.uint8))
    monkeypatch.setattr("glow_app.restoration.decision._LARGE", 0)
    large = picture[:, :_SAMPLE, : 2 * _SAMPLE]
    for width, is_sampled in ((0, True), (320, False)):
        changes = torch.zeros(_SAMPLE, _SAMPLE)
        changes[:, :width] = 1.1 * least
        monkeypatch.setattr("glow_app.restoration.tiles.TILE", _SAMPLE)
        monkeypatch.setattr("glow_app.restoration.tiles.OVERLAP", 0)
        monkeypatch.setattr("glow_app.restoration.tiles.MARGIN", 0)
        passes = []
        result = restore(model, large, 1, seeds=0, temperature=0.0)
        assert len(passes) == (1 if is_sampled else 3)
        assert torch.equal(result.draws[0], large) == is_sampled


def test_a_change_beyond_those_of_training_is_said() -> None:
    model, picture = tiny_restorer(Clean(10)), random_images(1)[0] // 2 + 64
    with torch.no_grad():
        picture_conditioning_of(model).encoder.correction.bias.fill_(2.0)  # 32 grey levels
    note = restore(model, picture, 1, seeds=0).note
    assert note is not None
    assert "10" in note


def test_enlarging_is_said_once_though_its_changes_are_noted() -> None:
    picture, tasks = random_images(1)[0], (Clean(), Upscale(2, True), Upscale(2, True))
    models = [tiny_restorer(task) for task in tasks]
    with torch.no_grad():
        for model in models:
            picture_conditioning_of(model).encoder.correction.bias.fill_(1.0)  # 16 grey levels
    note = restore_successively([(model, require_task(model)) for model in models], picture).note or ""
    assert note.startswith("cleaned throughout, then enlarged 4 times; ")
    assert note.count("the model was trained for up to 8") == 2
    assert note.count("enlarged") == 1
