"""Which images a model is measured on: those that its training held out, by the same split."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glow_app.data import ImageSet, Split, load_split
from glow_app.evaluation.batches import fingerprint
from glow_app.models.image_model import ImageModel

__all__ = ["EvaluationData", "evaluation_data"]


@dataclass(frozen=True)
class EvaluationData:
    """Held-out images and training images.

    Args:
        held_out: What is measured on.
        train: Of the training.
        facts: All that decides which images these are, of plain types.
    """

    held_out: ImageSet
    train: ImageSet
    facts: dict[str, Any]


def evaluation_data(
    model: ImageModel,
    recorded: Mapping[str, Any],
    *,
    source: str | None = None,
    root: str | None = None,
    split: Split = "test",
    limit: int | None = None,
    train_limit: int | None = None,
) -> EvaluationData:
    """Return images to measure a model on.

    Where the source is the training's, seed and shares are the training's as well: by another cut there would be
    training images among those held out.

    Args:
        model: The model.
        recorded: What the model's file says of its training's data, :meth:`StoredModel.data
            <glow_app.storage.stored_model.StoredModel.data>`.
        source: One of ``load_split``; the recorded one if None.
        root: Where its images lie; the recorded place if None.
        split: "test" or "validation".
        limit: Of the held-out images.
        train_limit: Of the training images.
    Raises:
        ValueError: If neither says which source, it needs a place and has none, or has more or fewer
            classes than the model. Where only their names differ there is a warning.
        FileNotFoundError: If the images are not there.
    """
    source = source or recorded.get("source")
    if source is None:
        raise ValueError("the model does not record what it was trained on; give --source, and --root if it needs one")
    known = source == recorded.get("source")
    chosen: dict[str, Any] = dict(recorded) if known else {"source": source}
    chosen |= {} if root is None else {"root": root}
    if source in ("folder", "shards") and chosen.get("root") is None:
        raise ValueError(f"source {source} needs --root: where the images lie")
    limits = [one for one in (chosen.pop("limit", None), train_limit) if one is not None]
    shape = model.flow.image_shape
    held_out = load_split(split=split, image_shape=shape, limit=limit, **chosen)
    train = load_split(split="train", image_shape=shape, limit=min(limits, default=None), **chosen)
    _check_classes(model, source, held_out.class_names)
    facts = {name: value for name, value in chosen.items() if name != "cache_dir" and value is not None} | {
        "as_in_training": known,
        "split": split,
        "images": len(held_out),
        "image_shape": list(shape),
        "sha256": fingerprint(held_out),
        "training_images": len(train),
    }
    return EvaluationData(held_out, train, facts)


def _check_classes(model: ImageModel, source: str, names: Sequence[str]) -> None:
    num_classes = model.flow.num_classes
    if num_classes is None:
        return
    if len(names) != num_classes:
        raise ValueError(
            f"the model has {num_classes} classes, and the images of {source} have {len(names)}; "
            "give images of the classes that it was trained on"
        )
    if model.class_names and model.class_names != tuple(names):
        first = next(pair for pair in zip(model.class_names, names, strict=True) if pair[0] != pair[1])
        warnings.warn(
            f"the model knows other classes than {source}, such as {first[0]!r} where the images have {first[1]!r}; "
            "labels go by their numbers",
            stacklevel=3,
        )
