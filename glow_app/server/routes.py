"""The endpoints of the API."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

import torch
from fastapi import APIRouter, Body, Request
from fastapi.responses import Response
from PIL import Image
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from torch import Tensor

from glow_app import __version__, generation
from glow_app.models.image_model import ImageModel
from glow_app.pictures.animations import animation_bytes
from glow_app.pictures.images import grid, png_bytes, strip, to_pil
from glow_app.server.accept import preferred
from glow_app.server.current import Current
from glow_app.server.errors import ErrorAnswer
from glow_app.server.examples import EXAMPLES
from glow_app.server.metrics import Metrics
from glow_app.server.parsing import ParsedRoute
from glow_app.server.pictures import encode_pngs, sampled_picture
from glow_app.server.schemas import (
    EditAnswer,
    EditRequest,
    Info,
    InterpolateAnswer,
    InterpolateRequest,
    ReconstructAnswer,
    ReconstructRequest,
    SampleAnswer,
    Sampled,
    SampleRequest,
    ScoreAnswer,
    ScoreRequest,
    Scores,
)
from glow_app.server.service import Service
from glow_app.server.use import CLIENT, FairTurns

__all__ = ["ERRORS", "api_routes"]

_ASCII = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

_ANIMATOR = ThreadPoolExecutor(1, thread_name_prefix="animator")

_WORDS = {
    401: "The key is missing or wrong.",
    404: "There is no such direction.",
    405: "The path accepts another method.",
    408: "The body arrived too slowly.",
    413: "The body is too large, or a picture has too many pixels or takes too long to decode.",
    415: "The Content-Type is not application/json, or a picture has an unknown format.",
    421: "The Host header names another server.",
    422: "The body is not JSON, holds too many values, a value is out of range, or a picture is damaged.",
    500: "The server failed.",
    503: "The queue is full or the server is stopping; retry after Retry-After seconds.",
    504: "The deadline has passed.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text} for status, text in _WORDS.items()
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: ERRORS.pop(404)}  # of the one endpoint that looks for something


SampleBody = Annotated[SampleRequest, Body(openapi_examples=EXAMPLES["sample"])]
InterpolateBody = Annotated[InterpolateRequest, Body(openapi_examples=EXAMPLES["interpolate"])]
ReconstructBody = Annotated[ReconstructRequest, Body(openapi_examples=EXAMPLES["reconstruct"])]
EditBody = Annotated[EditRequest, Body()]
ScoreBody = Annotated[ScoreRequest, Body(openapi_examples=EXAMPLES["score"])]


PNG, ANIMATIONS = "image/png", {"image/gif": ".gif", "image/webp": ".webp"}


def _pictured(what: str, kinds: Sequence[str] = (PNG,)) -> dict[int | str, dict[str, Any]]:
    """Return the answers of an endpoint that gives a picture where one is asked for."""
    description = f"JSON; with `Accept: image/png` {what}. What made it is in text chunks and in headers X-Glow-..."
    return {**ERRORS, 200: {"description": description, "content": {kind: {} for kind in kinds}}}


def api_routes(current: Current, metrics: Metrics) -> APIRouter:
    """Return what lies below ``/v1/``.

    Args:
        current: What the endpoints do.
        metrics: Counts images.
    """
    router = APIRouter(prefix="/v1", route_class=ParsedRoute)

    # One at a time: those of many clients would leave the model's thread no processor.
    animations = FairTurns()

    told = "a strip of the frames, with `image/gif` or `image/webp` an animation of them, there and back"
    interpolated = _pictured(told, [PNG, *ANIMATIONS])

    async def respond(
        request: Request,
        answer: BaseModel,
        count: int,
        text: Mapping[str, Any],
        picture: Callable[[], Image.Image],
        frames: Tensor | None = None,
    ) -> Response:
        metrics.images.labels(request.url.path).inc(count)
        kinds = [PNG] if frames is None else [PNG, *ANIMATIONS]
        kind = preferred(",".join(request.headers.getlist("accept")), kinds)
        if kind is None:
            return Response(answer.model_dump_json(), media_type="application/json")
        if kind == PNG or frames is None:
            content = await run_in_threadpool(lambda: png_bytes(picture(), text))
        else:
            encode = partial(animation_bytes, frames, ANIMATIONS[kind])
            async with animations.take(CLIENT.get(), len(frames)):
                content = await asyncio.get_running_loop().run_in_executor(_ANIMATOR, encode)
        return Response(content, media_type=kind, headers=_headers(text))

    @router.get("/info", responses={status: ERRORS[status] for status in (401, 405, 421, 500)})
    async def show_info() -> Info:
        """Describe the model and the limits of this server."""
        return current.service.info

    @router.post("/sample", response_model=SampleAnswer, responses=_pictured("the image, or a grid of several"))
    async def sample(body: SampleBody, request: Request) -> Response:
        """Draw images; a seed gives the image that `glow sample` gives for it."""
        service = current.service
        label = None if body.label is None else service.label(body.label)
        settings = service.settings(body.temperature, body.guidance)
        seed, images, labels = await service.sample(body.count, settings, body.seed, label)
        made: dict[str, Any] = {**settings.facts, **_model_facts(service)}
        texts = [
            {
                "seed": seed + number,
                **made,
                **({} if labels is None else generation.class_facts(service.model, labels[number])),
            }
            for number in range(len(images))
        ]
        drawn = [
            Sampled(image=png, seed=text["seed"], label=text.get("label"))
            for png, text in zip(await encode_pngs(images, texts), texts, strict=True)
        ]
        classes = {} if label is None else generation.class_facts(service.model, label)
        shared = texts[0] if len(texts) == 1 else {"seed": seed, "count": len(texts), **made, **classes}
        answer = SampleAnswer(
            images=drawn,
            temperature=service.temperatures(settings.temperature),
            guidance=settings.guidance,
            model=service.info.model,
        )
        picture = partial(sampled_picture, service.model, images, seed, label)
        return await respond(request, answer, len(images), shared, picture)

    @router.post("/interpolate", response_model=InterpolateAnswer, responses=interpolated)
    async def interpolate(body: InterpolateBody, request: Request) -> Response:
        """Interpolate between images through the model's latents."""
        service = current.service
        places = None if body.at is None else service.places(body.at, len(body.images))
        if places is None:
            service.check_count((len(body.images) - 1) * (body.frames - 1) + 1, "frames")
        images, notes = await service.read(body.images)
        given = service.labels(body.labels, images)

        def work(model: ImageModel) -> tuple[Tensor, Tensor | None]:
            labels = _labels(model, images, given)
            if places is None:
                return generation.interpolate(model, images, body.frames, labels, spherical=body.spherical), labels
            return generation.blend(model, images, places, labels, spherical=body.spherical), labels

        frames, labels = await service.run(work)
        answer = InterpolateAnswer(frames=await encode_pngs(frames), labels=_listed(labels), notes=notes)
        classes = {} if labels is None else generation.class_facts(service.model, *labels.tolist())
        text = {
            "frames": len(frames),
            **classes,
            "way": "arc" if body.spherical else "line",
            **_model_facts(service),
        }
        if len(frames) == 1:
            return await respond(request, answer, 1, text, partial(to_pil, frames[0]))
        picture = partial(strip, frames, body.frames if places is None else len(frames))
        return await respond(request, answer, len(frames), text, picture, frames)

    @router.post("/edit", response_model=EditAnswer, responses=_pictured("the changed image") | NOT_FOUND)
    async def edit(body: EditBody, request: Request) -> Response:
        """Change attributes of an image."""
        service = current.service
        strengths = [(service.direction(one.direction), one.strength) for one in body.edits]
        images, notes = await service.read([body.image], "image")
        given = None if body.label is None else torch.tensor([service.label(body.label)])

        def work(model: ImageModel) -> tuple[Tensor, Tensor | None]:
            labels = _labels(model, images, given)
            return generation.edit(model, images, strengths, labels), labels

        changed, labels = await service.run(work)
        label = None if labels is None else int(labels[0])
        made = {name: [getattr(one, name) for one in body.edits] for name in ("direction", "strength")}
        one_each = {name: values[0] if len(values) == 1 else json.dumps(values) for name, values in made.items()}
        classes = {} if label is None else generation.class_facts(service.model, label)
        text = {**one_each, **classes, **_model_facts(service)}
        answer = EditAnswer(image=(await encode_pngs(changed, [text]))[0], label=label, note=notes[0])
        return await respond(request, answer, 1, text, partial(to_pil, changed[0]))

    @router.post("/reconstruct", response_model=ReconstructAnswer, responses=_pictured("the images"))
    async def reconstruct(body: ReconstructBody, request: Request) -> Response:
        """Encode and decode images, and return the largest pixel error."""
        service = current.service
        images, notes = await service.read(body.images)
        given = service.labels(body.labels, images)

        def work(model: ImageModel) -> tuple[generation.Reconstruction, Tensor | None]:
            labels = _labels(model, images, given)
            return generation.reconstruct(model, images, labels), labels

        result, labels = await service.run(work)
        errors = {"max_pixel_error": result.max_pixel_error, "max_quantisation": result.max_quantisation}
        pngs = await encode_pngs(result.images)
        answer = ReconstructAnswer(images=pngs, labels=_listed(labels), notes=notes, **errors)
        images = result.images
        picture = partial(to_pil, images[0]) if len(images) == 1 else partial(grid, images)
        return await respond(request, answer, len(images), {**errors, **_model_facts(service)}, picture)

    @router.post("/score", responses=ERRORS)
    async def score(body: ScoreBody, request: Request) -> ScoreAnswer:
        """Score images: bits/dim, scores of oddity, and a verdict."""
        service = current.service
        service.check_count(body.draws, "draws", service.limits.draws)
        service.check_count(body.draws * len(body.images), "draws times images", 4 * service.limits.count)
        images, notes = await service.read(body.images)
        given = service.labels(body.labels, images)
        seeds = range(body.seed, body.seed + len(images))

        def work(model: ImageModel) -> tuple[dict[str, Tensor], list[generation.Verdict], Tensor | None]:
            measures = generation.measure(model, images, given, num_draws=body.draws, seeds=seeds)
            reference = service.reference()
            return generation.oddities(measures, reference.typical), reference.judge(measures), measures.labels

        values, verdicts, labels = await service.run(work)
        metrics.images.labels(request.url.path).inc(len(images))
        scores = [
            Scores(
                **{name: float(value[number]) for name, value in values.items()},
                verdict=verdicts[number].word,
                reason=verdicts[number].reason,
                oddness=verdicts[number].oddness,
                percentiles=verdicts[number].percentiles,
                label=None if labels is None else int(labels[number]),
                note=note,
            )
            for number, note in enumerate(notes)
        ]
        return ScoreAnswer(scores=scores, draws=body.draws, usual=service.usual)

    return router


def _model_facts(service: Service) -> dict[str, str]:
    """Return what a picture says of the model that made it."""
    return {"model": service.info.model, "version": __version__}


def _labels(model: ImageModel, images: Tensor, given: Tensor | None) -> Tensor | None:
    """Return the classes that were given, or else the most probable; None where the model has none."""
    if given is not None or model.flow.num_classes is None:
        return given
    return generation.infer_labels(model, images)


def _headers(text: Mapping[str, Any]) -> dict[str, str]:
    """Return what a picture's text says as headers, which hold ASCII: other letters as in an address, by ``%``."""
    return {f"X-Glow-{name.replace('_', '-').title()}": quote(str(value), _ASCII) for name, value in text.items()}


def _listed(labels: Tensor | None) -> list[int] | None:
    return None if labels is None else labels.tolist()
