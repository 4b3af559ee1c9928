"""Select the images to measure a model on: by default those held out by the split of its training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glow_app.data.folder import is_other_folder, whole_folder
from glow_app.data.image_set import ImageSet
from glow_app.data.sources import load_split
from glow_app.data.splits import Split
from glow_app.evaluation.batches import fingerprint
from glow_app.evaluation.trained_on import changes, count_trained_on, is_same_split, origin, record_of
from glow_app.models.image_model import ImageModel


@dataclass(frozen=True)
class EvaluationData:
    """Held-out images and training images.

    Args:
        held_out: Images to measure on.
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
    """Return images to measure a model on.

    If the source is that of the training, its recorded split is used, because another would put training images among
    the held-out ones. A folder other than the training folder is measured whole, unless it has its own splits. Labels
    get the meaning that they had in training, by :meth:`Conditioning.align
    <glow_app.conditioning.Conditioning.align>`.

    Args:
        recorded: Data of the training, from :meth:`StoredModel.data
            <glow_app.storage.stored_model.StoredModel.data>`.
        source: A source of ``load_split``; the recorded one if None.
        root: Place of the images to measure on; that of the training if None.
        training: Place of the training images; the recorded place if None.
        split: "test" or "validation".
        limit: Maximum number of held-out images.
        train_limit: Maximum number of training images; 0 reads none.
    Raises:
        ValueError: If the source is neither given nor recorded, needs a place and has none, or does not fit what the
            model was trained to be given.
        FileNotFoundError: If the images do not exist.
    """
    arguments, is_other = _data_arguments(recorded, source, root, training)
    source, trained_limit = arguments["source"], arguments.pop("limit", None)
    arguments.pop("contents", None)
    limits = [number for number in (trained_limit, train_limit) if number is not None]
    shape = model.flow.image_shape
    cut: dict[str, Any] = {"split": split, **arguments} | (whole_folder(source, str(root), split) if is_other else {})
    held_out = load_split(image_shape=shape, limit=limit, **cut)
    is_known = train_limit != 0 and (not is_other or arguments.get("root") is not None)
    train = (
        load_split(split="train", image_shape=shape, limit=min(limits, default=None), **arguments) if is_known else None
    )
    held_out = model.conditioning.align(held_out)
    is_all = train is not None and (train_limit is None or len(train) < train_limit)
    current = {**arguments, "contents": record_of(arguments, train if is_all else None)}
    is_same = not is_other and is_same_split(recorded, current, split)
    count = count_trained_on(recorded, held_out)
    is_whole = cut["split"] != split
    facts = {name: value for name, value in cut.items() if name != "cache_dir" and value is not None} | {
        "as_in_training": is_same,
        "origin": origin(is_same, count),
        "changes": "" if is_other or source != recorded.get("source") else changes(recorded, current),
        "split": "whole" if is_whole else split,
        "images": len(held_out),
        "image_shape": list(shape),
        "sha256": fingerprint(held_out),
        "training_images": None if train is None else len(train),
    }
    return EvaluationData(held_out, train, facts)


def _data_arguments(
    recorded: Mapping[str, Any], source: str | None, root: str | None, training: str | None
) -> tuple[dict[str, Any], bool]:
    """Return the known data arguments of the training, and whether ``root`` is another folder."""
    source = source or recorded.get("source")
    if source is None:
        raise ValueError("the model does not record its training data; pass --source, and --root if it needs one")
    arguments = dict(recorded) if source == recorded.get("source") else {"source": source}
    arguments |= {} if training is None else {"root": training}
    is_other = is_other_folder(source, root, arguments.get("root"))
    arguments |= {} if root is None or is_other else {"root": root}
    if source in ("folder", "photos", "datasets") and arguments.get("root") is None and root is None:
        raise ValueError(f"source {source} needs --root, the images to measure on, or --training, the training images")
    return arguments, is_other
