"""Endpoints return what the Python functions return."""

import base64
import ctypes
import io
import math
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock
from urllib.parse import unquote

import httpx
import numpy as np
import pytest
import torch
from app_client import as_base64, as_file, error_of, from_base64, running
from busy_thread import BusyThread
from PIL import Image
from registry import named, random_images, same_pictures, tiny_model, tiny_wavelet_flow

from glow_app import __version__, pipeline
from glow_app.conditioning import AttributeConditioning
from glow_app.data.attributes import Kind
from glow_app.data.decoding import Photo
from glow_app.models.generation_settings import GenerationSettings
from glow_app.pictures.animations import animation_bytes
from glow_app.pictures.encoding import png_bytes
from glow_app.pictures.images import strip, to_pil
from glow_app.pipeline import Direction, Latents, latents_bytes, load_latents
from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.server.app import create_app
from glow_app.server.decoder import Decoder
from glow_app.server.limits import Limits

LIMITS = Limits(count=20, pixels=10_000)
TRAINING = {"val/bpd": 3.5, "step": 11802, "classes": ["a"]}
CYRILLIC = "\u0443\u043b%"
IMAGES = random_images(4)
FILES = [as_base64(image) for image in IMAGES]
PNG, JSON, OCTETS = "image/png", "application/json", "application/octet-stream"


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return named(tiny_model(num_classes=4), *"abcd")


@pytest.fixture(scope="module")
def direction(model: LoadedModel) -> Direction:
    generator = torch.Generator().manual_seed(0)
    return Direction([torch.randn(shape, generator=generator) for shape in model.flow.latent_shapes], 10)


@pytest.fixture(scope="module")
def client(model: LoadedModel, direction: Direction) -> Iterator[httpx.Client]:
    directions = {"smile": direction, CYRILLIC: direction}
    with running(create_app(model, LIMITS, directions=directions, training=TRAINING)) as client:
        yield client


@pytest.fixture(scope="module")
def plain() -> Iterator[httpx.Client]:
    with running(create_app(tiny_model(num_bits=5))) as client:
        yield client


def pixels_of(content: bytes) -> torch.Tensor:
    """Return the pixels of a PNG."""
    with Image.open(io.BytesIO(content)) as picture:
        return torch.from_numpy(np.array(picture))


def text_of(content: bytes) -> dict[str, str]:
    """Return the text of a PNG."""
    with Image.open(io.BytesIO(content)) as picture:
        return dict(getattr(picture, "text", {}))


def headers_of(response: httpx.Response) -> dict[str, str]:
    """Return the metadata of a picture in the headers of its answer."""
    return {name.removeprefix("x-glow-"): value for name, value in response.headers.items() if "x-glow-" in name}


def images_of(answer: dict[str, Any]) -> list[torch.Tensor]:
    return [from_base64(one["image"]) for one in answer["images"]]


def test_samples_equal_those_of_python(model: LoadedModel, client: httpx.Client) -> None:
    answer = client.post("/v1/sample", json={"count": 5, "seed": 7, "temperature": [0.5, 0.8]}).json()
    expected = list(pipeline.sample_batches(model, 5, [0.5, 0.8], 7))
    assert [one["seed"] for one in answer["images"]] == [seed for seed, _ in expected] == [7, 8, 9, 10, 11]
    assert [one["given"] for one in answer["images"]] == list("dabcd")
    assert all(map(same_pictures, images_of(answer), (image for _, image in expected)))
    assert (answer["temperature"], answer["model"]) == ([0.5, 0.8], model.hash)
    ways: list[Any] = [2, "C", ["c"]]
    by_number, *others = (client.post("/v1/sample", json={"seed": 3, "given": given}).json() for given in ways)
    assert others == [by_number] * 2


def test_results_have_the_size_of_a_coarser_level(client: httpx.Client) -> None:
    model = LoadedModel(tiny_wavelet_flow(conditioning=AttributeConditioning({"hat": "yes_no"}, 4)), 5).eval()
    direction = Direction([torch.ones(shape) for shape in model.flow.latent_shapes], 10)
    none, hat = torch.zeros(2, 1), torch.ones(1, 1)
    between = {"images": FILES[:2], "given": {"hat": 0}}
    bodies: dict[str, list[tuple[dict[str, Any], Any]]] = {
        "sample": [({"seed": 7, "given": {"hat": 0}}, model.sample(1, None, 7, none[:1], size=(4, 4)))],
        "interpolate": [
            (between | {"frames": 3}, pipeline.interpolate(model, IMAGES[:2], 3, none, size=(4, 4))),
            (between | {"at": [[0.3]]}, pipeline.blend(
                model, IMAGES[:2], torch.full((1, 3), 0.3), none, size=(4, 4)
            )),
        ],
        "edit": [
            ({"image": FILES[0], "given": {"hat": 0}, **change}, expected) for change, expected in (
                ({"attributes": {"hat": 1}}, pipeline.edit_attributes(model, IMAGES[:1], hat, none[:1], size=(4, 4))),
                (
                    {"edits": [{"direction": "smile", "strength": 0.2}]},
                    pipeline.edit(model, IMAGES[:1], [(direction, 0.2)], none[:1], size=(4, 4)),
                ),
            )
        ],
    }  # fmt: skip
    with running(create_app(model, LIMITS, directions={"smile": direction})) as server:
        assert server.get("/v1/info").json()["sizes"] == [[8, 8], [4, 4], [2, 2]]
        for path, each in bodies.items():
            for body, expected in each:
                answer = server.post(f"/v1/{path}", json=body | {"size": [4, 4]}).json()
                images = answer.get("frames") or [one["image"] for one in answer.get("images", [])] or [answer["image"]]
                assert same_pictures(torch.stack(list(map(from_base64, images))), expected)
            for size in ([4, 2], [16, 16]):
                error = error_of(server.post(f"/v1/{path}", json=body | {"size": size}))
                assert error["message"] == f"size is {size[1]}x{size[0]}; expected one of 8x8, 4x4, 2x2 for this model"
    assert client.get("/v1/info").json()["sizes"] == [[8, 8]]
    assert client.post("/v1/sample", json={"size": [16, 16]}).status_code == 422  # which the model itself could draw


def test_a_random_seed_can_be_repeated(client: httpx.Client) -> None:
    first, second = (client.post("/v1/sample", json={}).json()["images"][0] for _ in range(2))
    assert first["seed"] != second["seed"]
    again = client.post("/v1/sample", json={"seed": first["seed"], "given": first["given"]}).json()["images"][0]
    assert again["image"] == first["image"]


def test_recommended_settings_are_the_defaults(plain: httpx.Client) -> None:
    model = tiny_model(num_classes=4)
    model.generation = GenerationSettings((0.5, 0.8), 1.25)
    with running(create_app(model, LIMITS)) as client:
        assert client.get("/v1/info").json()["generation"] == {"temperature": [0.5, 0.8], "guidance": 1.25}
        for body, temperature, guidance in (
            ({}, [0.5, 0.8], 1.25),
            ({"temperature": 1}, 1.0, 1.25),
            ({"temperature": 0.9, "guidance": 1}, 0.9, 1.0),
        ):
            answer = client.post("/v1/sample", json={"count": 2, "seed": 7, **body}).json()
            expected = pipeline.sample_batches(model, 2, temperature, 7, guidance=guidance)
            assert all(map(same_pictures, images_of(answer), (image for _, image in expected)))
            levels = temperature if isinstance(temperature, list) else [temperature] * 2
            assert (answer["temperature"], answer["guidance"]) == (levels, guidance)
            text = text_of(base64.b64decode(answer["images"][0]["image"]))
            assert text["temperature"] == str(temperature)
            assert text.get("guidance") == (None if guidance == 1 else str(guidance))
    assert error_of(plain.post("/v1/sample", json={"guidance": 1.25}))["code"] == "invalid_request"
    assert plain.post("/v1/sample", json={"guidance": 1}).status_code == 200


@pytest.mark.parametrize(("kind", "suffix"), [("png", ".png"), ("webp", ".webp"), ("jpeg", ".jpg")])
def test_pictures_are_files_and_several_are_a_zip(
    kind: str, suffix: str, model: LoadedModel, client: httpx.Client
) -> None:
    body, accept = {"count": 3, "seed": 7, "temperature": 0}, {"accept": f"image/{kind}"}
    response = client.post("/v1/sample", json=body, headers=accept)
    assert response.headers["content-type"] == "application/zip"
    expected = model.sample(3, 0, 7)
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == [f"000{n}_seed{7 + n}{suffix}" for n in range(3)]
        contents = list(map(archive.read, archive.namelist()))
    single = client.post("/v1/sample", json={**body, "count": 1}, headers=accept)
    assert (single.headers["content-type"], single.content) == (f"image/{kind}", contents[0])
    for content, image in zip(contents, expected, strict=True):
        with Image.open(io.BytesIO(content)) as picture:
            assert (picture.format, picture.size) == (kind.upper(), (8, 8))
        assert kind != "png" or same_pictures(from_base64(as_base64(content)), image)
        assert text_of(content).get("seed") == (str(image.seeds[0]) if kind == "png" else None)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/html", JSON),
        ("image/*", PNG),
        ("Image/PNG ;q=0.9", PNG),
        ("image/avif,image/webp,image/png,*/*;q=0.8", "image/webp"),
        ("application/json, image/png", JSON),
        ("*/*, image/png", JSON),
        ("image/gif", JSON),
    ],
)
def test_accept_header(accept: str, expected: str, client: httpx.Client) -> None:
    response = client.post("/v1/sample", json={"seed": 1}, headers={"accept": accept})
    assert response.headers["content-type"] == expected


def test_pictures_contain_metadata(model: LoadedModel, client: httpx.Client) -> None:
    made = {"model": model.hash, "version": __version__}
    images = client.post("/v1/sample", json={"count": 2, "seed": 6}).json()["images"]
    texts = [text_of(base64.b64decode(one["image"])) for one in images]
    drawn = {"temperature": "0.7", **made}
    assert texts == [{"seed": str(6 + n), "given": "cd"[n], **drawn} for n in range(2)]
    edit = {"image": FILES[0], "edits": [{"direction": CYRILLIC, "strength": 1.5}], "given": 1}
    changed = {"direction": CYRILLIC, "strength": "1.5", "given": "b", **made}
    for path, body, expected in (
        ("sample", {"seed": 7}, {"seed": "7", "given": "d", **drawn}),
        ("edit", edit, changed),
        ("reconstruct", {"images": FILES[:1]}, {"max_pixel_error": "0", "max_quantisation": "0", **made}),
    ):
        response = client.post(f"/v1/{path}", json=body, headers={"accept": PNG})
        assert text_of(response.content) == expected
        assert headers_of(response) == {name.replace("_", "-"): value for name, value in expected.items()} or (
            unquote(headers_of(response)["direction"]) == CYRILLIC
        )
    several = client.post("/v1/sample", json={"seed": 7, "count": 3, "given": "b"}, headers={"accept": PNG})
    assert headers_of(several) == {"seed": "7", "count": "3", "given": "b", **drawn}
    edit["edits"] = [{"direction": "smile", "strength": 1.5}, {"direction": CYRILLIC, "strength": -1}]
    both = text_of(client.post("/v1/edit", json=edit, headers={"accept": PNG}).content)
    assert (both["direction"], both["strength"]) == (f"smile, {CYRILLIC}", "1.5, -1.0")


def test_interpolation_includes_the_pictures(model: LoadedModel, client: httpx.Client) -> None:
    body = {"images": FILES[:3], "frames": 4, "given": ["a", 1, 1]}
    answer = client.post("/v1/interpolate", json=body).json()
    frames = torch.stack([from_base64(frame) for frame in answer["frames"]])
    assert torch.equal(frames[::3], IMAGES[:3])
    assert torch.equal(frames, pipeline.interpolate(model, IMAGES[:3], 4, torch.tensor([0, 1, 1])))
    assert (answer["given"], answer["notes"]) == (["a", "b", "b"], [None] * 3)
    response = client.post("/v1/interpolate", json=body, headers={"accept": PNG})
    assert same_pictures(pixels_of(response.content), pixels_of(png_bytes(strip(frames, 4))))
    made = {"way": "line", "model": model.hash, "version": __version__}
    assert text_of(response.content) == {"frames": "7", "given": "a, b, b", **made}
    for kind, suffix in (("image/gif", ".gif"), ("image/webp", ".webp")):
        animation = client.post("/v1/interpolate", json=body, headers={"accept": kind})
        assert (animation.headers["content-type"], animation.headers["x-glow-way"]) == (kind, "line")
        assert animation.content == animation_bytes(frames, suffix)
    del body["given"]
    inferred = client.post("/v1/interpolate", json=body).json()["given"]
    assert inferred == model.vocabulary.format(pipeline.infer(model, IMAGES[:3]))


@pytest.mark.parametrize("spherical", [True, False])
def test_frames_at_positions(model: LoadedModel, client: httpx.Client, spherical: bool) -> None:
    for num_images, places in ((2, [[0.25], [1]]), (4, [[0.25, 0.5], [1, 0], [0, 1]])):
        body = {"images": FILES[:num_images], "given": list(range(num_images)), "spherical": spherical}
        answer = client.post("/v1/interpolate", json={**body, "at": places}).json()
        frames = torch.stack([from_base64(frame) for frame in answer["frames"]])
        weights = torch.tensor(places)[:, None].expand(-1, 2, -1)
        weights = weights.squeeze(2) if num_images == 2 else weights
        chosen = (IMAGES[:num_images], weights, torch.arange(num_images))
        assert torch.equal(frames, pipeline.blend(model, *chosen, spherical=spherical))
        assert torch.equal(frames[1], IMAGES[1])
    for kind, wanted in ((PNG, PNG), ("image/gif", JSON)):  # one frame is no animation
        response = client.post("/v1/interpolate", json={**body, "at": places[:1]}, headers={"accept": kind})
        assert response.headers["content-type"] == wanted


def test_edits(model: LoadedModel, client: httpx.Client, direction: Direction) -> None:
    body = {"image": FILES[0], "edits": [{"direction": "smile", "strength": 0}], "given": 1}
    assert torch.equal(from_base64(client.post("/v1/edit", json=body).json()["image"]), IMAGES[0])
    body["edits"] = [{"direction": "smile", "strength": 1.5}, {"direction": "smile", "strength": -0.5}]
    answer = client.post("/v1/edit", json=body).json()
    expected = pipeline.edit(model, IMAGES[:1], [(direction, 1.5), (direction, -0.5)], torch.tensor([1]))
    assert torch.equal(from_base64(answer["image"]), expected[0])
    assert not torch.equal(expected, IMAGES[:1])
    assert answer["given"] == "b"
    body["edits"] = [{"direction": "no such"}]
    response = client.post("/v1/edit", json=body)
    assert (response.status_code, error_of(response)["code"]) == (404, "unknown_direction")


def test_attributes_are_given_changed_and_inferred() -> None:
    torch.manual_seed(0)
    kinds: dict[str, Kind] = {"smiling": "yes_no", "hat": "yes_no", "age": "real", "hue": "circular"}
    model = tiny_model(conditioning=AttributeConditioning(kinds))
    with running(create_app(model, LIMITS)) as client:
        assert client.get("/v1/info").json()["given"] == model.vocabulary.describe()
        given = {"smiling": 1, "age": 0.3}
        asked = {"count": 2, "seed": 7, "guidance": 1.5, "given": given}
        answer = client.post("/v1/sample", json=asked).json()
        drawn = model.vocabulary.format(model.vocabulary.default([7, 8], model.vocabulary.parse(given, 2)))
        assert [one["given"] for one in answer["images"]] == drawn
        expected = pipeline.sample_batches(model, 2, 0.7, 7, [given], guidance=1.5)
        assert all(map(same_pictures, images_of(answer), (image for _, image in expected)))
        answer = client.post("/v1/sample", json={"seed": 7, "guidance": 1.5}).json()
        assert (answer["guidance"], answer["images"][0]["given"].keys()) == (1.5, kinds.keys())

        drawn = answer["images"][0]
        encoded = client.post("/v1/encode", json={"images": [drawn["image"]]})
        rounded = {name: round(value, 3) for name, value in drawn["given"].items()}
        assert model.vocabulary.format(load_latents(encoded.content, model).given) == [rounded]
        edited = client.post("/v1/edit", json={"image": drawn["image"], "attributes": {}}).json()
        assert (edited["given"], edited["given_by"]) == (rounded, "picture")
        nameless = as_base64(png_bytes(to_pil(IMAGES[0]), {"seed": 3, "given": "from a model with other attributes"}))
        for picture in (edited["image"], nameless):
            answer = client.post("/v1/edit", json={"image": picture, "attributes": {}}).json()
            assert answer["given_by"] == "inference"

        first = client.post("/v1/edit", json={"image": FILES[0], "attributes": {}, "given": given}).json()
        assert first["given_by"] == "request"
        assert torch.equal(from_base64(first["image"]), IMAGES[0])
        assert first["given"] == model.vocabulary.format(pipeline.infer(model, IMAGES[:1], given))[0]
        changes = {"smiling": 0, "hat": True, "hue": 0.2}
        for known in (given, first["given"]):
            body = {"image": FILES[0], "attributes": changes, "given": known, "strength": 1.5}
            answer = client.post("/v1/edit", json=body).json()
            assert answer["given"] == first["given"]
            assert torch.equal(
                from_base64(answer["image"]), pipeline.edit_attributes(model, IMAGES[:1], changes, given, 1.5)[0]
            )
        picture = client.post("/v1/edit", json=body, headers={"accept": PNG}).content
        assert text_of(picture)["attributes"] == "no smiling, hat, hue 0.2"
        wrong: list[tuple[str, dict[str, Any], str]] = [
            ("sample", {"given": {"smile": 1}}, "given: "),
            ("sample", {"given": {"hat": 0.5}}, "given: "),
            ("edit", {"image": FILES[0], "attributes": {"smile": 1}}, "attributes: "),
            ("edit", {"image": FILES[0], "attributes": {"smiling": 2}}, "attributes: "),
            ("edit", {"image": FILES[0], "attributes": {"age": "old"}}, "attributes.age: "),
            ("edit", {"image": FILES[0], "attributes": {}, "strength": 101}, "strength: "),
        ]
        for path, body, message in wrong:
            response = client.post(f"/v1/{path}", json=body)
            assert response.status_code == 422
            assert error_of(response)["message"].startswith(message), message


def test_a_picture_is_decoded_only_once(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    fields, read = list[str](), Decoder.read

    async def counted(decoder: Decoder, field: str, *arguments: Any) -> Photo:
        fields.append(field)
        return await read(decoder, field, *arguments)

    monkeypatch.setattr(Decoder, "read", counted)
    sent = {"images": [as_base64(image) for image in random_images(2, seed=11)]}
    answers = [client.post("/v1/reconstruct", json=sent).json() for _ in range(2)]
    assert answers[0]["images"] == answers[1]["images"]
    assert fields == ["images[0]", "images[1]"]


def test_reconstruction_reports_errors(plain: httpx.Client, client: httpx.Client) -> None:
    answer = plain.post("/v1/reconstruct", json={"images": FILES[:2]}).json()
    assert answer["max_pixel_error"] == 0
    assert 0 < answer["max_quantisation"] < 8
    found = torch.stack([from_base64(image) for image in answer["images"]])
    assert torch.equal(found, tiny_model(num_bits=5).quantised(IMAGES[:2]))
    assert answer["given"] is None
    wide = Image.new("L", (30, 20), 100)
    answer = client.post("/v1/reconstruct", json={"images": [as_base64(wide)], "given": ["b"]}).json()
    assert (answer["given"], answer["notes"]) == (["b"], ["cropped and reduced to 8x8"])
    assert bool((from_base64(answer["images"][0]) == 100).all())


def test_latents_are_those_of_python_and_decode_exactly(model: LoadedModel, client: httpx.Client) -> None:
    given = torch.tensor([1, 2])
    latents = Latents(model.encode(IMAGES[:2], given), ["0000", "0001"], given)
    content = latents_bytes(latents, model)
    encoded = client.post("/v1/encode", json={"images": FILES[:2], "given": ["b", 2]})
    assert encoded.headers["content-type"] == "application/octet-stream"
    read = load_latents(encoded.content, model)
    torch.testing.assert_close(read.levels, latents.levels)
    assert (read.names, str(read.given)) == (latents.names, "tensor([1, 2])")

    def decode(content: bytes, accept: str = JSON) -> httpx.Response:
        return client.post("/v1/decode", content=content, headers={"content-type": OCTETS, "accept": accept})

    answer = decode(encoded.content).json()
    assert torch.equal(torch.stack(list(map(from_base64, answer["images"]))), IMAGES[:2])
    assert answer["given"] == ["b", "c"]
    assert decode(encoded.content, PNG).headers["content-type"] == "application/zip"
    other = tiny_model(num_classes=5)
    infinite = Latents([level * math.inf for level in latents.levels], latents.names, given)
    for wrong, of, message in (
        (latents, other, "the latents in the body belong"),
        (Latents(latents.levels[1:], latents.names, given), model, "the body is damaged"),
        (Latents(latents.levels, latents.names, given + 9), model, "classes are"),
        (Latents([level[:0] for level in latents.levels], []), model, "expected at least"),
        (Latents([level[:1].expand(21, -1, -1, -1) for level in latents.levels], ["a"] * 21), model, "latents: "),
        (infinite, model, ""),
    ):
        response = decode(latents_bytes(wrong, of))
        assert (response.status_code, error_of(response)["message"][: len(message)]) == (422, message)
    header = b"{" + b'"a":{},' * 1000 + b"}"
    for damaged in (content[:99], b"x" * 100, len(header).to_bytes(8, "little") + header, b"\xff" * 100):
        assert decode(damaged).status_code == 422


def test_scores_equal_those_of_python(model: LoadedModel, client: httpx.Client) -> None:
    body = {"images": FILES[:2], "draws": 3, "seed": 11}
    answer = client.post("/v1/score", json=body).json()
    measures = pipeline.measure(model, IMAGES[:2], draws=3, seeds=[11, 12])
    bits = measures.bits_per_dim.tolist()
    assert [one["bits_per_dim"] for one in answer["scores"]] == pytest.approx(bits, rel=1e-4, abs=1e-4)
    assert [one["given"] for one in answer["scores"]] == model.vocabulary.format(measures.given)
    given = client.post("/v1/score", json={**body, "given": [0, "A"]}).json()["scores"]
    assert [one["given"] for one in given] == ["a", "a"]
    assert answer["usual"] is None
    unknown = {"verdict", "reason", "oddness", "percentile", "note"}
    assert {name for name, value in answer["scores"][0].items() if value is None} == unknown


def test_verdicts_use_the_models_reference(model: LoadedModel) -> None:
    images = random_images(20, seed=1)
    measures = pipeline.measure(model, images)
    reference = pipeline.Reference.of(pipeline.measure(model, random_images(60)))
    facts = {**TRAINING, "reference": reference.to_plain()}
    with running(create_app(model, training=facts)) as client:
        assert client.get("/v1/info").json()["training"] == {"val/bpd": 3.5, "step": 11802}
        answer = client.post("/v1/score", json={"images": [as_base64(image) for image in images]}).json()
    assert answer["usual"] == "60 ordinary images"
    for one, verdict in zip(answer["scores"], reference.judge(measures), strict=True):
        assert (one["verdict"], one["reason"]) == (verdict.verdict, verdict.reason)
        assert one["percentile"] == pytest.approx(verdict.percentile, abs=0.1)
    with pytest.raises(ValueError, match="the reference of the model's scores is damaged"):
        create_app(model, training={"reference": {**reference.to_plain(), "mean": []}})


def test_info_describes_the_model_and_the_limits(model: LoadedModel, client: httpx.Client, plain: httpx.Client) -> None:
    info = client.get("/v1/info").json()
    assert info["model"] == model.hash
    assert info["image_shape"] == [3, 8, 8]
    assert (info["num_bits"], info["num_levels"], info["guided"]) == (8, 2, True)
    assert info["given"] == {"kind": "ClassConditioning", "values": ["a", "b", "c", "d"], "attributes": []}
    assert info["directions"] == ["smile", CYRILLIC]
    assert info["training"] == {"val/bpd": 3.5, "step": 11802}
    assert info["limits"]["count"] == 20
    info = plain.get("/v1/info").json()
    assert (info["given"], info["guided"]) == (None, False)


FORMS: list[tuple[str, dict[str, Any], list[tuple[str, Any]]]] = [
    ("sample", {"count": 2, "seed": 7, "temperature": [0.5, 0.8]}, [("temperature", "0.5"), ("temperature", "0.8")]),
    ("sample", {"count": 2, "seed": 7, "given": "b", "size": None}, [("given", "b")]),
    ("edit", {"image": 0, "edits": [{"direction": "smile", "strength": 2}]}, [
        ("image", 0), ("edits", '{"direction": "smile", "strength": 2}')]),
    ("interpolate", {"images": [0, 1], "at": [[0.25], [1]], "spherical": False, "given": ["a", 1]}, [
        ("images", 0), ("images", 1), ("at", "[[0.25], [1]]"), ("spherical", "False"), ("given", "a"), ("given", "1")]),
    ("reconstruct", {"images": [0]}, [("images", 0)]),
    ("score", {"images": [0], "draws": 2}, [("images", 0), ("draws", "2")]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "fields"), FORMS, ids=range(len(FORMS)))
def test_forms_mean_the_same_as_json(
    path: str, body: dict[str, Any], fields: list[tuple[str, Any]], client: httpx.Client
) -> None:
    for name, value in body.items():
        if name in ("image", "images"):
            body = body | {name: FILES[value] if name == "image" else [FILES[number] for number in value]}
    files = [(name, as_file(IMAGES[value]) if isinstance(value, int) else (None, value)) for name, value in fields]
    sent = {name for name, _ in fields}
    files += [(name, (None, str(value))) for name, value in body.items() if name not in sent]
    response = client.post(f"/v1/{path}", files=files)
    assert response.status_code == 200, response.text
    assert response.json() == client.post(f"/v1/{path}", json=body).json()


@pytest.mark.parametrize(
    ("files", "status", "message"),
    [
        ([("images", ("a.png", b"no picture"))], 415, "images[0]: "),
        ([("images", (None, "?"))], 422, "images[0]: "),
        ([("images", as_file(IMAGES[0])), ("given", ("a.bin", bytes(1000)))], 422, "given: "),
        ([("images", as_file(IMAGES[0])), ("given", (None, "[" * 400))], 422, "given: "),
        ([("images", as_file(IMAGES[0])), ("given", (None, "[" * 2000))], 422, "the body has more than "),
        ([("images", as_file(IMAGES[0])), ("draws", (None, "many"))], 422, "draws: "),
        ([("images", as_file(IMAGES[0])), ("draws.x", (None, "1"))], 422, "draws: "),
        ([("images", as_file(IMAGES[0]))] * 21, 422, "images: "),
        ([("picture", as_file(IMAGES[0]))], 422, "picture: expected no file; the fields of files are image, images"),
        ([("colour", (None, "1"))] * 2000, 422, "the form is invalid: "),
        ([("images", (None, "A" * 2**21))], 422, "the form is invalid: "),
    ],
)
def test_invalid_forms_are_refused(
    files: list[tuple[str, Any]], status: int, message: str, client: httpx.Client
) -> None:
    response = client.post("/v1/score", files=files)
    assert (response.status_code, error_of(response)["message"][: len(message)]) == (status, message)


def test_forms_without_a_boundary_or_an_end_are_refused(client: httpx.Client) -> None:
    start = b'--b\r\nContent-Disposition: form-data; name="count"\r\n'
    for boundary, body in (
        ("", b""),
        ("; boundary=b", b"x" + start),
        ("; boundary=b", b"--b\r\nA: b\r\n\r\n1\r\n--b--"),
    ):
        headers = {"content-type": f"multipart/form-data{boundary}"}
        response = client.post("/v1/sample", content=body, headers=headers)
        assert (response.status_code, error_of(response)["code"]) == (422, "invalid_request"), body


INVALID: list[tuple[str, Any, str]] = [
    ("sample", {"count": 21}, "count: "),
    ("sample", {"count": "2"}, "count: "),
    ("sample", {"count": True}, "count: "),
    ("sample", {"temperature": [0.1, 0.2, 0.3]}, "got 3 temperatures"),
    ("sample", {"temperature": [0.7, "hot", -1]}, "temperature[1]: "),
    ("sample", {"temperature": 101}, "temperature: "),
    ("sample", {"guidance": 10.1}, "guidance: "),
    ("sample", {"count": 2, "seed": 2**31 - 1}, "seed: "),
    ("sample", {"colour": 1}, "colour: there is no such field"),
    ("sample", [1], "the body: "),
    ("interpolate", {"images": FILES[:1]}, "images: "),
    ("interpolate", {"images": FILES[:3], "frames": 20}, "frames: "),
    ("interpolate", {"images": FILES[:3], "at": [[0.5]]}, "at: "),
    ("interpolate", {"images": FILES[:2], "at": [[0], [0, 1]]}, "at: "),
    ("interpolate", {"images": FILES[:2], "at": [[0]] * 21}, "at: "),
    ("interpolate", {"images": FILES[:2], "at": [[2]]}, "at[0][0]: "),
    ("score", {"images": FILES[:2], "draws": 41}, "draws times images: "),
    ("score", {"images": FILES[:1], "given": [0, 1]}, "given: "),
    ("reconstruct", {"images": [FILES[0], "?"]}, "images[1]: "),
    ("reconstruct", {"images": [FILES[0], "\u00e4"]}, "images[1]: "),
    ("reconstruct", {"images": [FILES[0], 3]}, "images[1]: "),
    ("edit", {"image": FILES[0], "edits": [{"direction": "smile"}, {"strength": 1}]}, "edits[1].direction: "),
    ("edit", {"image": FILES[0]}, "expected either edits or attributes"),
    ("edit", {"image": FILES[0], "attributes": {"smiling": 1}}, "attributes: "),
]


@pytest.mark.parametrize(("path", "body", "message"), INVALID, ids=range(len(INVALID)))
def test_invalid_values_are_refused_with_their_field(path: str, body: Any, message: str, client: httpx.Client) -> None:
    response = client.post(f"/v1/{path}", json=body)
    assert response.status_code == 422
    assert error_of(response)["message"].startswith(message)


@pytest.mark.parametrize(("picture", "status"), [(b"no picture", 415), (Image.new("L", (10_001, 1)), 413)])
def test_unsuitable_pictures_are_refused_with_their_place(picture: Any, status: int, client: httpx.Client) -> None:
    response = client.post("/v1/reconstruct", json={"images": [FILES[0], as_base64(picture)]})
    assert response.status_code == status
    assert error_of(response)["message"].startswith("images[1]: ")


STRANGE = [
    *("4", "-1", "1.5", "1.0", "true", "NaN", "Infinity", "1e400", "9" * 4000),
    *('""', '"e"', '"a\\u0000"', '"' + "A\\n" * 50_000 + '"'),
    *("{}", '{"a": 1}', "[]", "[[0]]", "[null]", '[{"a": 0}]', "[true]", "[0, 1]", "[" * 100 + "]" * 100),
]


@pytest.mark.parametrize("value", STRANGE, ids=[value[:9] for value in STRANGE])
def test_what_is_given_may_be_any_json(value: str, client: httpx.Client, plain: httpx.Client) -> None:
    bodies = {
        "sample": f'{{"given": {value}}}',
        "edit": f'{{"given": {value}, "image": "{FILES[0]}", "edits": [{{"direction": "smile"}}]}}',
        **dict.fromkeys(("reconstruct", "score"), f'{{"given": [{value}], "images": ["{FILES[0]}"]}}'),
        "interpolate": f'{{"given": [0, {value}], "images": ["{FILES[0]}", "{FILES[1]}"]}}',
    }
    for path, body in bodies.items():
        for each in (client, plain) if path != "edit" else (client,):
            response = each.post(f"/v1/{path}", content=body, headers={"content-type": JSON})
            message = error_of(response)["message"]
            assert response.status_code == 422, path
            assert message.startswith("given: "), path
            assert len(message) < 600, path
            assert message.isprintable(), path


@pytest.mark.parametrize(
    "text",
    ['{"temperature": NaN}', '{"temperature": 1e999}', '{"seed": 1' + "0" * 6000 + "}", "[" * 1100, "\u00e4", "{", ""],
)
def test_invalid_json_is_refused(text: str, client: httpx.Client) -> None:
    response = client.post("/v1/sample", content=text.encode("latin-1"), headers={"content-type": JSON})
    assert (response.status_code, error_of(response)["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("sample", '"given": "?"'),
        *((path, '"images": ["?", "?"]') for path in ("score", "encode", "reconstruct", "interpolate")),
        ("edit", '"image": "?", "edits": [{"direction": "smile"}]'),
        ("edit", '"image": "", "edits": [{"direction": "?"}]'),
        ("restore", '"image": "?"'),
    ],
)
def test_text_that_is_not_unicode_is_refused(path: str, field: str, client: httpx.Client) -> None:
    for surrogate in ("\\udfff", "\\ud800"):
        body = "{" + field.replace("?", f"AAAA{surrogate}") + "}"
        response = client.post(f"/v1/{path}", content=body, headers={"content-type": JSON})
        assert (response.status_code, error_of(response)["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.complex64])
def test_given_values_of_a_strange_type_are_refused(dtype: torch.dtype) -> None:
    model = tiny_model(conditioning=AttributeConditioning({"smiling": "yes_no", "age": "real"}))
    latents = Latents(model.encode(IMAGES[:1], [{}]), ["a"], torch.zeros(1, 2).to(dtype))
    with running(create_app(model)) as client:
        response = client.post("/v1/decode", content=latents_bytes(latents, model), headers={"content-type": OCTETS})
    assert response.status_code == 422
    assert str(dtype) in error_of(response)["message"]


def test_memory_is_returned_after_a_while_without_work(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    returned = threading.Event()
    monkeypatch.setattr("glow_app.server.service.KEPT_SECONDS", 0)
    monkeypatch.setattr("glow_app.server.service.return_memory", returned.set)
    with running(create_app(model)) as client:
        client.post("/v1/sample", json={})
        assert returned.wait(60)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library")
def test_memory_that_glibc_keeps_is_returned() -> None:
    program = """
from pathlib import Path
from glow_app.server.service import return_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
held = [bytes(100_000) for _ in range(2000)]
keep = bytes(100_000)
del held
before = resident()
return_memory()
print(before - resident())
"""
    settings = {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=2147483647:glibc.malloc.mmap_threshold=1073741823"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 100


def test_paths_and_methods(client: httpx.Client) -> None:
    assert error_of(client.get("/v1/nothing"))["code"] == "not_found"
    assert client.post("/v1/sample/", json={}, follow_redirects=False).status_code == 404
    response = client.get("/v1/sample")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    error_of(response)
    assert client.get("/").headers["content-type"].startswith("text/html")
    for path in ("/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/%2e%2e/app.py", "//etc/passwd"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(RuntimeError("/secret/path"), 500, "internal_error"), (FloatingPointError("not finite"), 422, "not_finite")],
)
def test_errors_do_not_leak_exceptions(
    error: Exception, status: int, code: str, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "reconstruct", Mock(side_effect=error))
    response = client.post("/v1/reconstruct", json={"images": FILES[:1]})
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert "secret" not in response.text


def test_metrics_and_health(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(model, Limits(queue=4))
    with running(app) as client:
        client.post("/v1/sample", json={"count": 3})
        client.post("/v1/sample", json={"count": 0})
        client.get("/nowhere/at/all")
        lines = client.get("/metrics").text.splitlines()
        values = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name[0] != "#"}
        assert (values["glow_queue_depth"], values["glow_queue_slots"]) == (0, 4)
        for endpoint, status in (("/v1/sample", 200), ("/v1/sample", 422), ("other", 404)):
            assert values[f'glow_request_seconds_count{{endpoint="{endpoint}",status="{status}"}}'] == 1
        assert not any("nowhere" in name for name in values), "a stranger could fill the memory with names"
        assert (client.get("/healthz").json(), client.head("/healthz").content) == ({"status": "ok"}, b"")
        assert client.get("/readyz").json() == {"status": "ready"}
        busy = BusyThread(app.state.service.thread)
        monkeypatch.setattr("glow_app.server.service._READY_SECONDS", 0)
        response = client.get("/readyz")
        assert (response.status_code, error_of(response)["code"]) == (503, "not_ready")
        assert client.get("/healthz").status_code == 200
        busy.release()
        app.state.service.thread.stop(10)
        for path in ("/healthz", "/readyz"):
            response = client.get(path)
            assert (response.status_code, error_of(response)["code"]) == (503, "model_ended")
        assert client.post("/v1/sample", json={}).status_code == 503
