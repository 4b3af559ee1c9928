"""Schemas of requests and answers of the API."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from glow_app.models.generation_settings import LARGEST_GUIDANCE, LARGEST_TEMPERATURE
from glow_app.numeric_limits import LARGEST_SEED, LARGEST_STRENGTH

Finite = Annotated[float, Field(allow_inf_nan=False)]
Temperature = Annotated[Finite, Field(ge=0, le=LARGEST_TEMPERATURE)]
Guidance = Annotated[Finite, Field(ge=0, le=LARGEST_GUIDANCE)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Place = Annotated[list[Annotated[Finite, Field(ge=0, le=1)]], Field(min_length=1, max_length=2)]
Label = int | Annotated[str, Field(max_length=200)]
ImageFile = Annotated[
    str, Field(description="A PNG, JPEG, WebP, GIF or BMP file in base64.", json_schema_extra={"format": "byte"})
]
Png = Annotated[str, Field(description="A PNG file in base64.", json_schema_extra={"format": "byte"})]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SampleRequest(_Request):
    """A request to draw images."""

    count: int = Field(1, ge=1, description="Number of images.", examples=[4])
    temperature: Temperature | list[Temperature] | None = Field(
        None,
        description="Factor on the base noise: one for all levels, or one per level, the finest first. "
        "The model's recommendation if omitted.",
    )
    guidance: Guidance | None = Field(
        None,
        description="Factor on the class's part of the context: above 1 images show their class more clearly and vary "
        "less, and are no longer samples of the model's distribution. The model's recommendation if omitted.",
    )
    seed: Seed | None = Field(
        None, description="Seed of the first image; image i uses seed + i. Random if omitted.", examples=[0]
    )
    label: Label | None = Field(
        None, description="Class of all images, by number or name; all classes in turn if omitted."
    )


class Sampled(BaseModel):
    """A drawn image with its seed and class."""

    image: Png
    seed: int
    label: int | None


class SampleAnswer(BaseModel):
    """The drawn images and their settings."""

    images: list[Sampled]
    temperature: list[float] = Field(description="Of each level, the finest first.")
    guidance: float
    model: str = Field(description="SHA-256 of the model.")


class InterpolateRequest(_Request):
    """A request to interpolate between images."""

    images: list[ImageFile] = Field(min_length=2, description="Images to interpolate between, in this order.")
    frames: int = Field(9, ge=2, description="Frames from each image to the next, both included.")
    at: list[Place] | None = Field(
        None,
        min_length=1,
        description="Places of the frames, instead of evenly spaced ones. Between two images: `[t]`, 0 being the first "
        "and 1 the second. In the square whose corners four images are (top left, top right, bottom left, bottom "
        "right): `[across, down]`.",
    )
    spherical: bool = Field(True, description="Along arcs, which keep the norm of the latents; false for lines.")
    labels: list[Label] | None = Field(None, description="One per image; the most probable if omitted.")


class InterpolateAnswer(BaseModel):
    """The frames; evenly spaced ones include each image of the request, equal in every pixel."""

    frames: list[Png]
    labels: list[int] | None
    notes: list[str | None] = Field(description="Changes of each image's size and colour for the model.")


class Edit(_Request):
    """A step along a direction."""

    direction: str = Field(max_length=200, description="Name of a direction, as listed by /v1/info.")
    strength: float = Field(
        1.0, ge=-LARGEST_STRENGTH, le=LARGEST_STRENGTH, allow_inf_nan=False, description="0 changes no pixel."
    )


class EditRequest(_Request):
    """A request to change attributes of an image."""

    image: ImageFile
    edits: list[Edit] = Field(min_length=1, max_length=16)
    label: Label | None = Field(None, description="Its class, by number or name; the most probable if omitted.")


class EditAnswer(BaseModel):
    """The changed image."""

    image: Png
    label: int | None
    note: str | None = Field(description="Changes of the image's size and colour for the model.")


class ReconstructRequest(_Request):
    """A request to encode and decode images."""

    images: list[ImageFile] = Field(min_length=1)
    labels: list[Label] | None = Field(None, description="One per image; the most probable if omitted.")


class ReconstructAnswer(BaseModel):
    """The reconstructed images, and the largest errors."""

    images: list[Png]
    max_pixel_error: int = Field(description="Largest difference in the model's own number of bits, of 255.")
    max_quantisation: int = Field(description="Largest difference that this number of bits made before.")
    labels: list[int] | None
    notes: list[str | None]


class ScoreRequest(_Request):
    """A request to score images."""

    images: list[ImageFile] = Field(min_length=1)
    draws: int = Field(1, ge=1, description="Dequantisation draws of the bits/dim.")
    seed: Seed = Field(0, description="Seed of the first image's noise; image i uses seed + i.")
    labels: list[Label] | None = Field(None, description="One per image; the marginal over all classes if omitted.")


_NULL = "Null if the model knows no ordinary images."


class Scores(BaseModel):
    """Scores of an image; higher means odder, but bits/dim alone may be lower for odd images."""

    bits_per_dim: float
    typicality: float | None = Field(description=_NULL)
    latent_norm: float | None = Field(description=_NULL)
    png_ratio: float
    spectrum: float | None = Field(description=_NULL)
    verdict: Literal["usual", "unusual"] | None = Field(description=f"95 % of ordinary images are usual. {_NULL}")
    reason: str | None = Field(description=f"Why, in a few words. {_NULL}")
    oddness: float | None = Field(ge=0, le=100, description=f"Percentage of ordinary images less odd. {_NULL}")
    percentiles: dict[str, float] | None = Field(description=f"Percentage of ordinary images below, per score. {_NULL}")
    label: int | None = Field(description="The class that was given, or is the most probable.")
    note: str | None


class ScoreAnswer(BaseModel):
    """The scores, one per image."""

    scores: list[Scores]
    draws: int
    usual: str | None = Field(description=f"Which images are the ordinary ones. {_NULL}")


class RestoreRequest(_Request):
    """A request to restore a damaged picture."""

    image: ImageFile = Field(description="The damaged picture, of any size: a PNG, JPEG, WebP, GIF or BMP in base64.")
    restorer: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="Name of a restorer, as listed by /v1/info; may be omitted if there is only one."
    )
    mask: ImageFile | None = Field(
        None, description="For restorers that take one: a picture of the same size, white where pixels are missing."
    )
    sigma: Annotated[Finite, Field(ge=1, le=255)] | None = Field(
        None,
        description="For restorers that take one: standard deviation of the noise, grey levels; estimated if omitted.",
    )
    count: int = Field(4, ge=1, description="Number of draws; `limits.restored_pixels` bounds their pixels together.")
    temperature: Temperature | list[Temperature] | None = Field(
        None,
        description="Factor on the base noise: one for all levels of the restorer, or one per level, the finest first. "
        "The restorer's recommendation if omitted.",
    )
    seed: Seed | None = Field(
        None, description="Seed of the first draw; draw i uses seed + i. Random if omitted.", examples=[0]
    )
    label: Label | None = Field(
        None,
        description="Class of all draws, by number or name; all classes of the restorer in turn if omitted.",
    )


class RestoreAnswer(BaseModel):
    """Possible originals of the picture, with their mean and spread."""

    images: list[Sampled]
    mean: Png = Field(description="Mean of the draws.")
    spread: Png = Field(description="Grey: black where all draws agree, white from 32 grey levels of deviation on.")
    given: Png = Field(description="What the flow saw, such as the bicubic enlargement.")
    overshoot: list[float] = Field(
        description="How far the values of each draw reached beyond black and white before they were clipped, in grey "
        "levels; tens are usual, and parts with more than 64 were drawn again with less noise."
    )
    sigma: int | None = Field(description="Standard deviation of the noise that was used, given or estimated.")
    temperature: list[float] = Field(description="Of each level, the finest first.")
    note: str | None = Field(
        description="What of the picture was lost, and how it differs from training; null if nothing."
    )
    restorer: str
    model: str = Field(description="SHA-256 of the restorer.")


class RestorerInfo(BaseModel):
    """A restoration model."""

    name: str
    task: str = Field(description="What it undoes: Upscale, Denoise, Deblock, Colourise or Fill.")
    factor: int = Field(description="Sides of the restored picture, relative to those of the picture that is sent.")
    channels: int = Field(description="Of the picture that is sent: 1, to which colours are made grey, or 3.")
    takes: list[str] = Field(description="What is sent beside the picture: mask, sigma.")
    image_shape: list[int] = Field(description="C, H, W of the crops in its training.")
    model: str = Field(description="SHA-256 of architecture and weights.")
    num_classes: int | None
    classes: list[str] | None
    temperature: float | list[float] = Field(description="The recommended one, used where a request gives none.")


class Generation(BaseModel):
    """The settings that the model recommends, the defaults of requests."""

    temperature: float | list[float]
    guidance: float


class Info(BaseModel):
    """The models that are served, and the limits of requests."""

    version: str
    model: str = Field(description="SHA-256 of architecture and weights.")
    image_shape: list[int] = Field(description="C, H, W.")
    num_bits: int
    num_levels: int
    parameters: int
    num_classes: int | None
    classes: list[str] | None = Field(description="Their names, where the model knows them.")
    directions: list[str]
    restorers: list[RestorerInfo]
    generation: Generation
    training: dict[str, Any]
    limits: dict[str, int | float]
