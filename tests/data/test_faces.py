"""Rendered faces: what decides a picture, and the source that keeps them."""

from dataclasses import fields, replace

import numpy as np
import pytest

from glow_app.data.faces import drawing, rendered
from glow_app.data.faces.drawing import face_svg, render_face
from glow_app.data.faces.face import BINARY_NAMES, REAL_NAMES, Face, draw_face
from glow_app.data.faces.rendered import rendered_faces
from glow_app.data.image_set import ImageSet
from glow_app.data.sources import load_split

SIDE = 32
PLAIN = replace(
    draw_face(0, 0),
    **dict.fromkeys(BINARY_NAMES, False),
    **dict.fromkeys(REAL_NAMES, 0.5),  # type: ignore[arg-type]
)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices of all faces rendered so far, by this process."""
    indices: list[int] = []

    def spy(seed: int, index: int) -> Face:
        indices.append(index)
        return draw_face(seed, index)

    monkeypatch.setattr(rendered, "draw_face", spy)
    return indices


def load(
    split: str = "train", count: int = 20, shape: tuple[int, int, int] = (3, SIDE, SIDE), **more: object
) -> ImageSet:
    return load_split("faces", split, shape, count=count, **more)  # type: ignore[arg-type]


def test_seed_and_index_determine_a_face() -> None:
    assert draw_face(3, 5) == draw_face(3, 5)
    assert len({draw_face(seed, index) for seed in range(5) for index in range(20)}) == 100
    # Fixed for all time: other machines have these as well.
    assert draw_face(0, 0).skin_lightness == pytest.approx(0.5208706641958186, abs=1e-12)


def test_attributes_and_every_other_field_are_independent() -> None:
    # Of 406 pairs the largest correlation by chance is near 3.1 / sqrt(800).
    faces = [draw_face(1, index) for index in range(800)]
    names = [field.name for field in fields(Face)]
    table = np.array([[float(getattr(face, name)) for name in names] for face in faces])
    assert np.abs(np.corrcoef(table.T) - np.eye(len(names))).max() < 0.14
    assert (table.min(0) >= 0).all()
    assert (table.max(0) <= 1).all()
    yes = table[:, : len(BINARY_NAMES)]
    assert set(np.unique(yes)) == {0, 1}
    assert (yes.mean(0) > 0.1).all()


@pytest.mark.parametrize("name", BINARY_NAMES)
def test_a_binary_attribute_changes_the_picture(name: str) -> None:
    changed = np.abs(render_face(replace(PLAIN, **{name: True}), SIDE).astype(int) - render_face(PLAIN, SIDE))
    assert changed.max() > 40
    assert (changed.max(0) > 10).sum() >= 4


@pytest.mark.parametrize("name", REAL_NAMES)
def test_a_real_attribute_changes_colours_continuously(name: str) -> None:
    values = (0.2, 0.23, 0.7)
    pictures = [render_face(replace(PLAIN, **{name: value}), SIDE).astype(int) for value in values]  # type: ignore[arg-type]
    near, far = (np.abs(picture - pictures[0]).max() for picture in pictures[1:])
    assert 0 < near < 20
    assert far > max(8, near)


def test_faces_fill_the_square_without_holes() -> None:
    for index in range(40):
        face = draw_face(0, index)
        assert drawing.COLOUR not in face_svg(face)
        picture = render_face(replace(face, background_angle=0.0), SIDE)
        assert picture.shape == (3, SIDE, SIDE)
        assert picture.dtype == np.uint8
        assert picture.reshape(3, -1).max(0).min() > 0


def test_rendering_more_faces_keeps_the_earlier_ones(drawn: list[int]) -> None:
    first = rendered_faces(0, 8, SIDE, None)
    more = rendered_faces(0, 12, SIDE, None)
    assert np.array_equal(more[:8], first)
    assert np.array_equal(more[10], render_face(draw_face(0, 10), SIDE))
    assert len(drawn) == 20


def test_cache_is_used(drawn: list[int]) -> None:
    for split in ("train", "validation", "test"):
        load(split)
    assert sorted(drawn) == list(range(20))
    assert isinstance(rendered_faces(0, 20, SIDE, None), np.memmap)
    load(shape=(1, SIDE, SIDE))
    assert len(drawn) == 20
    rendered_faces(1, 2, SIDE, None)
    rendered_faces(0, 2, SIDE - 1, None)
    assert len(drawn) == 24


def test_attributes_are_those_of_the_faces() -> None:
    faces = load("test", attributes=True)
    assert list(faces.attributes) == [*BINARY_NAMES, *REAL_NAMES]
    assert [name for name, kind in faces.attributes.items() if kind == "yes_no"] == list(BINARY_NAMES)
    rendered = {render_face(face, SIDE).tobytes(): face for face in (draw_face(0, index) for index in range(20))}
    for image, values in zip(faces.images, faces.labels, strict=True):
        assert values.tolist() == pytest.approx([*rendered[image.tobytes()].attributes().values()])
    with pytest.raises(ValueError, match="attributes of their own"):
        load(attributes="table.csv")
