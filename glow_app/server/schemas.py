"""Schemas of requests and answers of the API."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError
from torch import Tensor

from glow_app import numeric_limits
from glow_app.pictures.encoding import png_bytes
from glow_app.pictures.image_batch import Images
from glow_app.pictures.images import to_pil
from glow_app.pictures.picture_file import PictureFile
from glow_app.server.answers import PNG_LEVEL, invalid
from glow_app.server.bodies import Upload

Finite = Annotated[float, Field(allow_inf_nan=False)]
Factor = Annotated[Finite, Field(ge=0, le=numeric_limits.LARGEST_TEMPERATURE)]
Temperature = Annotated[
    Factor | list[Factor] | None,
    Field(description="Factor on the base noise, for all levels or one per level, finest first. Default: the model's."),
]
Guidance = Annotated[Finite, Field(ge=0, le=numeric_limits.LARGEST_GUIDANCE)]
Strength = Annotated[Finite, Field(ge=-numeric_limits.LARGEST_STRENGTH, le=numeric_limits.LARGEST_STRENGTH)]
Number = Annotated[int, Field(ge=0, le=numeric_limits.LARGEST_SEED)]
Seed = Annotated[Number | None, Field(description="Seed of the first image; image i uses seed + i. Random if omitted.")]
Name = Annotated[str, Field(max_length=200)]
_WHAT = "What the model is given, such as a class by name or number, or known attributes by name"
EachGiven = Annotated[Any, Field(description=f"{_WHAT}, for all images or a list of one each; inferred if omitted.")]
AllGiven = Annotated[list[Any] | None, Field(description="What was given for each image, or its most probable value.")]
Position = Annotated[list[Annotated[Finite, Field(ge=0, le=1)]], Field(min_length=1, max_length=2)]
_BYTES = {"type": "string", "format": "byte"}
_FILE = "A PNG, JPEG, WebP, GIF or BMP file: in base64 or a data URL in JSON, and itself in a form."


def _upload(value: Any) -> Upload:
    if not isinstance(value, Upload):
        raise PydanticCustomError("file", "expected a file in base64, or in a form")
    return value


ImageFile = Annotated[Upload, PlainValidator(_upload), WithJsonSchema({**_BYTES, "description": _FILE})]

Size = Annotated[
    list[int] | None,
    Field(
        min_length=2,
        max_length=2,
        description="Height and width of the result, among `sizes` of /v1/info: smaller ones take less time.",
    ),
]


class Picture(NamedTuple):
    """A uint8 image (C, H, W) of an answer, with its metadata; encoded only with the answer."""

    image: Tensor
    text: Mapping[str, Any] | None = None
    source: PictureFile | None = None  # of which it is a result

    def base64(self) -> str:
        """Return its file in base64: a PNG, or of the format of results of the source."""
        write = self.source.content if self.source else png_bytes
        return b64encode(write(to_pil(self.image), self.text or {}, compress_level=PNG_LEVEL)).decode()


_PNG = {"description": "A PNG file in base64.", **_BYTES}
Png = Annotated[Any, PlainSerializer(Picture.base64), WithJsonSchema(_PNG)]
Note = Annotated[str | None, Field(description="How the picture was converted for the model; null if unchanged.")]
Notes = Annotated[list[str | None], Field(description="How each picture was converted for the model.")]
Levels = Annotated[list[float], Field(description="One value per level, finest first.")]
Sha256 = Annotated[str, Field(description="SHA-256 of architecture and weights.")]


_EXAMPLE = (  # a grey ramp of 64x64
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAWUlEQVR42u3PBw0AIAwAMNjxr3gJOkZaB70RcTarzNwd6O7dgaoS"
    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEPg9cGdmdeABqJkG4FoszEUAAAAASUVORK5CYII="
)


def _config(**example: Any) -> ConfigDict:
    """Return the configuration of a request, with an example for the reference."""
    return ConfigDict(extra="forbid", strict=True, json_schema_extra={"example": example} if example else None)


class _Request(BaseModel):
    model_config = _config()


class SampleRequest(_Request):
    """A request to draw images."""

    model_config = _config(count=2, seed=7)
    count: int = Field(1, ge=1, description="Number of images.")
    temperature: Temperature = None
    guidance: Guidance | None = Field(
        None, description="Above 1, images are more typical of their class and vary less. Default: the model's."
    )
    seed: Seed = None
    given: Any = Field(None, description=f"{_WHAT}; all values in turn if omitted.")
    size: Size = None


class Sampled(BaseModel):
    """A drawn image, its seed, and what the model was given."""

    image: Png
    seed: int
    given: Any = None


def sampled(images: Images, source: PictureFile | None = None) -> list[Sampled]:
    """Return drawn images, with their seeds and what was given."""
    return [
        Sampled(image=Picture(image, facts, source), seed=facts["seed"], given=facts.get("given"))
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

    model_config = _config(images=[_EXAMPLE, _EXAMPLE], frames=5)
    images: list[ImageFile] = Field(min_length=2, description="Images to interpolate between, in this order.")
    frames: int = Field(9, ge=2, description="Frames from each image to the next, both included.")
    at: list[Position] | None = Field(
        None,
        min_length=1,
        description="Positions of the frames, if not evenly spaced: `[t]` between two images, 0 to 1; `[across, "
        "down]` in the square between four images (top left, top right, bottom left, bottom right).",
    )
    spherical: bool = Field(False, description="Along arcs, which preserve the norm of the latents, instead of lines.")
    given: EachGiven = None
    size: Size = None

    def weights(self, num_levels: int) -> Tensor | None:
        """Return the weights of the frames for :func:`~glow_app.pipeline.blend`; None if they are evenly spaced."""
        if self.at is None:
            return None
        num_images = len(self.images)
        if any(len(position) != {2: 1, 4: 2}.get(num_images) for position in self.at):
            raise invalid(
                f"at: expected [t] between 2 images or [across, down] between 4; there are {num_images} images"
            )
        weights = torch.tensor(self.at)[:, None].expand(-1, num_levels, -1)
        return weights.squeeze(2) if num_images == 2 else weights


class InterpolateAnswer(BaseModel):
    """The frames; evenly spaced ones include the images of the request exactly."""

    frames: list[Png]
    given: AllGiven
    notes: Notes


class Edit(_Request):
    """A step along a direction."""

    direction: Name = Field(description="Name of a direction, as listed by /v1/info.")
    strength: Strength = Field(1.0, description="0 leaves every pixel unchanged.")


class EditRequest(_Request):
    """A request to change an image, along directions or by a model that was trained with attributes."""

    model_config = _config(image=_EXAMPLE, attributes="smiling")
    image: ImageFile
    edits: list[Edit] = Field([], max_length=16)
    attributes: dict[Name, Finite | bool] | Name | None = Field(
        None, description="Attributes to change, with their values; or as text, such as `smiling, no hat`."
    )
    strength: Strength = Field(1.0, description="Factor of the change of attributes.")
    given: Any = Field(None, description=f"{_WHAT}; inferred if omitted, as is each attribute that is left out.")
    size: Size = None


class EditAnswer(BaseModel):
    """The changed image."""

    image: Png
    given: Any = Field(description="What the picture is given; sent as `given`, it saves the next inference.")
    given_by: Literal["request", "picture", "inference"] | None = Field(
        description="Where that is from: the `picture` has it if this model drew it, in the text chunks of its PNG."
    )
    note: Note


class ImagesRequest(_Request):
    """A request to encode images, and perhaps to decode them."""

    model_config = _config(images=[_EXAMPLE])
    images: list[ImageFile] = Field(min_length=1)
    given: EachGiven = None


class DecodeAnswer(BaseModel):
    """The decoded images."""

    images: list[Png]
    given: AllGiven


class ReconstructAnswer(BaseModel):
    """The reconstructed images, and the largest errors."""

    images: list[Png]
    max_pixel_error: int = Field(description="Largest difference from the quantised image, grey levels.")
    max_quantisation: int = Field(description="Largest change by quantisation, grey levels.")
    given: AllGiven
    notes: Notes


class ScoreRequest(_Request):
    """A request to score images."""

    model_config = _config(images=[_EXAMPLE])
    images: list[ImageFile] = Field(min_length=1)
    draws: int = Field(1, ge=1, description="Dequantisation draws of the bits/dim.")
    seed: Number = Field(0, description="Seed of the first image's noise; image i uses seed + i.")
    given: Any = Field(None, description=f"{_WHAT}, for all or a list of one each; if omitted, bits/dim are marginal.")


class Scores(BaseModel):
    """The score of an image; the verdict is null if the model has no statistics of ordinary images."""

    verdict: Literal["usual", "unusual"] | None = Field(description="95 % of ordinary images are usual.")
    reason: str | None = Field(description="Short explanation of the verdict.")
    oddness: float | None = Field(ge=0, le=100, description="Percentage of ordinary images that are less odd.")
    bits_per_dim: float
    percentile: float | None = Field(ge=0, le=100, description="Percentage of ordinary images with lower bits/dim.")
    given: Any = Field(description="What was given, or the most probable value.")
    note: Note


class ScoreAnswer(BaseModel):
    """The scores, one per image."""

    scores: list[Scores]
    draws: int
    usual: str | None = Field(description="The ordinary images of the comparison.")


class RestoreRequest(_Request):
    """A request to restore a damaged picture, of any size."""

    model_config = _config(image=_EXAMPLE)
    image: ImageFile
    restorer: Name | Annotated[list[Name], Field(min_length=1, max_length=3)] | None = Field(
        None,
        description="Name of a restorer, as listed by /v1/info, or up to three, each of which restores what the one "
        "before it gives. Default: photos-clean, or the only one.",
    )
    inputs: dict[Name, Finite | ImageFile | None] = Field(
        {},
        description="Further inputs that the first restorer `takes`: a number, or a picture of the same size; null or "
        "omitted for the task's default, if it has one.",
    )
    count: int = Field(1, ge=1, description="Number of draws; `limits.restored_pixels` bounds their total pixels.")
    temperature: Temperature = Field(
        None,
        description="As for `sample`. Default: the model's for several draws; 0 for one, the best estimate, "
        "of up to `limits.estimated_pixels`.",
    )
    force: bool = Field(False, description="Correct all of the picture, also where it seems to be clean.")
    strip: bool = Field(False, description="Leave out metadata, such as place and author, and convert colours to sRGB.")
    frame: Number | None = Field(None, description="Frame of an animation, from 0; must be given if it has several.")
    seed: Seed = None


class RestoreAnswer(BaseModel):
    """Possible originals of the picture, with their mean and spread.

    With `Accept: application/json, image/jpeg` (or `image/webp`), all but the spread are files of that format.
    """

    images: list[Sampled]
    mean: Png
    spread: Png = Field(description="Black where all draws agree, white from 32 grey levels of deviation on.")
    base: Png = Field(description="Input of the flow, such as the bicubic enlargement.")
    overshoot: list[float] = Field(
        description="Largest overshoot of each draw beyond black or white before clipping, grey levels; tens are usual."
    )
    facts: dict[str, int | float] = Field(
        description="Facts about the damage: the `change` that the model expects, root mean square, grey levels."
    )
    temperature: Levels
    note: str | None = Field(description="How the picture was converted or differs from training; null if neither.")
    restorer: str
    model: Sha256
