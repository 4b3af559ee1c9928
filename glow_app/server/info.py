"""What ``/v1/info`` says: the models that are served, what they can be given, and the limits of requests."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from glow_app import __version__
from glow_app.data.attributes import Kind
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.pipeline.reference import REFERENCE_KEY
from glow_app.server.limits import Limits
from glow_app.server.schemas import Sha256
from glow_app.storage.model_folders import SUMMARY_KEY

# Facts that are returned elsewhere, or are not for people.
_OMITTED = ("classes", REFERENCE_KEY, SUMMARY_KEY)


class RestorerInfo(BaseModel):
    """A restoration model."""

    name: str
    model: Sha256
    source: str | None = Field(description="Source of its training pictures, such as photos or faces, if known.")
    task: str = Field(description="Class name of its task.")
    factor: int = Field(description="Factor by which width and height grow.")
    channels: int = Field(description="Channels of the input: 1 (colours are converted to grey) or 3.")
    takes: dict[str, Literal["picture", "number"]] = Field(description="Further inputs: the kind of each by name.")
    decides: bool = Field(description="Whether it leaves clean parts as they are, without `force`.")
    temperature: float | list[float] = Field(description="The recommended temperature, the default.")


class Attribute(BaseModel):
    """An attribute that the model was trained with, and its values in the training data."""

    name: str
    kind: Kind = Field(description="Circular values, such as a hue, run from 0 to 1, which equals 0.")
    mean: float = Field(description="For yes/no attributes, the share of yes.")
    least: float
    most: float


class GivenKind(BaseModel):
    """What a model can be given."""

    kind: str
    values: list[Any] = Field(description="All values, if they are few, such as the names of classes.")
    attributes: list[Attribute] = Field([], description="Attributes by name, each of which may be left out.")


class Info(BaseModel):
    """The models that are served, and the limits of requests."""

    version: str
    name: str
    summary: str = Field(description="What the model draws, in a sentence for visitors of the page.")
    model: Sha256
    image_shape: list[int] = Field(description="(C, H, W)")
    sizes: list[tuple[int, int]] = Field(
        description="Heights and widths: of the model's images and, of a wavelet flow, of its coarser levels."
    )
    given: GivenKind | None = Field(description="What the model can be given; null for nothing.")
    guided: bool = Field(description="Whether the model takes guidance.")
    num_bits: int
    num_levels: int
    parameters: int
    directions: list[str]
    restorers: list[RestorerInfo]
    generation: GenerationSettings = Field(description="The recommended settings, the defaults of requests.")
    training: dict[str, Any]
    limits: dict[str, int | float]


def describe_served(
    model: ImageModel,
    limits: Limits,
    name: str,
    directions: Iterable[str],
    training: Mapping[str, Any],
    restorers: Iterable[RestorerInfo],
) -> Info:
    """Return the information about a served model, with the names of its directions, and about restorers."""
    known = model.vocabulary.describe()
    _, height, width = model.flow.image_shape
    what, _, more = str(training.get(SUMMARY_KEY, "draws pictures")).partition(". ")
    return Info(
        version=__version__,
        name=name,
        summary=f"{what[:1].upper()}{what[1:]}, {width}x{height}. {more}".strip(),
        model=model.hash,
        image_shape=list(model.flow.image_shape),
        sizes=model.flow.sizes,
        given=None if known is None else GivenKind(**known),
        guided=model.conditioning.guided,
        num_bits=model.num_bits,
        num_levels=len(model.flow.latent_shapes),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        directions=list(directions),
        restorers=list(restorers),
        generation=model.generation,
        training={name: value for name, value in training.items() if not name.startswith(_OMITTED)},
        limits=vars(limits),
    )
