"""The endpoints of the API and for operators."""

import json
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from PIL.Image import Image as PILImage
from torch import Tensor

from glow_app import __version__, generation
from glow_app.generation.reference import plain_scores
from glow_app.models.class_labels import class_facts
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.pictures.images import strip, to_pil, with_profile
from glow_app.server import schemas
from glow_app.server.answers import ANIMATIONS, PNG, respond
from glow_app.server.errors import ERRORS, model_ended
from glow_app.server.schemas import Picture
from glow_app.server.service import Service


async def served(request: Request) -> Service:
    """Return the service of the application."""
    service: Service = request.app.state.service
    return service


def _picture(content: str, *kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI response of an endpoint that can answer with a picture."""
    text = f"JSON; with `Accept: image/png` {content}. What made it is in text chunks and in headers X-Glow-..."
    return {200: {"description": text, "content": {kind: {} for kind in (PNG, *kinds)}}}


Served = Annotated[Service, Depends(served)]
API = APIRouter(prefix="/v1", responses=ERRORS)
HEALTH = APIRouter()  # for operators: liveness, readiness and metrics
_FRAMES = "a strip of the frames, with `image/gif` or `image/webp` an animation of them, there and back"


@API.get("/info")
async def show_info(service: Served) -> schemas.Info:
    """Describe the model and the limits of this server."""
    return service.info


@API.post("/sample", response_model=schemas.SampleAnswer, responses=_picture("the image, or a grid of several"))
async def sample(body: schemas.SampleRequest, request: Request, service: Served) -> Response:
    """Draw images; a seed gives the image that `glow sample` gives for it."""
    seeds = service.seeds(body.count, body.seed)
    settings, labels = service.settings(body.temperature, body.guidance), service.classes(seeds, body.label)

    def work(model: ImageModel) -> Response:
        drawn = model.sample(len(seeds), settings.temperature, seeds, labels, settings.guidance)
        images = Images(drawn, [facts | _origin(service) for facts in drawn.facts])
        answer = schemas.SampleAnswer(
            images=_sampled(images),
            temperature=settings.temperatures(service.info.num_levels),
            guidance=settings.guidance,
            model=service.info.model,
        )
        return respond(request, answer, images, images.common_facts, partial(_all_of, images))

    return await service.run(work)


@API.post("/interpolate", response_model=schemas.InterpolateAnswer, responses=_picture(_FRAMES, *ANIMATIONS))
async def interpolate(body: schemas.InterpolateRequest, request: Request, service: Served) -> Response:
    """Interpolate between images through the model's latents."""
    places = None if body.at is None else service.places(body.at, len(body.images))
    if places is None:
        service.check_count((len(body.images) - 1) * (body.frames - 1) + 1, "frames")
    given = service.labels(body.labels, len(body.images))
    images, notes = await service.read(body.images)

    def work(model: ImageModel) -> Response:
        labels = _labels(model, images, given)
        if places is None:
            frames = generation.interpolate(model, images, body.frames, labels, spherical=body.spherical)
        else:
            frames = generation.blend(model, images, places, labels, spherical=body.spherical)
        answer = schemas.InterpolateAnswer(frames=list(map(Picture, frames)), labels=_numbers(labels), notes=notes)
        facts = {"frames": len(frames), "way": "arc" if body.spherical else "line", **_origin(service, labels)}
        columns = body.frames if places is None else len(frames)
        picture = partial(to_pil, frames[0]) if len(frames) == 1 else partial(strip, frames, columns)
        return respond(request, answer, frames, facts, picture, animated=True)

    return await service.run(work)


@API.post("/edit", response_model=schemas.EditAnswer, responses=_picture("the changed image"))
async def edit(body: schemas.EditRequest, request: Request, service: Served) -> Response:
    """Change attributes of an image."""
    strengths = [(service.direction(change.direction), change.strength) for change in body.edits]
    given = service.labels(body.label, 1, "label")
    images, notes = await service.read([body.image], "image")
    lists = {name: [getattr(change, name) for change in body.edits] for name in ("direction", "strength")}
    made = {name: values[0] if len(values) == 1 else json.dumps(values) for name, values in lists.items()}

    def work(model: ImageModel) -> Response:
        labels = _labels(model, images, given)
        changed = generation.edit(model, images, strengths, labels)
        facts, label = made | _origin(service, labels), None if labels is None else int(labels[0])
        answer = schemas.EditAnswer(image=Picture(changed[0], facts), label=label, note=notes[0])
        return respond(request, answer, changed, facts, partial(to_pil, changed[0]))

    return await service.run(work)


@API.post("/reconstruct", response_model=schemas.ReconstructAnswer, responses=_picture("the images"))
async def reconstruct(body: schemas.ReconstructRequest, request: Request, service: Served) -> Response:
    """Encode and decode images, and return the largest pixel error."""
    given = service.labels(body.labels, len(body.images))
    images, notes = await service.read(body.images)

    def work(model: ImageModel) -> Response:
        labels = _labels(model, images, given)
        result = generation.reconstruct(model, images, labels)
        errors = {"max_pixel_error": result.max_pixel_error, "max_quantisation": result.max_quantisation}
        pictures = list(map(Picture, result.images))
        answer = schemas.ReconstructAnswer(images=pictures, labels=_numbers(labels), notes=notes, **errors)
        return respond(request, answer, result.images, errors | _origin(service), partial(_all_of, result.images))

    return await service.run(work)


@API.post("/score")
async def score(body: schemas.ScoreRequest, request: Request, service: Served) -> schemas.ScoreAnswer:
    """Score images: bits/dim, and scores of oddity with a verdict if the model knows ordinary images."""
    service.check_count(body.draws, "draws", service.limits.draws)
    service.check_count(body.draws * len(body.images), "draws times images", 4 * service.limits.count)
    given = service.labels(body.labels, len(body.images))
    images, notes = await service.read(body.images)
    seeds = range(body.seed, body.seed + len(images))
    work = partial(generation.measure, images=images, labels=given, num_draws=body.draws, seeds=seeds)
    measures = await service.run(work)
    reference, labels = service.reference, _numbers(measures.labels)
    request.app.state.metrics.images.labels(request.url.path).inc(len(images))
    rows = enumerate(plain_scores(measures, reference))
    return schemas.ScoreAnswer(
        scores=[schemas.Scores(**plain, label=labels[n] if labels else None, note=notes[n]) for n, plain in rows],
        draws=body.draws,
        usual=None if reference is None else f"{reference.num_images:,} ordinary images",
    )


@API.post("/restore", response_model=schemas.RestoreAnswer, responses=_picture("the draw, or a grid of several"))
async def restore(body: schemas.RestoreRequest, request: Request, service: Served) -> Response:
    """Restore a damaged picture of any size: draws of possible originals, their mean and their spread."""
    restorer, seeds = service.restorer(body.restorer), service.seeds(body.count, body.seed)
    settings = service.settings(body.temperature, None, restorer.model)
    labels = service.classes(seeds, body.label, restorer.model)
    bounds = restorer.bounds(body, service.limits.restored_pixels)
    picture = await service.read_one(body.image, "image", (restorer.channels,), *bounds)
    mask = None if body.mask is None else (await service.read_one(body.mask, "mask", (1,), *bounds)).image

    def work(model: ImageModel) -> Response:
        restored, note = restorer.restore(model, body, picture, mask, seeds, labels)
        draws, profile = restored.draws, picture.icc_profile
        common = {name: value for name, value in draws.facts[0].items() if name in ("restorer", "sigma")}
        answer = schemas.RestoreAnswer(
            images=_sampled(draws, profile),
            mean=Picture(restored.mean, common, profile),
            given=Picture(restored.given, common, profile),
            spread=Picture(restored.shown_spread, common, profile),
            overshoot=restored.overshoot.nan_to_num().tolist(),  # JSON has no infinity
            sigma=common.get("sigma"),
            temperature=settings.temperatures(len(model.flow.latent_shapes)),
            note=note,
            restorer=restorer.name,
            model=restorer.info.model,
        )
        whole = partial(_all_of, draws, profile)
        return respond(request, answer, draws, draws.common_facts, whole)

    is_long = picture.image[0].numel() > bounds[0] // 8
    return await service.run(work, restorer.model, service.long if is_long else service.short)


# Many monitors use HEAD.
@HEALTH.head("/healthz", include_in_schema=False)
@HEALTH.get("/healthz", responses={503: ERRORS[503]})
@HEALTH.head("/readyz", include_in_schema=False)
@HEALTH.get("/readyz", responses={503: ERRORS[503]})
async def healthz(service: Served) -> dict[str, str]:
    """Return whether server and model are alive; 503 if only a restart helps."""
    if not service.worker.is_alive:
        raise model_ended()
    return {"status": "ok"}


@HEALTH.get("/metrics", responses={200: {"content": {"text/plain": {}}}}, response_class=Response)
async def metrics_text(request: Request) -> Response:
    """Return metrics for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _origin(service: Service, labels: Tensor | None = None) -> dict[str, Any]:
    """Return facts about classes and model for the text chunks of a picture."""
    classes = class_facts(service.model, *(_numbers(labels) or ()))
    return {**classes, "model": service.info.model, "version": __version__}


def _labels(model: ImageModel, images: Tensor, given: Tensor | None) -> Tensor | None:
    """Return the given labels, or inferred ones if the model has classes."""
    return generation.infer_labels(model, images) if given is None and model.flow.num_classes is not None else given


def _numbers(labels: Tensor | None) -> list[int] | None:
    return None if labels is None else labels.tolist()


def _sampled(images: Images, icc_profile: bytes | None = None) -> list[schemas.Sampled]:
    return [
        schemas.Sampled(image=Picture(image, facts, icc_profile), seed=facts["seed"], label=facts.get("label"))
        for image, facts in zip(images, images.facts, strict=True)
    ]


def _all_of(images: Images, icc_profile: bytes | None = None) -> PILImage:
    """Return a picture of all images."""
    return with_profile(to_pil(images[0]) if len(images) == 1 else images.grid(), icc_profile)
