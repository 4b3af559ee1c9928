"""Schemas of requests and answers of the API."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema
from torch import Tensor

from glow_app.models.generation_settings import LARGEST_GUIDANCE, LARGEST_TEMPERATURE
from glow_app.models.image_model import ImageModel
from glow_app.numeric_limits import LARGEST_SEED, LARGEST_STRENGTH
from glow_app.pictures.image_batch import Images
from glow_app.pictures.images import png_bytes, to_pil, with_profile
from glow_app.storage.stored_model import model_hash

Finite = Annotated[float, Field(allow_inf_nan=False)]
Factor = Annotated[Finite, Field(ge=0, le=LARGEST_TEMPERATURE)]
Temperature = Annotated[
    Factor | list[Factor] | None,
    Field(description="Factor on the base noise: one, or one per level, the finest first. By default the model's own."),
]
Guidance = Annotated[
    Annotated[Finite, Field(ge=0, le=LARGEST_GUIDANCE)] | None,
    Field(description="Above 1 images show their class more clearly and vary less. By default the model's own."),
]
Number = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Seed = Annotated[Number | None, Field(description="Of the first image; image i uses seed + i. Random if omitted.")]
Name = Annotated[str, Field(max_length=200)]
Label = int | Name
SampledLabel = Annotated[Label | None, Field(description="Class by number or name; all in turn if omitted.")]
Labels = Annotated[list[Label] | None, Field(description="One per image; the most probable if omitted.")]
Place = Annotated[list[Annotated[Finite, Field(ge=0, le=1)]], Field(min_length=1, max_length=2)]
_BYTES = {"format": "byte"}
ImageFile = Annotated[str, Field(description="A PNG, JPEG, WebP, GIF or BMP file in base64.", json_schema_extra=_BYTES)]


class Picture(NamedTuple):
    """A uint8 image (C, H, W) of an answer, with the text of its file; encoded only when the answer is."""

    image: Tensor
    text: Mapping[str, Any] | None = None
    icc_profile: bytes | None = None

    def png(self) -> str:
        """Return it as a PNG in base64."""
        return b64encode(png_bytes(with_profile(to_pil(self.image), self.icc_profile), self.text)).decode()


Png = Annotated[
    Any,
    PlainSerializer(Picture.png),
    WithJsonSchema({"type": "string", "description": "A PNG file in base64.", **_BYTES}),
]
Note = Annotated[str | None, Field(description="How the picture was changed for the model; null if it was not.")]
Notes = Annotated[list[str | None], Field(description="How each picture was changed for the model.")]
Levels = Annotated[list[float], Field(description="Of each level, the finest first.")]
Sha256 = Annotated[str, Field(description="SHA-256 of architecture and weights.")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SampleRequest(_Request):
    """A request to draw images."""

    count: int = Field(1, ge=1, description="Number of images.")
    temperature: Temperature = None
    guidance: Guidance = None
    seed: Seed = None
    label: SampledLabel = None


class Sampled(BaseModel):
    """A drawn image with its seed and class."""

    image: Png
    seed: int
    label: int | None


def sampled(images: Images, icc_profile: bytes | None = None) -> list[Sampled]:
    """Return drawn images, with their seeds and classes."""
    return [
        Sampled(image=Picture(image, facts, icc_profile), seed=facts["seed"], label=facts.get("label"))
        for image, facts in zip(images, images.facts, strict=True)
    ]


class SampleAnswer(BaseModel):
    """The drawn images and their settings."""

    images: list[Sampled]
    temperature: Levels
    guidance: float
    model: Sha256


class InterpolateRequest(_Request):
    """A request to interpolate between images."""

    images: list[ImageFile] = Field(min_length=2, description="Images to interpolate between, in this order.")
    frames: int = Field(9, ge=2, description="Frames from each image to the next, both included.")
    at: list[Place] | None = Field(
        None,
        min_length=1,
        description="Places of the frames, instead of evenly spaced ones: `[t]` between two images, 0 to 1; `[across, "
        "down]` in the square whose corners four images are (top left, top right, bottom left, bottom right).",
    )
    spherical: bool = Field(True, description="Along arcs, which keep the norm of the latents; false for lines.")
    labels: Labels = None


class InterpolateAnswer(BaseModel):
    """The frames; evenly spaced ones include each image of the request, equal in every pixel."""

    frames: list[Png]
    labels: list[int] | None
    notes: Notes


class Edit(_Request):
    """A step along a direction."""

    direction: Name = Field(description="Name of a direction, as listed by /v1/info.")
    strength: Finite = Field(1.0, ge=-LARGEST_STRENGTH, le=LARGEST_STRENGTH, description="0 changes no pixel.")


class EditRequest(_Request):
    """A request to change attributes of an image."""

    image: ImageFile
    edits: list[Edit] = Field(min_length=1, max_length=16)
    label: Label | None = Field(None, description="Its class, by number or name; the most probable if omitted.")


class EditAnswer(BaseModel):
    """The changed image."""

    image: Png
    label: int | None
    note: Note


class ReconstructRequest(_Request):
    """A request to encode and decode images."""

    images: list[ImageFile] = Field(min_length=1)
    labels: Labels = None


class ReconstructAnswer(BaseModel):
    """The reconstructed images, and the largest errors."""

    images: list[Png]
    max_pixel_error: int = Field(description="Largest difference in the model's own number of bits, of 255.")
    max_quantisation: int = Field(description="Largest difference that this number of bits made before.")
    labels: list[int] | None
    notes: Notes


class ScoreRequest(_Request):
    """A request to score images."""

    images: list[ImageFile] = Field(min_length=1)
    draws: int = Field(1, ge=1, description="Dequantisation draws of the bits/dim.")
    seed: Number = Field(0, description="Seed of the first image's noise; image i uses seed + i.")
    labels: list[Label] | None = Field(None, description="One per image; the marginal over all classes if omitted.")


class Scores(BaseModel):
    """Scores of an image; higher means odder, but bits/dim alone may be lower for odd images.

    What compares with ordinary images is null if the model knows none.
    """

    bits_per_dim: float
    typicality: float | None
    latent_norm: float | None
    png_ratio: float
    spectrum: float | None
    verdict: Literal["usual", "unusual"] | None = Field(description="95 % of ordinary images are usual.")
    reason: str | None = Field(description="Why, in a few words.")
    oddness: float | None = Field(ge=0, le=100, description="Percentage of ordinary images less odd.")
    percentiles: dict[str, float] | None = Field(description="Percentage of ordinary images below, per score.")
    label: int | None = Field(description="The class that was given, or is the most probable.")
    note: Note


class ScoreAnswer(BaseModel):
    """The scores, one per image."""

    scores: list[Scores]
    draws: int
    usual: str | None = Field(description="Which images are the ordinary ones.")


class RestoreRequest(_Request):
    """A request to restore a damaged picture, of any size."""

    image: ImageFile
    restorer: Name | None = Field(
        None, description="Name of a restorer, as listed by /v1/info; may be omitted if there is only one."
    )
    mask: ImageFile | None = Field(None, description="For Fill: a picture of the same size, white where it is missing.")
    sigma: Annotated[Finite, Field(ge=1, le=255)] | None = Field(
        None, description="For Denoise: standard deviation of the noise, grey levels; estimated if omitted."
    )
    count: int = Field(4, ge=1, description="Number of draws; `limits.restored_pixels` bounds their pixels together.")
    temperature: Temperature = None
    seed: Seed = None
    label: SampledLabel = None


class RestoreAnswer(BaseModel):
    """Possible originals of the picture, with their mean and spread."""

    images: list[Sampled]
    mean: Png
    spread: Png = Field(description="Black where all draws agree, white from 32 grey levels of deviation on.")
    given: Png = Field(description="What the flow saw, such as the bicubic enlargement.")
    overshoot: list[float] = Field(
        description="How far each draw reached beyond black and white before it was clipped, grey levels: usually tens."
    )
    sigma: int | None = Field(description="Standard deviation of the noise, given or estimated.")
    temperature: Levels
    note: str | None = Field(description="What was lost, and how the picture differs from training; null if nothing.")
    restorer: str
    model: Sha256


class _Model(BaseModel):
    model: Sha256
    image_shape: list[int] = Field(description="C, H, W; of restorers, of the crops in their training.")
    num_classes: int | None
    classes: list[str] | None = Field(description="Their names, where the model knows them.")


def describe(model: ImageModel) -> dict[str, Any]:
    """Return what ``/v1/info`` says of the main model and of each restorer."""
    return {
        "model": model_hash(model),
        "image_shape": model.flow.image_shape,
        "num_classes": model.flow.num_classes,
        "classes": list(model.class_names) or None,
    }


class RestorerInfo(_Model):
    """A restoration model."""

    name: str
    task: str = Field(description="What it undoes: Upscale, Denoise, Deblock, Colourise or Fill.")
    factor: int = Field(description="Sides of the restored picture, relative to those of the picture that is sent.")
    channels: int = Field(description="Of the picture that is sent: 1, to which colours are made grey, or 3.")
    takes: list[str] = Field(description="What is sent beside the picture: mask, sigma.")
    temperature: float | list[float] = Field(description="The recommended one, used where a request gives none.")


class Generation(BaseModel):
    """The settings that the model recommends, the defaults of requests."""

    temperature: float | list[float]
    guidance: float = 1.0


class Info(_Model):
    """The models that are served, and the limits of requests."""

    version: str
    num_bits: int
    num_levels: int
    parameters: int
    directions: list[str]
    restorers: list[RestorerInfo]
    generation: Generation
    training: dict[str, Any]
    limits: dict[str, int | float]
