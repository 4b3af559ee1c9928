"""The endpoints of the API and for operators."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request
from fastapi.responses import Response
from prometheus_client import generate_latest

from glow_app import pipeline
from glow_app.messages import in_words
from glow_app.pictures.image_batch import Images
from glow_app.pictures.images import strip
from glow_app.pipeline.sampling import draw_settings
from glow_app.server import schemas
from glow_app.server.answers import (
    ERRORS,
    OCTETS,
    PICTURES,
    ZIP,
    answer_kind,
    invalid,
    respond,
    unavailable,
    validating,
)
from glow_app.server.gate import GatedRoute
from glow_app.server.info import Info
from glow_app.server.model_thread import ModelEndedError
from glow_app.server.schemas import Picture
from glow_app.server.service import Service, named


async def service_of(request: Request) -> Service:
    """Return the service of the application."""
    service: Service = request.app.state.service
    return service


_TEXT = {"type": "string"}
_BINARY = {"schema": _TEXT | {"format": "binary"}}


def _pictures(content: str, *kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI response of an endpoint that can answer with pictures."""
    text = f"JSON; with `Accept: image/png`, `image/webp` or `image/jpeg` {content}. Headers X-Glow-..., and the text "
    text += "chunks of PNG, record how it was made."
    return {200: {"description": text, "content": dict.fromkeys((*PICTURES, *kinds), _BINARY)}}


Served = Annotated[Service, Depends(service_of)]
API = APIRouter(prefix="/v1", responses=ERRORS, route_class=GatedRoute)
HEALTH = APIRouter(tags=["Operate"])  # for operators: health and metrics
_WAITING = 8  # large pictures that wait to be restored, each in memory
_SEVERAL = "the picture, or a zip of several"
_FRAMES = "a strip of the frames, but with `image/gif` or `image/webp` an animation that plays forward and back"


@API.get("/info", tags=["Operate"])
async def get_info(service: Served) -> Info:
    """Describe the model and the limits of this server."""
    return service.info


@API.post("/sample", tags=["Draw"], response_model=schemas.SampleAnswer, responses=_pictures(_SEVERAL, ZIP))
async def sample(body: schemas.SampleRequest, request: Request, service: Served) -> Response:
    """Draw images; a seed gives the image of `glow sample`."""
    seeds, size = service.seeds(body.count, body.seed), service.size(body.size)
    with validating():
        settings = draw_settings(service.model, body.temperature, body.guidance)
    with validating("given"):
        options = settings.temperature, seeds, body.given, settings.guidance
        drawn = await service.run(service.model.sample, len(seeds), *options, size=size)
    images = Images(drawn, [facts | service.origin for facts in drawn.facts])
    answer = schemas.SampleAnswer(
        images=schemas.sampled(images),
        temperature=settings.temperatures(service.info.num_levels),
        guidance=settings.guidance,
        model=service.info.model,
    )
    return await respond(request, answer, images, images.common_facts)


@API.post(
    "/interpolate", tags=["Draw"], response_model=schemas.InterpolateAnswer, responses=_pictures(_FRAMES, "image/gif")
)
async def interpolate(body: schemas.InterpolateRequest, request: Request, service: Served) -> Response:
    """Interpolate between images through the model's latents."""
    weights, size = body.weights(service.info.num_levels), service.size(body.size)
    even = (len(body.images) - 1) * (body.frames - 1) + 1
    service.check_count(even if weights is None else len(weights), "frames" if weights is None else "at")
    images, notes, given = await service.pictures(body.images, body.given)
    between, how = (pipeline.interpolate, body.frames) if weights is None else (pipeline.blend, weights)
    frames = await service.run(between, service.model, images, how, given, spherical=body.spherical, size=size)
    answer = schemas.InterpolateAnswer(frames=list(map(Picture, frames)), given=service.format(given), notes=notes)
    way = {"frames": len(frames), "way": "arc" if body.spherical else "line"}
    facts = way | service.facts(given)
    columns = body.frames if weights is None else len(frames)
    return await respond(request, answer, frames, facts, together=partial(strip, num_frames=columns))


@API.post("/edit", tags=["Edit"], response_model=schemas.EditAnswer, responses=_pictures("the changed picture"))
async def edit(body: schemas.EditRequest, request: Request, service: Served) -> Response:
    """Change attributes of an image."""
    if bool(body.edits) == (body.attributes is not None):
        raise invalid("expected either edits or attributes")
    with validating("attributes"):
        changes = service.model.vocabulary.parse(body.attributes, 1)
    size = service.size(body.size)
    strengths = [(named(service.directions, each.direction, "direction"), each.strength) for each in body.edits]
    images, notes, given = await service.pictures([body.image], body.given, "image")
    if changes is None:
        changed = await service.run(pipeline.edit, service.model, images, strengths, given, size=size)
        edits = {name: ", ".join(str(getattr(each, name)) for each in body.edits) for name in ("direction", "strength")}
    else:
        given = await service.run(pipeline.infer, service.model, images, given)
        how = changes, given, body.strength
        changed = await service.run(pipeline.edit_attributes, service.model, images, *how, size=size)
        edits = {"attributes": in_words((service.format(changes) or [{}])[0]), "strength": str(body.strength)}
    facts, (known,) = edits | service.facts(given), service.format(given) or [None]
    given_by = None if known is None else service.given_by(images, body.given)
    answer = schemas.EditAnswer(image=Picture(changed[0], facts), given=known, given_by=given_by, note=notes[0])
    return await respond(request, answer, changed, facts)


@API.post(
    "/reconstruct", tags=["Measure"], response_model=schemas.ReconstructAnswer, responses=_pictures(_SEVERAL, ZIP)
)
async def reconstruct(body: schemas.ImagesRequest, request: Request, service: Served) -> Response:
    """Encode and decode images, and return the largest pixel error."""
    images, notes, given = await service.pictures(body.images, body.given)
    result = await service.run(pipeline.reconstruct, service.model, images, given)
    errors = {"max_pixel_error": result.max_pixel_error, "max_quantisation": result.max_quantisation}
    pictures = list(map(Picture, result.images))
    answer = schemas.ReconstructAnswer(images=pictures, given=service.format(given), notes=notes, **errors)
    return await respond(request, answer, result.images, errors | service.origin)


@API.post("/encode", tags=["Edit"], responses={200: {"content": {OCTETS: _BINARY}}}, response_class=Response)
async def encode(body: schemas.ImagesRequest, service: Served) -> Response:
    """Encode pictures as latents, in a safetensors file as of `glow encode`."""
    images, _, given = await service.pictures(body.images, body.given)
    levels = await service.run(service.model.encode, images, given)
    latents = pipeline.Latents(levels, [f"{number:04d}" for number in range(len(images))], given)
    return Response(await service.run(pipeline.latents_bytes, latents, service.model), media_type=OCTETS)


@API.post("/decode", tags=["Edit"], response_model=schemas.DecodeAnswer, responses=_pictures(_SEVERAL, ZIP))
async def decode(
    latents: Annotated[bytes, Body(media_type=OCTETS, json_schema_extra={"format": "binary"})],
    request: Request,
    service: Served,
) -> Response:
    """Decode the latents of a safetensors file, as from `/v1/encode` or `glow encode`.

    curl -s localhost:8000/v1/decode -H 'Content-Type: application/octet-stream' --data-binary @latents.safetensors
    """
    with validating():
        read = await service.run(pipeline.load_latents, latents, service.model)
        if not read.names:
            raise invalid("expected at least one image")
        service.check_count(len(read.names), "latents")
        levels = [level.to(service.model.device, service.model.dtype) for level in read.levels]
        images = await service.run(service.model.decode, levels, read.given)
    answer = schemas.DecodeAnswer(images=list(map(Picture, images)), given=service.format(read.given))
    return await respond(request, answer, images, service.facts(read.given))


@API.post("/score", tags=["Measure"])
async def score(body: schemas.ScoreRequest, service: Served) -> schemas.ScoreAnswer:
    """Score images: bits/dim, and a verdict if the model has statistics of ordinary images."""
    service.check_count(body.draws * len(body.images), "draws times images", 4 * service.limits.count)
    images, notes, given = await service.pictures(body.images, body.given, infers=False)
    seeds = range(body.seed, body.seed + len(images))
    measures = await service.run(pipeline.measure, service.model, images, given, draws=body.draws, seeds=seeds)
    reference, known = service.reference, service.format(measures.given) or [None] * len(images)
    rows = enumerate(pipeline.score_rows(measures, reference))
    return schemas.ScoreAnswer(
        scores=[schemas.Scores(**row, given=known[n], note=notes[n]) for n, row in rows],
        draws=body.draws,
        usual=None if reference is None else f"{reference.num_images:,} ordinary images",
    )


@API.post("/restore", tags=["Restore"], response_model=schemas.RestoreAnswer, responses=_pictures(_SEVERAL, ZIP))
async def restore(body: schemas.RestoreRequest, request: Request, service: Served) -> Response:
    """Restore a damaged picture of any size: its best estimate, or draws of possible originals, mean and spread."""
    chain, seeds = service.chain(body.restorer), service.seeds(body.count, body.seed)
    temperature = 0.0 if body.count == 1 and body.temperature is None else body.temperature
    with validating():
        temperatures = chain.temperatures(temperature)
    is_estimate = body.count == 1 and not any(temperatures)
    most = service.limits.estimated_pixels if is_estimate else service.limits.restored_pixels
    file, inputs = await chain.read(body, service.decoder, answer_kind(request), most)
    num_pixels = body.count * chain.factor**2 * file.photo.pixels[0].size
    is_long, request_id = num_pixels > most // 20, request.scope["glow.request_id"]
    if is_long and service.num_long > _WAITING:
        raise unavailable("queue_full", "too many large pictures are waiting", 30)
    work = chain.restore, body, temperature, file, inputs, seeds.start, service.thread.run_steps
    service.num_long += is_long
    try:
        threads = service.long if is_long else service.short
        restored = await service.run(*work, threads=threads, request_id=request_id)
    finally:
        service.num_long -= is_long
    facts = restored.draws.common_facts | ({"note": restored.note} if restored.note else {})
    answer = partial(chain.answer, restored, file, temperatures)
    return await respond(request, answer, restored.draws, facts, source=file)


@API.get("/progress", tags=["Restore"])
async def get_progress(
    request_id: Annotated[str, Query(examples=["my-photo"])], service: Served
) -> dict[str, float | None]:
    """Return the share of a restoration that is done, by its X-Request-ID; null if it is not being computed."""
    ticket = service.tickets.get(request_id)
    return {"share": None if ticket is None else ticket.share}


# Many monitors use HEAD.
@HEALTH.head("/healthz", include_in_schema=False)
@HEALTH.get("/healthz", responses={503: ERRORS[503]})
async def get_health(service: Served) -> dict[str, str]:
    """Return whether server and model are alive; 503 if the server must be restarted."""
    if not service.thread.is_alive:
        raise ModelEndedError
    return {"status": "ok"}


@HEALTH.get("/readyz", responses={503: ERRORS[503]})
async def get_readiness(service: Served) -> dict[str, str]:
    """Return whether the model can compute now; 503 if requests should go to other servers."""
    await service.check_ready()
    return {"status": "ready"}


@HEALTH.get("/metrics", responses={200: {"content": {"text/plain": {"schema": _TEXT}}}}, response_class=Response)
async def get_metrics(request: Request) -> Response:
    """Return metrics for Prometheus."""
    text = generate_latest(request.app.state.gate.metrics)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
