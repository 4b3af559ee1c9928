"""What the endpoints answer is what the Python functions give."""

import base64
import io
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import Mock
from urllib.parse import unquote

import httpx
import pytest
import torch
from app_client import as_base64, error_of, from_base64, running, wait_until
from PIL import Image
from registry import class_grid, random_images, tiny_model
from test_pictures import scans
from test_worker import Held

from glow_app import __version__, generation
from glow_app.generation import Direction
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.pictures.animations import animation_bytes
from glow_app.pictures.images import png_bytes, strip, to_pil
from glow_app.server import Limits, create_app
from glow_app.server.shared import _decode
from glow_app.storage.pretrained import model_hash

LIMITS = Limits(count=20, draws=4, pixels=10_000, side=200, queue=4, seconds=2.0)

TRAINING = {"val/bpd": 3.5, "step": 11802, "classes": ["a"], "log_det/ActNorm": 7.1, "bpd_level/0": -0.6}


@pytest.fixture(scope="module")
def model() -> ImageModel:
    model = tiny_model(num_classes=4)
    model.class_names = ("a", "b", "c", "d")
    return model


@pytest.fixture(scope="module")
def direction(model: ImageModel) -> Direction:
    generator = torch.Generator().manual_seed(0)
    return Direction([torch.randn(shape, generator=generator) for shape in model.flow.latent_shapes], 10)


@pytest.fixture(scope="module")
def client(model: ImageModel, direction: Direction) -> Iterator[httpx.Client]:
    with running(create_app(model, LIMITS, directions={"smile": direction}, training=TRAINING)) as client:
        yield client


@pytest.fixture(scope="module")
def plain() -> Iterator[httpx.Client]:
    with running(create_app(tiny_model(num_bits=5))) as client:
        yield client


def test_samples_are_those_of_python(model: ImageModel, client: httpx.Client) -> None:
    answer = client.post("/v1/sample", json={"count": 5, "seed": 7, "temperature": [0.5, 0.8]}).json()
    expected = list(generation.sample_batches(model, 5, [0.5, 0.8], 7))
    assert [one["seed"] for one in answer["images"]] == [seed for seed, _ in expected] == [7, 8, 9, 10, 11]
    assert [one["label"] for one in answer["images"]] == [3, 0, 1, 2, 3]
    for one, (_, image) in zip(answer["images"], expected, strict=True):
        assert torch.equal(from_base64(one["image"]), image)
    assert answer["temperature"] == [0.5, 0.8]
    assert answer["model"] == model_hash(model)


def test_guidance_and_the_settings_that_the_model_recommends(model: ImageModel) -> None:
    def images(answer: dict[str, Any]) -> list[torch.Tensor]:
        return [from_base64(one["image"]) for one in answer["images"]]

    def expected(temperature: float | list[float], guidance: float) -> list[torch.Tensor]:
        return [image for _, image in generation.sample_batches(model, 2, temperature, 7, guidance=guidance)]

    with guided(model, GenerationSettings((0.5, 0.8), 1.25)), running(create_app(model, LIMITS)) as client:
        assert client.get("/v1/info").json()["generation"] == {"temperature": [0.5, 0.8], "guidance": 1.25}
        for body, temperature, guidance in (
            ({}, [0.5, 0.8], 1.25),
            ({"temperature": 1}, 1.0, 1.25),
            ({"guidance": 1}, [0.5, 0.8], 1.0),
            ({"temperature": 0.9, "guidance": 1.5}, 0.9, 1.5),
        ):
            answer = client.post("/v1/sample", json={"count": 2, "seed": 7, **body}).json()
            assert all(map(torch.equal, images(answer), expected(temperature, guidance)))
            levels = temperature if isinstance(temperature, list) else [temperature] * 2
            assert (answer["temperature"], answer["guidance"]) == (levels, guidance)
            text = text_of(base64.b64decode(answer["images"][0]["image"]))
            assert text["temperature"] == str(temperature)
            assert text.get("guidance") == (None if guidance == 1 else str(guidance))


@contextmanager
def guided(model: ImageModel, settings: GenerationSettings) -> Iterator[None]:
    before, model.generation = model.generation, settings
    try:
        yield
    finally:
        model.generation = before


def test_guidance_is_for_models_with_classes(client: httpx.Client, plain: httpx.Client) -> None:
    answer = plain.post("/v1/sample", json={"guidance": 1.25})
    assert answer.status_code == 422
    assert error_of(answer)["message"] == "guidance: this model has no classes; leave it out"
    assert plain.post("/v1/sample", json={"guidance": 1}).status_code == 200
    for guidance in (-0.1, 10.1, "1", [1.25], True):
        assert error_of(client.post("/v1/sample", json={"guidance": guidance}))["code"] == "invalid_request"


def test_a_seed_that_is_drawn_is_told(client: httpx.Client) -> None:
    first, second = (client.post("/v1/sample", json={}).json()["images"][0] for _ in range(2))
    assert first["seed"] != second["seed"]
    again = client.post("/v1/sample", json={"seed": first["seed"], "label": first["label"]}).json()["images"][0]
    assert again["image"] == first["image"]


def test_a_picture_where_one_is_asked_for(model: ImageModel, client: httpx.Client) -> None:
    png = {"accept": "image/png"}
    one = client.post("/v1/sample", json={"seed": 7, "label": 2}, headers=png)
    assert one.headers["content-type"] == "image/png"
    assert one.headers["x-glow-seed"] == "7"
    (_, expected), *_ = generation.sample_batches(model, 1, 0.7, 7, 2)
    assert torch.equal(from_base64(as_base64(one.content)), expected)


@pytest.mark.parametrize("label", [None, 2])
def test_several_are_the_grid_of_the_command(model: ImageModel, client: httpx.Client, label: int | None) -> None:
    body = {"count": 6, "seed": 7, "label": label}
    response = client.post("/v1/sample", json=body, headers={"accept": "image/png"})
    images = torch.stack([image for _, image in generation.sample_batches(model, 6, 0.7, 7, label)])
    assert pixels_of(response.content) == class_grid(model, images, 7, label).tobytes()


def test_frames_are_the_strip_of_the_command(model: ImageModel, client: httpx.Client) -> None:
    images = random_images(3)
    body = {"images": [as_base64(image) for image in images], "frames": 4, "labels": ["b", 0, 3]}
    response = client.post("/v1/interpolate", json=body, headers={"accept": "image/png"})
    frames = generation.interpolate(model, images, 4, torch.tensor([1, 0, 3]), spherical=True)
    assert pixels_of(response.content) == strip(frames, 4).tobytes()
    made = {"way": "arc", "model": model_hash(model), "version": __version__}
    assert text_of(response.content) == {"frames": "7", "label": "1, 0, 3", "class": "b, a, d", **made}


@pytest.mark.parametrize(("kind", "name"), [("image/gif", "GIF"), ("image/webp", "WEBP")])
def test_frames_are_an_animation_where_one_is_asked_for(
    kind: str, name: str, model: ImageModel, client: httpx.Client
) -> None:
    images = random_images(2)
    body = {"images": [as_base64(image) for image in images], "frames": 4, "labels": ["b", 0]}
    response = client.post("/v1/interpolate", json=body, headers={"accept": kind})
    assert response.headers["content-type"] == kind
    assert response.headers["x-glow-way"] == "arc"
    frames = generation.interpolate(model, images, 4, torch.tensor([1, 0]))
    assert response.content == animation_bytes(frames, f".{name.lower()}")
    with Image.open(io.BytesIO(response.content)) as picture:
        assert (picture.format, picture.n_frames) == (name, 6)  # type: ignore[attr-defined]
    # Other endpoints have no animation to give.
    assert client.post("/v1/sample", json={"seed": 1}, headers={"accept": kind}).headers["content-type"] == JSON


def test_only_what_is_sent_is_encoded(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = Mock(wraps=png_bytes)
    monkeypatch.setattr("glow_app.server.pictures.png_bytes", encode)
    images = [as_base64(image) for image in random_images(2)]
    for path, body in {
        "sample": {"count": 3},
        "interpolate": {"images": images, "frames": 3},
        "edit": {"image": images[0], "edits": [{"direction": "smile"}]},
        "reconstruct": {"images": images},
    }.items():
        encode.reset_mock()
        client.post(f"/v1/{path}", json=body, headers={"accept": "image/png"}).raise_for_status()
        assert encode.call_count == 1, path


def pixels_of(content: bytes) -> bytes:
    """Return the pixels of a PNG."""
    with Image.open(io.BytesIO(content)) as picture:
        return picture.tobytes()


def text_of(content: bytes) -> dict[str, str]:
    """Return the text of a PNG."""
    with Image.open(io.BytesIO(content)) as picture:
        return dict(getattr(picture, "text", {}))


def headers_of(response: httpx.Response) -> dict[str, str]:
    """Return what an answer's headers say of its picture."""
    return {name.removeprefix("x-glow-"): value for name, value in response.headers.items() if "x-glow-" in name}


def test_a_drawn_picture_says_what_made_it(model: ImageModel, client: httpx.Client) -> None:
    made = {"temperature": "0.7", "model": model_hash(model), "version": __version__}
    images = client.post("/v1/sample", json={"count": 2, "seed": 6}).json()["images"]
    texts = [text_of(base64.b64decode(one["image"])) for one in images]
    assert texts == [
        {"seed": "6", "label": "2", "class": "c", **made},
        {"seed": "7", "label": "3", "class": "d", **made},
    ]
    for body, expected in (
        ({"seed": 7}, {"seed": "7", "label": "3", "class": "d"}),
        ({"seed": 7, "count": 3, "label": "b"}, {"seed": "7", "count": "3", "label": "1", "class": "b"}),
        ({"seed": 7, "count": 3}, {"seed": "7", "count": "3"}),
    ):
        response = client.post("/v1/sample", json=body, headers={"accept": "image/png"})
        assert text_of(response.content) == headers_of(response) == {**expected, **made}


def test_a_changed_picture_says_what_made_it(model: ImageModel, direction: Direction) -> None:
    made = {"label": "1", "class": "b", "model": model_hash(model), "version": __version__}
    smile, cyrillic = {"direction": "smile", "strength": 1.5}, {"direction": "\u0443\u043b%", "strength": -1}
    with running(create_app(model, LIMITS, directions={"smile": direction, "\u0443\u043b%": direction})) as client:
        body = {"image": as_base64(random_images(1)[0]), "edits": [smile], "label": 1}
        one = base64.b64decode(client.post("/v1/edit", json=body).json()["image"])
        assert text_of(one) == {"direction": "smile", "strength": "1.5", **made}
        body["edits"] = [smile, cyrillic]
        several = client.post("/v1/edit", json=body, headers={"accept": "image/png"})
        assert json.loads(text_of(several.content)["direction"]) == ["smile", "\u0443\u043b%"]
        assert json.loads(text_of(several.content)["strength"]) == [1.5, -1.0]
        body["edits"] = [cyrillic]
        response = client.post("/v1/edit", json=body, headers={"accept": "image/png"})
        assert text_of(response.content)["direction"] == "\u0443\u043b%"
        assert unquote(headers_of(response)["direction"]) == "\u0443\u043b%"


def test_names_of_headers_have_hyphens(model: ImageModel, client: httpx.Client) -> None:
    body = {"images": [as_base64(image) for image in random_images(1)]}
    response = client.post("/v1/reconstruct", json=body, headers={"accept": "image/png"})
    made = {"model": model_hash(model), "version": __version__}
    assert headers_of(response) == {**made, "max-pixel-error": "0", "max-quantisation": "0"}


PNG, JSON = "image/png", "application/json"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/html", JSON),
        ("image/*", PNG),
        ("Image/PNG", PNG),
        ("image/png, */*", PNG),
        ("image/avif,image/webp,image/png,*/*;q=0.8", PNG),
        ("image/png;q=0", JSON),
        ("image/png;q=0, image/*", JSON),
        ("image/png; q=0.5, application/json", JSON),
        ("application/json;q=0.5,image/png;level=1;q=0.9", PNG),
        ("application/json, image/png", JSON),
        ("image/pngs", JSON),
        ("image/png;q=nan", PNG),
    ],
)
def test_the_header_accept(accept: str, expected: str, client: httpx.Client) -> None:
    response = client.post("/v1/sample", json={"seed": 1}, headers={"accept": accept})
    assert response.headers["content-type"] == expected


def test_interpolation_ends_in_the_pictures(model: ImageModel, client: httpx.Client) -> None:
    images = random_images(3)
    body = {"images": [as_base64(image) for image in images], "frames": 4, "spherical": True, "labels": [0, 1, 1]}
    answer = client.post("/v1/interpolate", json=body).json()
    frames = torch.stack([from_base64(frame) for frame in answer["frames"]])
    assert torch.equal(frames[::3], images)
    expected = generation.interpolate(model, images, 4, torch.tensor([0, 1, 1]), spherical=True)
    assert torch.equal(frames, expected)
    assert answer["labels"] == [0, 1, 1]
    assert answer["notes"] == [None] * 3
    del body["labels"]
    assert client.post("/v1/interpolate", json=body).json()["labels"] == generation.infer_labels(model, images).tolist()


@pytest.mark.parametrize("spherical", [True, False])
def test_frames_are_made_at_places(model: ImageModel, client: httpx.Client, spherical: bool) -> None:
    images, labels = random_images(4), torch.tensor([0, 1, 2, 3])
    files = [as_base64(image) for image in images]
    for num_images, places in ((2, [[0.25], [1]]), (4, [[0.25, 0.5], [1, 0], [0, 1]])):
        given = {"images": files[:num_images], "labels": list(range(num_images)), "spherical": spherical}
        answer = client.post("/v1/interpolate", json={**given, "at": places}).json()
        frames = torch.stack([from_base64(frame) for frame in answer["frames"]])
        weights = torch.tensor(places)[:, None].expand(-1, 2, -1)
        weights = weights.squeeze(2) if num_images == 2 else weights
        chosen = (images[:num_images], weights, labels[:num_images])
        assert torch.equal(frames, generation.blend(model, *chosen, spherical=spherical))
        assert torch.equal(frames[1], images[1])
        assert answer["labels"] == list(range(num_images))
    response = client.post("/v1/interpolate", json={**given, "at": places}, headers={"accept": "image/png"})
    assert pixels_of(response.content) == strip(frames, 3).tobytes()
    for kind, wanted in (("image/png", "image/png"), ("image/gif", "application/json")):  # one frame is no animation
        response = client.post("/v1/interpolate", json={**given, "at": places[:1]}, headers={"accept": kind})
        assert response.headers["content-type"] == wanted
        if kind == wanted:
            assert pixels_of(response.content) == to_pil(frames[0]).tobytes()


def test_edits(model: ImageModel, client: httpx.Client, direction: Direction) -> None:
    image = random_images(1)
    body = {"image": as_base64(image[0]), "edits": [{"direction": "smile", "strength": 0}], "label": 1}
    assert torch.equal(from_base64(client.post("/v1/edit", json=body).json()["image"]), image[0])
    body["edits"] = [{"direction": "smile", "strength": 1.5}, {"direction": "smile", "strength": -0.5}]
    answer = client.post("/v1/edit", json=body).json()
    expected = generation.edit(model, image, [(direction, 1.5), (direction, -0.5)], torch.tensor([1]))
    assert torch.equal(from_base64(answer["image"]), expected[0])
    assert not torch.equal(expected, image)
    assert answer["label"] == 1
    body["edits"] = [{"direction": "no such"}]
    error = error_of(client.post("/v1/edit", json=body))
    assert (error["code"], error["message"]) == (
        "unknown_direction",
        "there is no such direction; known: smile",
    )


def test_a_class_by_name(client: httpx.Client) -> None:
    by_number, by_name = (client.post("/v1/sample", json={"seed": 3, "label": label}).json() for label in (2, "C"))
    assert by_name == by_number
    error = error_of(client.post("/v1/sample", json={"label": "no such"}))
    assert error["message"] == "label: this model has the classes 0 to 3, or a, b, c, d"
    body = {"images": [as_base64(image) for image in random_images(2)], "labels": ["b", 0]}
    assert client.post("/v1/reconstruct", json=body).json()["labels"] == [1, 0]


def test_reconstruction_says_what_few_bits_cost(plain: httpx.Client) -> None:
    images = random_images(2)
    answer = plain.post("/v1/reconstruct", json={"images": [as_base64(image) for image in images]}).json()
    assert answer["max_pixel_error"] == 0
    assert 0 < answer["max_quantisation"] < 8
    found = torch.stack([from_base64(image) for image in answer["images"]])
    assert torch.equal(found, tiny_model(num_bits=5).quantised(images))
    assert answer["labels"] is None


def test_scores_are_those_of_python(model: ImageModel, client: httpx.Client) -> None:
    images = random_images(2)
    body = {"images": [as_base64(image) for image in images], "draws": 3, "seed": 11}
    answer = client.post("/v1/score", json=body).json()
    measures = generation.measure(model, images, num_draws=3, seeds=[11, 12])
    for name, values in generation.oddities(measures, None).items():
        assert [one[name] for one in answer["scores"]] == pytest.approx(values.tolist(), rel=1e-4, abs=1e-4)
    assert measures.labels is not None
    assert [one["label"] for one in answer["scores"]] == measures.labels.tolist()
    given = client.post("/v1/score", json={**body, "labels": [0, 0]}).json()["scores"]
    assert [one["label"] for one in given] == [0, 0]


def test_there_is_no_verdict_without_ordinary_images(client: httpx.Client) -> None:
    answer = client.post("/v1/score", json={"images": [as_base64(random_images(1)[0])]}).json()
    assert answer["usual"] is None
    unknown = {"typicality", "latent_norm", "spectrum", "verdict", "reason", "oddness", "percentiles", "note"}
    assert {name for name, value in answer["scores"][0].items() if value is None} == unknown


def test_the_models_own_reference_tells_what_is_usual(model: ImageModel) -> None:
    images = random_images(20, seed=1)
    measures = generation.measure(model, images)
    reference = generation.Reference.of(generation.measure(model, random_images(60)))
    facts = {**TRAINING, "reference": reference.to_plain()}
    with running(create_app(model, training=facts)) as client:
        assert client.get("/v1/info").json()["training"] == {"val/bpd": 3.5, "step": 11802}
        answer = client.post("/v1/score", json={"images": [as_base64(image) for image in images]}).json()
    assert answer["usual"] == "60 ordinary images"
    assert [one["verdict"] for one in answer["scores"]].count("usual") >= 17
    for one, verdict in zip(answer["scores"], reference.judge(measures), strict=True):
        assert (one["verdict"], one["reason"]) == (verdict.verdict, verdict.reason)
        assert one["oddness"] == pytest.approx(verdict.oddness, abs=0.1)
        assert one["percentiles"] == pytest.approx(verdict.percentiles, abs=0.1)
    for name, values in generation.oddities(measures, reference.typical).items():
        assert [one[name] for one in answer["scores"]] == pytest.approx(values.tolist(), rel=1e-4, abs=1e-4)
    damaged = {"reference": {**reference.to_plain(), "mean": []}}
    with pytest.raises(ValueError, match="the reference of the model's scores is damaged"):
        create_app(model, training=damaged)


def test_a_picture_of_another_size_is_brought_to_the_models_and_that_is_said(client: httpx.Client) -> None:
    wide = Image.new("L", (30, 20), 100)
    answer = client.post("/v1/reconstruct", json={"images": [as_base64(wide)]}).json()
    assert answer["notes"] == ["30x20 resized and cropped to 8x8 (width x height)"]
    assert bool((from_base64(answer["images"][0]) == 100).all())


def test_info_tells_the_model_and_the_limits(model: ImageModel, client: httpx.Client, plain: httpx.Client) -> None:
    info = client.get("/v1/info").json()
    assert info["model"] == model_hash(model)
    assert info["image_shape"] == [3, 8, 8]
    assert (info["num_bits"], info["num_levels"], info["num_classes"]) == (8, 2, 4)
    assert info["classes"] == ["a", "b", "c", "d"]
    assert info["directions"] == ["smile"]
    assert info["training"] == {"val/bpd": 3.5, "step": 11802}
    assert info["limits"]["count"] == 20
    assert all(isinstance(value, int) for name, value in info["limits"].items() if "seconds" not in name)
    assert plain.get("/v1/info").json()["num_classes"] is None


SAMPLE_ERRORS = {
    "count: 21 are too many; at most 20": {"count": 21},
    "count: Input should be greater than or equal to 1, not 0": {"count": 0},
    "count: Input should be a valid integer, not a string": {"count": "2"},
    "count: Input should be a valid integer, not 2.5": {"count": 2.5},
    "count: Input should be a valid integer, not true": {"count": True},
    "label: this model has the classes 0 to 3, or a, b, c, d": {"label": 4},
    "temperature: expected one, or 2, one for each level": {"temperature": [0.1, 0.2, 0.3]},
    "seed: with count 2 at most 2147483646": {"count": 2, "seed": 2**31 - 1},
    "colour: Extra inputs are not permitted": {"colour": 1},
    "temperature: Input should be less than or equal to 100, or a valid list, not 101": {"temperature": 101},
    "temperature: Input should be a valid number, or a valid list, not a string": {"temperature": "hot"},
    "temperature[1]: Input should be a valid number, not a string": {"temperature": [0.7, "hot", -1]},
    "label: Input should be a valid integer, or a valid string, not 1.5": {"label": 1.5},
}


@pytest.mark.parametrize("message", SAMPLE_ERRORS)
def test_a_value_that_does_not_fit_is_told(message: str, client: httpx.Client) -> None:
    response = client.post("/v1/sample", json=SAMPLE_ERRORS[message])
    assert response.status_code == 422
    assert error_of(response)["message"] == message


NO_JSON = {
    '{"temperature": NaN}': "temperature: Input should be a finite number, or a valid list, not NaN",
    '{"temperature": 1e999}': "temperature: Input should be a finite number, or a valid list, not Infinity",
    '{"seed": 1' + "0" * 6000 + "}": "the body is not JSON: a number has too many digits",
    "[" * 1100: "the body is not JSON: it is nested too deeply",
    '"\u00e4"': "the body is not JSON: it is not UTF-8",
    "{": "the body is not JSON: Expecting property name enclosed in double quotes at character 2",
    "": "the body: Field required",
}


@pytest.mark.parametrize("text", NO_JSON, ids=range(len(NO_JSON)))
def test_what_is_no_json_is_told_in_one_way(text: str, client: httpx.Client, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(partial(sys.setrecursionlimit, sys.getrecursionlimit()))
    sys.setrecursionlimit(1000)  # as a process begins; libraries that other tests use have raised it
    headers = {"content-type": "application/json"}
    response = client.post("/v1/sample", content=text.encode("latin-1"), headers=headers)
    error = error_of(response)
    assert (response.status_code, error["code"], error["message"]) == (422, "invalid_request", NO_JSON[text])


def test_other_mistakes(client: httpx.Client, plain: httpx.Client) -> None:
    image = as_base64(random_images(1)[0])
    mistakes = [
        ("sample", {"label": 0}, "label: this model has no classes; leave it out"),
        ("sample", {"temperature": []}, "temperature: expected one, or 2, one for each level"),
        ("interpolate", {"images": [image]}, "images: List should have at least 2 items after validation, not 1"),
        ("interpolate", {"images": [image] * 3, "frames": 64}, "frames: 127 are too many; at most 64"),
        ("interpolate", {"images": [image] * 3, "at": [[0.5]]}, "at: there are 3 images; expected 2 or 4"),
        ("interpolate", {"images": [image] * 2, "at": [[0], [0, 1]]}, "at[1]: 2 numbers; expected 1"),
        ("interpolate", {"images": [image] * 4, "at": [[0]]}, "at[0]: 1 number; expected 2"),
        ("interpolate", {"images": [image] * 2, "at": [[0]] * 65}, "at: 65 are too many; at most 64"),
        (
            "interpolate",
            {"images": [image] * 2, "at": []},
            "at: List should have at least 1 item after validation, not 0",
        ),
        (
            "interpolate",
            {"images": [image] * 2, "at": [[-1]]},
            "at[0][0]: Input should be greater than or equal to 0, not -1",
        ),
        (
            "interpolate",
            {"images": [image] * 2, "at": [[2]]},
            "at[0][0]: Input should be less than or equal to 1, not 2",
        ),
        ("reconstruct", {"images": [image], "labels": [0]}, "labels: this model has no classes; leave it out"),
        ("score", {"images": [image], "draws": 65}, "draws: 65 are too many; at most 64"),
    ]
    for path, body, message in mistakes:
        response = plain.post(f"/v1/{path}", json=body)
        assert (response.status_code, error_of(response)["message"]) == (422, message)
    response = client.post("/v1/score", json={"images": [image], "labels": [0, 1]})
    assert error_of(response)["message"] == "labels: 2 for 1 image; give one for each"


def test_which_of_several_is_at_fault_is_told(client: httpx.Client) -> None:
    image, other = as_base64(random_images(1)[0]), as_base64(b"no picture")
    edits = [{"direction": "smile"}, {"strength": 1}]
    for path, body, message in (
        ("reconstruct", {"images": [image, other]}, "images[1]: of no known format, or damaged; expected PNG, "),
        ("reconstruct", {"images": [image, "?"]}, "images[1]: no base64; "),
        ("reconstruct", {"images": [image, as_base64(Image.new("L", (201, 1)))]}, "images[1]: too large; "),
        ("reconstruct", {"images": [image, 3]}, "images[1]: Input should be a valid string"),
        ("score", {"images": [image, image], "labels": [0, 99]}, "labels[1]: this model has the classes 0 to 3"),
        ("edit", {"image": other, "edits": edits[:1]}, "image: of no known format, or damaged; "),
        ("edit", {"image": image, "edits": edits}, "edits[1].direction: Field required"),
        ("edit", {"image": image}, "edits: Field required"),
        ("edit", [image], "the body: "),
    ):
        assert error_of(client.post(f"/v1/{path}", json=body))["message"].startswith(message)


def test_paths_and_methods(client: httpx.Client) -> None:
    assert error_of(client.get("/v1/nothing"))["code"] == "not_found"
    response = client.get("/v1/sample")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    error_of(response)
    assert client.get("/").headers["content-type"].startswith("text/html")
    for path in ("/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/%2e%2e/app.py", "//etc/passwd"):
        assert client.get(path).status_code == 404


def test_a_slash_too_many_leads_nowhere(client: httpx.Client) -> None:
    response = client.post("/v1/sample/", json={}, follow_redirects=False)
    assert (response.status_code, error_of(response)["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(RuntimeError("/secret/path"), 500, "internal_error"), (FloatingPointError("not finite"), 422, "not_finite")],
)
def test_a_failure_tells_nothing_of_itself_and_no_finite_image_is_the_requests_fault(
    error: Exception, status: int, code: str, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "reconstruct", Mock(side_effect=error))
    response = client.post("/v1/reconstruct", json={"images": [as_base64(random_images(1)[0])]})
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert "secret" not in response.text


def test_metrics_and_health(client: httpx.Client) -> None:
    client.post("/v1/sample", json={"count": 3})
    client.post("/v1/sample", json={"count": 0})
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    for path in ("/healthz", "/readyz"):
        response = client.head(path)
        assert (response.status_code, response.content) == (200, b"")
    client.get("/nowhere/at/all")
    lines = client.get("/metrics").text.splitlines()
    values = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name[0] != "#"}
    assert values["glow_queue_depth"] == 0
    assert values["glow_queue_slots"] == 4
    assert values['glow_images_total{endpoint="/v1/sample"}'] >= 3
    assert values['glow_errors_total{endpoint="/v1/sample",status="422"}'] >= 1
    assert values['glow_request_seconds_count{endpoint="/v1/sample"}'] >= 2
    assert values['glow_requests_total{endpoint="other",status="404"}'] >= 1
    assert not any("nowhere" in name for name in values), "a stranger could fill the memory with names"


def test_the_deadline_and_a_full_queue(model: ImageModel) -> None:
    app = create_app(model, Limits(queue=2, seconds=2))
    gate, worker = app.state.gate, app.state.service.worker
    with running(app) as client:
        held = Held(worker)
        response = client.post("/v1/sample", json={})
        assert (response.status_code, error_of(response)["code"]) == (504, "too_slow")
        assert (gate.depth, worker.backlog) == (0, 0), "it only waited: its slot is free"
        worker._rates[_decode] = 3.0  # seconds an image
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(client.post, "/v1/sample", json={}) for _ in range(2)]
            wait_until(lambda: gate.depth == 2 and worker.backlog > 5)
            response = client.post("/v1/sample", json={})
            assert (response.status_code, error_of(response)["code"]) == (503, "queue_full")
            assert response.headers["retry-after"] == "6"
            assert [one.result(10).status_code for one in waiting] == [504, 504]
        held.let_go()
        wait_until(lambda: client.post("/v1/sample", json={}).status_code == 200)


def test_a_client_that_leaves_is_not_worked_for(model: ImageModel) -> None:
    app = create_app(model)
    gate, worker = app.state.gate, app.state.service.worker
    with running(app) as client:
        held = Held(worker)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/sample", json={}, timeout=0.3)
        wait_until(lambda: gate.depth == 0 and worker.backlog == 0)
        held.let_go()


def test_pictures_of_a_client_that_leaves_are_not_decoded(model: ImageModel) -> None:
    slow = as_base64(scans(Image.new("L", (4000, 4000)), 80))
    app = create_app(model, Limits(body_bytes=2**26))
    with running(app) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/reconstruct", json={"images": [slow] * 10}, timeout=0.5)
        wait_until(lambda: app.state.gate.depth == 0)
        begun = client.get("/metrics").text
        assert client.post("/v1/reconstruct", json={"images": [as_base64(random_images(1)[0])]}).status_code == 200
        counted = [line for line in begun.splitlines() if line.startswith("glow_decode_seconds_count")]
        assert float(counted[0].split()[1]) < 10


def test_a_thread_that_died_is_told_by_healthz(model: ImageModel) -> None:
    app = create_app(model)
    worker = app.state.service.worker
    with running(app) as client:
        worker.close()
        wait_until(lambda: not worker.is_alive)
        for path in ("/healthz", "/readyz"):
            response = client.get(path)
            assert (response.status_code, error_of(response)["code"]) == (503, "model_ended")
        assert client.post("/v1/sample", json={}).status_code == 503
