"""The endpoints of the API and for operators."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, TypeVar

import torch
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from PIL.Image import Image as PILImage
from starlette.concurrency import run_in_threadpool
from torch import Tensor

from glow_app import __version__, generation
from glow_app.generation.reference import plain_scores
from glow_app.models.class_labels import class_facts
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.pictures.images import grid, strip, to_pil, with_profile
from glow_app.server.errors import ERRORS, NOT_FOUND, model_ended, stopping
from glow_app.server.pictures import ANIMATIONS, PNG, encode_pngs, respond
from glow_app.server.schemas import (
    EditAnswer,
    EditRequest,
    Info,
    InterpolateAnswer,
    InterpolateRequest,
    ReconstructAnswer,
    ReconstructRequest,
    RestoreAnswer,
    RestoreRequest,
    SampleAnswer,
    Sampled,
    SampleRequest,
    ScoreAnswer,
    ScoreRequest,
    Scores,
)
from glow_app.server.service import Service

T = TypeVar("T")


def _responses(content: str, kinds: Sequence[str] = (PNG,)) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of an endpoint that can answer with a picture."""
    description = f"JSON; with `Accept: image/png` {content}. What made it is in text chunks and in headers X-Glow-..."
    return {**ERRORS, 200: {"description": description, "content": {kind: {} for kind in kinds}}}


_INTERPOLATED = _responses(
    "a strip of the frames, with `image/gif` or `image/webp` an animation of them, there and back", [PNG, *ANIMATIONS]
)


async def served(request: Request) -> Service:
    """Return the service of the current model."""
    service: Service = request.app.state.service
    return service


Served = Annotated[Service, Depends(served)]
API = APIRouter(prefix="/v1")
HEALTH = APIRouter()  # for operators: liveness, readiness and metrics
_ALIVE: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (421, 500, 503)}


@API.get("/info", responses={status: ERRORS[status] for status in (401, 405, 421, 500)})
async def show_info(service: Served) -> Info:
    """Describe the model and the limits of this server."""
    return service.info


@API.post("/sample", response_model=SampleAnswer, responses=_responses("the image, or a grid of several"))
async def sample(body: SampleRequest, request: Request, service: Served) -> Response:
    """Draw images; a seed gives the image that `glow sample` gives for it."""
    label = None if body.label is None else service.label(body.label)
    settings = service.settings(body.temperature, body.guidance)
    seed, images, labels = await service.sample(body.count, settings, body.seed, label)
    texts = [
        {"seed": seed + number, **settings.facts, **_facts(service, labels and [labels[number]])}
        for number in range(len(images))
    ]

    async def answer() -> SampleAnswer:
        return SampleAnswer(
            images=_sampled(await encode_pngs(images, texts), texts),
            temperature=service.temperatures(settings.temperature),
            guidance=settings.guidance,
            model=service.info.model,
        )

    drawn = Images(torch.stack(images), texts)
    picture = partial(to_pil, images[0]) if len(images) == 1 else partial(Images.grid, drawn)
    return await respond(request, answer, len(images), drawn.common_facts, picture)


@API.post("/interpolate", response_model=InterpolateAnswer, responses=_INTERPOLATED)
async def interpolate(body: InterpolateRequest, request: Request, service: Served) -> Response:
    """Interpolate between images through the model's latents."""
    places = None if body.at is None else service.places(body.at, len(body.images))
    if places is None:
        service.check_count((len(body.images) - 1) * (body.frames - 1) + 1, "frames")
    images, notes = await service.read(body.images)
    requested = service.labels(body.labels, images)

    def work(model: ImageModel, labels: Tensor | None) -> Tensor:
        if places is None:
            return generation.interpolate(model, images, body.frames, labels, spherical=body.spherical)
        return generation.blend(model, images, places, labels, spherical=body.spherical)

    frames, labels = await _run_with_labels(service, images, requested, work)

    async def answer() -> InterpolateAnswer:
        return InterpolateAnswer(frames=await encode_pngs(frames), labels=labels, notes=notes)

    text = {"frames": len(frames), "way": "arc" if body.spherical else "line", **_facts(service, labels)}
    if len(frames) == 1:
        return await respond(request, answer, 1, text, partial(to_pil, frames[0]))
    picture = partial(strip, frames, body.frames if places is None else len(frames))
    return await respond(request, answer, len(frames), text, picture, frames)


@API.post("/edit", response_model=EditAnswer, responses=_responses("the changed image") | NOT_FOUND)
async def edit(body: EditRequest, request: Request, service: Served) -> Response:
    """Change attributes of an image."""
    strengths = [(service.direction(change.direction), change.strength) for change in body.edits]
    images, notes = await service.read([body.image], "image")
    requested = None if body.label is None else torch.tensor([service.label(body.label)])
    changed, labels = await _run_with_labels(
        service, images, requested, lambda model, labels: generation.edit(model, images, strengths, labels)
    )
    lists = {name: [getattr(change, name) for change in body.edits] for name in ("direction", "strength")}
    facts = {name: values[0] if len(values) == 1 else json.dumps(values) for name, values in lists.items()}
    text = {**facts, **_facts(service, labels)}
    label = None if labels is None else labels[0]

    async def answer() -> EditAnswer:
        return EditAnswer(image=(await encode_pngs(changed, [text]))[0], label=label, note=notes[0])

    return await respond(request, answer, 1, text, partial(to_pil, changed[0]))


@API.post("/reconstruct", response_model=ReconstructAnswer, responses=_responses("the images"))
async def reconstruct(body: ReconstructRequest, request: Request, service: Served) -> Response:
    """Encode and decode images, and return the largest pixel error."""
    images, notes = await service.read(body.images)
    requested = service.labels(body.labels, images)
    result, labels = await _run_with_labels(
        service, images, requested, lambda model, labels: generation.reconstruct(model, images, labels)
    )
    errors = {"max_pixel_error": result.max_pixel_error, "max_quantisation": result.max_quantisation}
    images = result.images

    async def answer() -> ReconstructAnswer:
        return ReconstructAnswer(images=await encode_pngs(images), labels=labels, notes=notes, **errors)

    picture = partial(to_pil, images[0]) if len(images) == 1 else partial(grid, images)
    return await respond(request, answer, len(images), {**errors, **_facts(service, None)}, picture)


@API.post("/score", responses=ERRORS)
async def score(body: ScoreRequest, request: Request, service: Served) -> ScoreAnswer:
    """Score images: bits/dim, and scores of oddity with a verdict if the model knows ordinary images."""
    service.check_count(body.draws, "draws", service.limits.draws)
    service.check_count(body.draws * len(body.images), "draws times images", 4 * service.limits.count)
    images, notes = await service.read(body.images)
    requested = service.labels(body.labels, images)
    seeds = range(body.seed, body.seed + len(images))

    def work(model: ImageModel) -> generation.Measures:
        return generation.measure(model, images, requested, num_draws=body.draws, seeds=seeds)

    measures = await service.run(work)
    reference, labels = service.reference, measures.labels
    request.app.state.metrics.images.labels(request.url.path).inc(len(images))
    scores = [
        Scores(**plain, label=None if labels is None else int(labels[number]), note=notes[number])
        for number, plain in enumerate(plain_scores(measures, reference))
    ]
    usual = None if reference is None else f"{reference.num_images:,} ordinary images"
    return ScoreAnswer(scores=scores, draws=body.draws, usual=usual)


@API.post("/restore", response_model=RestoreAnswer, responses=_responses("the draw, or a grid of several") | NOT_FOUND)
async def restore(body: RestoreRequest, request: Request, service: Served) -> Response:
    """Restore a damaged picture of any size: draws of possible originals, their mean and their spread."""
    restorer = service.restorer(body.restorer)
    restored, note, icc_profile = await service.restore(restorer, body)
    draws, texts = restored.draws, restored.draws.facts
    common: dict[str, Any] = {name: texts[0][name] for name in ("restorer", "sigma") if name in texts[0]}

    async def answer() -> RestoreAnswer:
        pictures = await run_in_threadpool(lambda: [*draws, restored.mean, restored.given, restored.shown_spread])
        *pngs, mean, given, spread = await encode_pngs(pictures, [*texts, *[common] * 3], icc_profile)
        return RestoreAnswer(
            images=_sampled(pngs, texts),
            mean=mean,
            given=given,
            spread=spread,
            overshoot=restored.overshoot.nan_to_num().tolist(),  # JSON has no infinity
            sigma=common.get("sigma"),
            temperature=service.temperatures(texts[0]["temperature"], restorer.model),
            note=note,
            restorer=restorer.name,
            model=restorer.info.model,
        )

    def picture() -> PILImage:
        return with_profile(to_pil(draws[0]) if len(draws) == 1 else draws.grid(), icc_profile)

    return await respond(request, answer, len(draws), draws.common_facts, picture)


# Many monitors use HEAD.
@HEALTH.head("/healthz", include_in_schema=False)
@HEALTH.get("/healthz", responses=_ALIVE)
async def healthz(service: Served) -> dict[str, str]:
    """Return whether server and model are alive; 503 if only a restart helps."""
    if not service.worker.is_alive:
        raise model_ended()
    return {"status": "ok"}


@HEALTH.head("/readyz", include_in_schema=False)
@HEALTH.get("/readyz", responses=_ALIVE)
async def readyz(service: Served, request: Request) -> dict[str, str]:
    """Return whether requests are accepted; 503 while the server stops."""
    await healthz(service)
    if request.app.state.gate.is_stopping:
        raise stopping()
    return {"status": "ready"}


@HEALTH.get("/metrics", responses={200: {"content": {"text/plain": {}}}, 421: ERRORS[421]}, response_class=Response)
async def metrics_text(request: Request) -> Response:
    """Return metrics for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _sampled(pngs: Sequence[str], texts: Sequence[dict[str, Any]]) -> list[Sampled]:
    return [
        Sampled(image=png, seed=text["seed"], label=text.get("label")) for png, text in zip(pngs, texts, strict=True)
    ]


def _facts(service: Service, labels: Sequence[int] | None) -> dict[str, Any]:
    """Return facts about classes and model for the text chunks of a picture."""
    return {
        **class_facts(service.model, *(labels or ())),
        "model": service.info.model,
        "version": __version__,
    }


async def _run_with_labels(
    service: Service, images: Tensor, requested: Tensor | None, work: Callable[[ImageModel, Tensor | None], T]
) -> tuple[T, list[int] | None]:
    """Run a function of model and labels; return its result and the labels, inferred if none were requested."""

    def run(model: ImageModel) -> tuple[T, list[int] | None]:
        can_infer = requested is None and model.flow.num_classes is not None
        labels = generation.infer_labels(model, images) if can_infer else requested
        return work(model, labels), None if labels is None else labels.tolist()

    return await service.run(run)
