"""Restoring over HTTP: draws equal those of Python, and other requests are answered between tiles."""

import base64
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import httpx
import numpy as np
import pytest
import torch
from app_client import as_base64, as_file, connected, error_of, from_base64, png, rotated, running, saved, wait_until
from pictures.test_picture_file import IFD0, PLACE, XMP, tags
from PIL import Image
from PIL.ExifTags import IFD, Base
from registry import mark_trained, random_images, tiny_model, tiny_restorer, tiny_wavelet_flow

from glow_app import restoration
from glow_app.flows import Glow
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.pictures.images import to_pil
from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.priors import MAFPrior
from glow_app.restoration import Clean, Colourise, Fill, PictureConditioning, RestorationTask, Upscale
from glow_app.server.app import create_app
from glow_app.server.limits import Limits
from glow_app.server.restorer import Restorer
from glow_app.spec import register

restore_module = __import__("glow_app.restoration.restoring", fromlist=["TILE"])


@register("lit")
class Lit(RestorationTask):
    """Brighten pictures taken with a share of the light."""

    takes: ClassVar = {"light": "number"}

    def damage(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return images // 2

    def prepare(self, picture: torch.Tensor, **inputs: Any) -> torch.Tensor:
        super().prepare(picture, **inputs)
        light = inputs.get("light", 1.0)
        if not 0 < light <= 1:
            raise ValueError("light: expected a share")
        return (picture * light).to(torch.uint8)


LIMITS = Limits(count=8, restored_pixels=20_000, estimated_pixels=40_000)
MODELS = {
    "larger": tiny_restorer(Upscale()),
    "clean": tiny_restorer(Clean()),
    "colour": tiny_restorer(Colourise()),
    "whole": tiny_restorer(Fill()),
    "lit": tiny_restorer(Lit()),
    "bands": LoadedModel(tiny_wavelet_flow(), 5).eval(),
}
MODELS["clean"].generation = GenerationSettings((0.5, 0.8))
PICTURE = random_images(1, (3, 9, 13))[0] // 2 + 64
MASK = torch.zeros(1, 9, 13, dtype=torch.uint8).index_fill(1, torch.tensor([2, 3]), 200)
BROKEN = {"image": as_base64(b"no picture")}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    restorers = [Restorer(name, model) for name, model in MODELS.items()]
    with running(create_app(tiny_model(), LIMITS, restorers=restorers)) as client:
        yield client


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TILE": 128, "OVERLAP": 64, "MARGIN": 16}.items():
        monkeypatch.setattr(f"glow_app.restoration.tiles.{name}", value)
    monkeypatch.setattr(restore_module, "_PIXELS_AT_A_TIME", 1)


CASES: dict[str, tuple[dict[str, Any], torch.Tensor, dict[str, Any]]] = {
    "larger": ({}, PICTURE, {}),
    "bands": ({}, PICTURE, {"temperature": [0.7] * 3}),
    "lit": ({"inputs": {"light": 0.4}}, Lit().prepare(PICTURE, light=0.4), {}),
    "colour": ({}, PICTURE[:1], {}),
    "whole": (
        {"inputs": {"mask": as_base64(MASK)}, "temperature": [0.3, 0.9]},
        Fill().prepare(PICTURE, mask=MASK),
        {"temperature": [0.3, 0.9]},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_draws_equal_those_of_python(name: str, client: httpx.Client) -> None:
    options, damaged, facts = CASES[name]
    sent = PICTURE[:1] if name == "colour" else PICTURE
    body = {"image": as_base64(sent), "restorer": name, "count": 3, "seed": 7, **options}
    answer = client.post("/v1/restore", json=body).json()
    expected = restoration.restore(MODELS[name], damaged, 3, options.get("temperature"), 7)
    assert [one["seed"] for one in answer["images"]] == [7, 8, 9]
    assert torch.equal(torch.stack([from_base64(one["image"]) for one in answer["images"]]), expected.draws)
    for kind in ("mean", "base"):
        assert torch.equal(from_base64(answer[kind]), getattr(expected, kind))
    assert torch.equal(from_base64(answer["spread"]), expected.shown_spread)
    assert answer["overshoot"] == expected.overshoot.tolist()
    plain = {"facts": {}, "temperature": [0.7, 0.7], "restorer": name, "model": MODELS[name].hash}
    assert {key: answer[key] for key in plain} == plain | facts


def test_a_form_has_the_picture_and_inputs_as_files(client: httpx.Client) -> None:
    fields = {"restorer": "whole", "count": "2", "seed": "7"}
    answer = client.post("/v1/restore", data=fields, files={"image": as_file(PICTURE), "inputs.mask": as_file(MASK)})
    inputs = {"mask": as_base64(MASK)}
    body = {"image": as_base64(PICTURE), "inputs": inputs, "restorer": "whole", "count": 2, "seed": 7}
    assert answer.json() == client.post("/v1/restore", json=body).json()
    answer = client.post(
        "/v1/restore", data=fields | {"inputs": "1"}, files={"image": as_file(PICTURE), "inputs.mask": as_file(MASK)}
    )
    assert (answer.status_code, error_of(answer)["message"][:8]) == (422, "inputs: ")


def test_large_pictures_are_restored_in_the_same_tiles(client: httpx.Client, tiles: None) -> None:
    wide = random_images(1, (1, 20, 400))[0] // 2 + 64
    body = {"image": as_base64(wide), "restorer": "colour", "count": 2, "seed": 3, "temperature": 40}
    answer = client.post("/v1/restore", json=body).json()
    expected = restoration.restore(MODELS["colour"], wide, 2, 40.0, 3)
    assert (expected.overshoot > 64).all(), "parts are drawn again"
    assert torch.equal(torch.stack([from_base64(one["image"]) for one in answer["images"]]), expected.draws)


@pytest.mark.parametrize("count", [1, 3])
def test_restorers_follow_each_other_in_one_request(count: int, client: httpx.Client) -> None:
    names = ["clean", "larger", "larger"]
    body = {"image": as_base64(PICTURE), "restorer": names, "count": count, "seed": 7}
    answer = client.post("/v1/restore", json=body).json()
    steps = [(MODELS[name], restoration.require_task(MODELS[name])) for name in names]
    expected = restoration.restore_successively(steps, PICTURE, count, 0.0 if count == 1 else None, 7)
    assert expected.draws.shape == (count, 3, 36, 52)
    assert torch.equal(torch.stack([from_base64(one["image"]) for one in answer["images"]]), expected.draws)
    assert (answer["restorer"], answer["note"]) == ("clean, larger, larger", expected.note)
    fields = {"restorer": names, "count": str(count), "seed": "7"}
    assert client.post("/v1/restore", data=fields, files={"image": as_file(PICTURE)}).json() == answer
    assert refused(client, restorer=["larger", "whole"])[0] == 422, "it takes a mask"


def test_results_too_long_for_the_format_are_refused(client: httpx.Client) -> None:
    form = {"image": saved(Image.new("RGB", (8192, 1)), "PNG")}
    answer = client.post("/v1/restore", data={"restorer": "larger"}, files=form, headers={"accept": "image/webp"})
    assert (answer.status_code, error_of(answer)["message"][:17]) == (422, "image: enlarged, ")


def test_defaults(client: httpx.Client) -> None:
    body = {"image": as_base64(PICTURE), "restorer": "clean"}
    answer = client.post("/v1/restore", json=body).json()
    assert answer["facts"] == restoration.restore(MODELS["clean"], PICTURE, 1, 0.0).facts
    (best,) = answer["images"]
    assert torch.equal(from_base64(best["image"]), restoration.restore(MODELS["clean"], PICTURE, 1, 0.0).draws[0])
    several = client.post("/v1/restore", json={**body, "count": 2}).json()
    assert [answer["temperature"], several["temperature"]] == [[0, 0], [0.5, 0.8]]
    assert client.post("/v1/restore", json={**body, "count": 2, "seed": several["images"][0]["seed"]}).json() == several


def test_pictures_are_turned_upright_and_changes_noted(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = Image.fromarray(PICTURE.permute(1, 2, 0).numpy())
    body = {"image": as_base64(rotated(coloured)), "restorer": "colour", "count": 1}
    answer = client.post("/v1/restore", json=body).json()
    grey = coloured.transpose(Image.Transpose.ROTATE_270).convert("L")
    assert from_base64(answer["base"])[:1].numpy().tobytes() == grey.tobytes()
    assert answer["note"] == "colours made grey"
    transparent = as_base64(saved(Image.fromarray(np.full((6, 4, 4), 128, np.uint8)), "PNG"))
    body = {"restorer": "clean", "count": 1, "temperature": 0}
    assert client.post("/v1/restore", json=body | {"image": as_base64(PICTURE)}).json()["note"] == "cleaned throughout"
    monkeypatch.setattr(Clean, "least_change", 1e3)
    note = client.post(
        "/v1/restore", json=body | {"image": transparent, "inputs": {}}, headers={"accept": "image/jpeg"}
    ).headers["x-glow-note"]
    assert note.startswith("transparency made white; it is clean")
    forced = client.post("/v1/restore", data={"restorer": "clean", "force": "true"}, files={"image": as_file(PICTURE)})
    expected = restoration.restore(MODELS["clean"], PICTURE, 1, 0.0, force=True)
    assert (forced.json()["facts"], forced.json()["note"]) == (expected.facts, "cleaned throughout")


def profiled(space: bytes, size: int) -> tuple[str, bytes]:
    """Return a picture with a colour profile, and the profile."""
    profile, buffer = bytes(16) + space + bytes(size - 20), io.BytesIO()
    to_pil(PICTURE).save(buffer, "PNG", icc_profile=profile)
    return as_base64(buffer.getvalue()), profile


def profile_of(content: bytes) -> bytes | None:
    with Image.open(io.BytesIO(content)) as picture:
        return picture.info.get("icc_profile")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_file_keeps_its_nature_unless_it_is_stripped(kind: str, client: httpx.Client) -> None:
    source = to_pil(PICTURE).convert("L")
    alpha = Image.linear_gradient("L").resize(source.size)
    source.putalpha(alpha)
    options = {"exif": tags(), "xmp": XMP, "dpi": (300, 300)}
    with_tags = saved(source.convert("L"), "JPEG", **options)
    transparent = saved(source, "PNG", **options)
    fields = {"restorer": "larger", "count": "1", "temperature": "0.5", "seed": "3"}
    accept = {"accept": f"image/{kind}"}

    def made(content: bytes, **more: str) -> Image.Image:
        answer = client.post("/v1/restore", data=fields | more, files={"image": content}, headers=accept)
        in_json = {"accept": f"application/json, image/{kind}"}
        same = client.post("/v1/restore", data=fields | more, files={"image": content}, headers=in_json).json()
        assert base64.b64decode(same["images"][0]["image"]) == answer.content
        return Image.open(io.BytesIO(answer.content))

    with made(with_tags) as picture, made(with_tags, strip="true") as stripped:
        assert picture.size == (18, 26), "turned"
        exif = picture.getexif()
        assert dict(exif).items() >= IFD0.items()
        assert Base.Orientation not in exif
        assert exif.get_ifd(IFD.Exif)[Base.ExifImageWidth] == 18
        assert exif.get_ifd(IFD.GPSInfo) == PLACE
        assert b"Ada" in picture.info["xmp"]
        assert kind == "webp" or np.allclose(picture.info["dpi"], 300, atol=0.1)
        assert kind == "webp" or picture.mode == "L"
        assert (np.ptp(np.asarray(picture.convert("RGB")), axis=2) <= 2).all(), "grey"
        assert not stripped.getexif().keys() & IFD0.keys()
        assert "xmp" not in stripped.info
    with made(transparent) as picture:
        assert picture.has_transparency_data == (kind != "jpeg")
        if kind == "png":
            expected = alpha.transpose(Image.Transpose.ROTATE_270).resize((18, 26), Image.Resampling.BICUBIC)
            assert np.array_equal(np.asarray(picture.getchannel("A")), np.asarray(expected))


def test_an_unchanged_file_is_returned(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clean, "least_change", 1e3)
    deep = saved(Image.new("I;16", (8, 8), 32896), "PNG")
    accept = {"accept": "image/png"}
    answer = client.post("/v1/restore", data={"restorer": "clean"}, files={"image": deep}, headers=accept)
    assert (answer.content, answer.headers["x-glow-note"][:11]) == (deep, "it is clean")


def test_the_colour_profile_is_kept(client: httpx.Client) -> None:
    image, profile = profiled(b"RGB ", 2**16)
    body = {"image": image, "restorer": "larger", "count": 2}
    answer = client.post("/v1/restore", json=body).json()
    pictures = [*(one["image"] for one in answer["images"]), answer["mean"], answer["base"]]
    assert [profile_of(base64.b64decode(picture)) for picture in pictures] == [profile] * 4
    assert profile_of(base64.b64decode(answer["spread"])) is None, "it is one for colours"
    for count, kind in ((1, "png"), (2, "png"), (1, "jpeg"), (2, "webp")):
        response = client.post("/v1/restore", json={**body, "count": count}, headers={"accept": f"image/{kind}"})
        assert list(map(profile_of, files_of(response))) == [profile] * count


def files_of(response: httpx.Response) -> list[bytes]:
    """Return the pictures of an answer."""
    if response.headers["content-type"] != "application/zip":
        return [response.content]
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        return list(map(archive.read, archive.namelist()))


def test_a_png_answer(client: httpx.Client) -> None:
    body = {"image": as_base64(PICTURE), "restorer": "clean", "temperature": [0.5, 0.8], "seed": 7}
    answer = client.post("/v1/restore", json=body, headers={"accept": "image/png"})
    expected = restoration.restore(MODELS["clean"], PICTURE, 1, None, 7)
    assert torch.equal(from_base64(as_base64(answer.content)), expected.draws[0])
    facts = {"seed": "7", "temperature": "[0.5, 0.8]", "restorer": "clean", "change": str(expected.facts["change"])}
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.info.items() >= facts.items()
    for name, value in facts.items():
        assert answer.headers[f"x-glow-{name}"] == value
    several = client.post("/v1/restore", json={**body, "count": 4}, headers={"accept": "image/png"})
    assert several.headers["x-glow-count"] == "4"
    draws = restoration.restore(MODELS["clean"], PICTURE, 4, None, 7).draws
    assert torch.equal(torch.stack([from_base64(as_base64(file)) for file in files_of(several)]), draws)


def refused(client: httpx.Client, **body: Any) -> tuple[int, str, str]:
    """Return status, code and message of a request for two draws."""
    response = client.post("/v1/restore", json={"image": as_base64(PICTURE), "count": 2, **body})
    error = error_of(response)
    return response.status_code, error["code"], error["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"restorer": "whole", "inputs": {"mask": as_base64(MASK[:, :, :5])}}, "inputs: mask: "),
        ({"restorer": "whole", "inputs": {"mask": as_base64(0 * MASK)}}, "inputs: mask: "),
        ({"restorer": "whole"}, "inputs: "),
        ({"restorer": "lit", "inputs": {"light": 2}}, "inputs: light: "),
        ({"restorer": "lit", "inputs": {"light": True}}, "inputs.light: "),
        ({"restorer": "larger", "temperature": [0.5]}, "got 1 temperatures"),
        ({"restorer": "larger", "count": 9}, "count: "),
        ({"restorer": "larger", "seed": 2**31 - 1}, "seed: "),
        # What a task does not take, before pictures are decoded.
        ({"restorer": "larger", "inputs": {"mask": as_base64(MASK)}, **BROKEN}, "inputs.mask: "),
        ({"restorer": "whole", "inputs": {"mask": as_base64(MASK), "light": 5}, **BROKEN}, "inputs.light: "),
        ({"restorer": "whole", "inputs": {"mask": 5}, **BROKEN}, "inputs.mask: "),
        ({"restorer": "lit", "inputs": {"light": "5"}, **BROKEN}, "inputs.light: "),
    ],
)
def test_invalid_requests_are_refused(body: dict[str, Any], message: str, client: httpx.Client) -> None:
    status, _, text = refused(client, **body)
    assert (status, text[: len(message)]) == (422, message)


def test_pictures_with_too_many_restored_pixels_are_not_decoded(client: httpx.Client) -> None:
    assert client.get("/v1/info").json()["limits"]["restored_pixels"] == 20_000
    largest, larger = (as_base64(png(50, height, b"")) for height in (50, 51))  # without any pixels inside
    assert refused(client, restorer="larger", image=largest)[:2] == (422, "damaged_image")
    status, code, message = refused(client, restorer="larger", image=larger)
    assert (status, code) == (413, "image_too_large")
    assert "2,500 pixels" in message
    mask = as_base64(png(101, 100, b""))
    assert "inputs.mask: " in (message := refused(client, restorer="whole", inputs={"mask": mask})[2])
    assert "10,000 pixels" in message
    assert refused(client, restorer="larger", image=as_base64(b"no picture"))[:2] == (415, "unknown_format")
    # One result at temperature 0 may have more.
    best, more = (as_base64(png(100, height, b"")) for height in (100, 101))
    assert refused(client, restorer="larger", image=best, count=1)[1] == "damaged_image"
    assert refused(client, restorer="larger", image=more, count=1)[1] == "image_too_large"
    assert refused(client, restorer="larger", image=best, count=1, temperature=0.1)[1] == "image_too_large"


def test_pictures_of_the_largest_size_can_be_doubled() -> None:
    assert 4 * Limits().pixels <= Limits().estimated_pixels <= restore_module._MOST_PIXELS


def test_restorers_are_listed(client: httpx.Client) -> None:
    app = create_app(tiny_model(), LIMITS, restorers=[Restorer("clean", MODELS["clean"], "photos")])
    with running(app) as single:
        (info,) = single.get("/v1/info").json()["restorers"]
        assert info == {
            "name": "clean", "task": "Clean", "factor": 1, "channels": 3, "takes": {}, "decides": True,
            "source": "photos", "model": MODELS["clean"].hash,
            "temperature": [0.5, 0.8],
        }  # fmt: skip
        body = {"image": as_base64(PICTURE), "count": 1}
        assert single.post("/v1/restore", json=body).json()["restorer"] == "clean", "the only one need not be named"
        status, code, message = refused(single, restorer="x")
        assert (status, code) == (404, "unknown_restorer")
        assert "clean" in message
    assert refused(client)[:2] == (404, "unknown_restorer"), "one of several must be named"
    restorers = [Restorer(name, MODELS["clean"]) for name in ("other", "photos-clean")]
    with running(create_app(tiny_model(), LIMITS, restorers=restorers)) as photos:
        body = {"image": as_base64(PICTURE)}
        assert photos.post("/v1/restore", json=body).json()["restorer"] == "photos-clean", (
            "unless photographs are cleaned"
        )


def test_a_restorer_for_only_one_size_is_refused() -> None:
    flow = Glow((3, 8, 8), 2, 1, 4, prior=MAFPrior, conditioning=PictureConditioning(Upscale(), 4, 1))
    with pytest.raises(ValueError, match="the restorer maf"):
        Restorer("maf", mark_trained(ImageModel(flow)))


class Gated:
    """Lets a model decode one tile at a time."""

    def __init__(self, model: ImageModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.allowed = 0, threading.Semaphore(0)
        self._decode_values = model.decode_values
        monkeypatch.setattr(model, "decode_values", self._decode)

    def _decode(self, *arguments: Any) -> torch.Tensor:
        self.begun += 1
        assert self.allowed.acquire(timeout=60)
        return self._decode_values(*arguments)


def test_others_are_answered_between_tiles(tiles: None, monkeypatch: pytest.MonkeyPatch) -> None:
    gated = Gated(MODELS["colour"], monkeypatch)
    app = create_app(tiny_model(), LIMITS, restorers=[Restorer("colour", MODELS["colour"])])
    body = {"image": as_base64(torch.full((1, 8, 300), 99, dtype=torch.uint8)), "restorer": "colour", "temperature": 1}

    def share(client: httpx.Client) -> float | None:
        answer = client.get("/v1/progress", params={"request_id": "mine"})
        return answer.json()["share"]

    with running(app) as client, ThreadPoolExecutor(2) as pool:
        restored = pool.submit(client.post, "/v1/restore", json=body, headers={"X-Request-ID": "mine"})
        wait_until(lambda: gated.begun == 1)
        assert share(client) == 1 / 9, "the estimate of a tile; a draw of it, three more tiles and the end are left"
        sampled = pool.submit(client.post, "/v1/sample", json={})
        wait_until(lambda: app.state.service.thread.num_waiting == 2)
        gated.allowed.release()
        assert sampled.result().status_code == 200
        assert not restored.done()
        gated.allowed.release()
        wait_until(lambda: gated.begun == 3)
        assert share(client) == 5 / 9, "the estimates of three tiles, and two of the draw"
        gated.allowed.release(10)
        assert restored.result().status_code == 200
        assert gated.begun == 4
        assert share(client) is None


def test_only_long_restorations_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    gated = Gated(MODELS["colour"], monkeypatch)
    app = create_app(tiny_model(), LIMITS, restorers=[Restorer("colour", MODELS["colour"])])
    service = app.state.service
    long, short = (
        {"image": as_base64(torch.full((1, 10, width), 99, dtype=torch.uint8)), "temperature": 1}
        for width in (101, 100)
    )
    monkeypatch.setattr("glow_app.server.routes._WAITING", 1)
    with running(app) as client, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(client.post, "/v1/restore", json=long) for _ in range(2)]
        wait_until(lambda: gated.begun == 1 and service.num_long == 2)
        assert client.post("/v1/restore", json=long).status_code == 503, "only so many wait"
        asked += [pool.submit(client.post, "/v1/restore", json=short) for _ in range(2)]
        wait_until(lambda: service.thread.num_waiting == 3)  # with that of the first
        gated.allowed.release(4)
        assert [one.result().status_code for one in asked] == [200] * 4


def test_restoring_stops_when_the_client_disconnects(
    client: httpx.Client, tiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = Gated(MODELS["colour"], monkeypatch)
    wide = as_base64(torch.full((1, 8, 300), 99, dtype=torch.uint8))
    body = json.dumps({"image": wide, "restorer": "colour", "temperature": 1})
    head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with connected(client, f"POST /v1/restore HTTP/1.1\r\n{head}{body}".encode()):
        wait_until(lambda: gated.begun == 1)
    wait_until(lambda: "glow_queue_depth 0.0" in client.get("/metrics").text)
    gated.allowed.release(10)
    assert client.post("/v1/sample", json={}).status_code == 200
    assert gated.begun == 1
