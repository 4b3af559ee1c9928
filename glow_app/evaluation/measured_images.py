"""Select the images to measure a model on: by default those held out by the split of its training."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glow_app.data.image_set import ImageSet
from glow_app.data.listing import list_images, split_layout
from glow_app.data.sources import load_split
from glow_app.data.splits import Split
from glow_app.evaluation.batches import fingerprint
from glow_app.models.image_model import ImageModel

_PLACED = ("folder", "photos", "datasets")  # sources that need a root
_ARCHIVES = ("cifar10", "fashion_mnist", "mnist")  # those whose root, if given, has files of another kind


@dataclass(frozen=True)
class EvaluationData:
    """Held-out images and training images.

    Args:
        train: Training images; None if unknown or not requested.
        facts: Everything that determines the images, of plain types.
    """

    held_out: ImageSet
    train: ImageSet | None
    facts: dict[str, Any]


def evaluation_data(
    model: ImageModel,
    recorded: Mapping[str, Any],
    *,
    source: str | None = None,
    root: str | None = None,
    training: str | None = None,
    split: Split = "test",
    limit: int | None = None,
    train_limit: int | None = None,
) -> EvaluationData:
    """Return images to measure a model on, chosen by :func:`data_arguments`.

    Labels get the meaning that they had in training, by :meth:`Vocabulary.relabel
    <glow_app.conditioning.Vocabulary.relabel>`.

    Args:
        recorded, source, root, training, split: As for :func:`data_arguments`.
        train_limit: Maximum number of training images; 0 reads none.
    Raises:
        ValueError: As from :func:`data_arguments`, or if the images do not fit what the model was trained to be given.
        FileNotFoundError: If the images do not exist.
    """
    trained, measured = data_arguments(recorded, source, root, training, split)
    shape, train = model.flow.image_shape, None
    held_out = model.vocabulary.relabel(load_split(image_shape=shape, **measured | {"limit": limit}))
    if trained is not None and train_limit != 0:
        limits = [number for number in (trained.get("limit"), train_limit) if number is not None]
        train = load_split(image_shape=shape, **trained | {"split": "train", "limit": min(limits, default=None)})
    is_of_training = measured["source"] == recorded.get("source") and measured == {**(trained or {}), "split": split}
    omitted = ("cache_dir", "limit")
    facts = {name: value for name, value in measured.items() if name not in omitted and value is not None} | {
        "as_in_training": is_of_training,
        "split": split if measured["split"] == split else "whole",
        "images": len(held_out),
        "image_shape": list(shape),
        "sha256": fingerprint(held_out),
        "training_images": None if train is None else len(train),
    }
    return EvaluationData(held_out, train, facts)


def data_arguments(
    recorded: Mapping[str, Any], source: str | None, root: str | None, training: str | None, split: Split
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return arguments of ``load_split`` for the training images, None if unknown, and for those to measure on.

    If the source is that of the training, its recorded split is used, because another would put training images among
    the held-out ones. A folder other than the training folder is measured whole, unless it has its own splits; its
    attributes are unknown. Where the source has no folder of its own, or another kind of place, a folder of images is
    such another folder.

    Args:
        recorded: Data of the training, from :meth:`StoredModel.data
            <glow_app.storage.stored_model.StoredModel.data>`.
        source: A source of ``load_split``; the recorded one if None.
        root: Place of the images to measure on; that of the training if None.
        training: Place of the training images; the recorded place if None.
        split: "test" or "validation".
    Raises:
        ValueError: If the source is neither given nor recorded, or needs a place and has none.
    """
    if source is None and root is not None and _is_folder_of_images(root, recorded.get("source")):
        trained = dict(recorded) | ({} if training is None else {"root": training}) if "source" in recorded else None
        return trained, _other_folder({"source": "folder"}, root, split)
    source = source or recorded.get("source")
    if source is None:
        raise ValueError("the model does not record its training data; pass --source, and --root if it needs one")
    trained = dict(recorded) if source == recorded.get("source") else {"source": source}
    trained |= {} if training is None else {"root": training}
    trained_root = trained.get("root")
    places = {Path(place).expanduser().resolve() for place in (root, trained_root) if place is not None}
    if source in ("folder", "photos") and root is not None and (trained_root is None or len(places) > 1):
        return None if trained_root is None else trained, _other_folder(trained, root, split)
    trained |= {} if root is None else {"root": root}
    if source in _PLACED and trained.get("root") is None:
        raise ValueError(f"source {source} needs --root, the images to measure on, or --training, the training images")
    return trained, {**trained, "split": split}


def _is_folder_of_images(root: str, source: str | None) -> bool:
    """Return whether a root is a folder of images, and not the place of the source's own files."""
    if source not in _ARCHIVES:
        return source not in _PLACED
    try:
        return bool(list_images(Path(root).expanduser()))
    except (FileNotFoundError, ValueError):
        return False


def _other_folder(common: Mapping[str, Any], root: str, split: Split) -> dict[str, Any]:
    """Return arguments of ``load_split`` for a folder without training images: its own split, or all of it."""
    measured = {**common, "root": root, "split": split, "attributes": None}
    if common["source"] == "photos" or [*split_layout(list_images(Path(root).expanduser()))] == ["train"]:
        measured |= {"split": "train", "validation_fraction": 0.0, "test_fraction": 0.0}
    return measured
