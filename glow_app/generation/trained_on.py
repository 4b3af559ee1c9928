"""A record of splits and training pictures, by which pictures held out are told from those of the training."""

import base64
import zlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

import numpy as np
from torch import Tensor

from glow_app.data.folder import split_hashes
from glow_app.data.image_set import ImageSet
from glow_app.data.splits import Split, SplitFractions
from glow_app.messages import pluralise

MOST_PICTURES = 50_000  # of larger training sets, no pictures are recorded
_READ = 1024  # pictures hashed at a time
_CUT = tuple(field.name for field in fields(SplitFractions))


def record_of(data: Mapping[str, Any], train: ImageSet | None) -> dict[str, str]:
    """Return the record: a hash of the file names of each split, and 32-bit hashes of all training pictures.

    Args:
        data: Arguments of ``load_split``.
        train: The training pictures, if all are known; they are recorded if they are decoded, and not too many.
    """
    contents: dict[str, str] = {}
    if data["source"] in ("folder", "photos") and data.get("root") is not None:
        cut = SplitFractions(**{name: data[name] for name in _CUT if name in data})
        contents |= split_hashes(data["source"], data["root"], cut)
    if train is not None and train.is_decoded and len(train) <= MOST_PICTURES:
        contents["pictures"] = _text(_hashes(train))
    return contents


def known_pictures(facts: Any) -> np.ndarray | None:
    """Return the hashes of the training pictures from the facts of a model or of its data; None if there are none."""
    try:
        text = facts["contents"]["pictures"]
    except (LookupError, TypeError):
        return None
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<u4")
    except (TypeError, ValueError) as error:
        raise ValueError("the model's record of its training pictures is damaged; export the model again") from error


def trained_on(known: np.ndarray | None, images: Tensor) -> list[bool]:
    """Return whether each uint8 image, (B, C, H, W), was a training picture; false if these are not known."""
    return np.isin(_hashes_of(images.cpu()), [] if known is None else known).tolist()


def count_trained_on(facts: Any, images: ImageSet) -> int | None:
    """Return how many images were training pictures; None if these are not known."""
    known = known_pictures(facts)
    return None if known is None else int(np.isin(_hashes(images), known).sum())


def origin(is_same: bool, count: int | None) -> str:
    """Return in words how images to measure on relate to the training.

    Args:
        is_same: Whether they are a split of the training that was held out.
        count: From :func:`count_trained_on`.
    """
    words = ["as in training"] if is_same else []
    if count or (count == 0 and not is_same):
        words.append(f"{count or 'none'} equal to training images")
    return ", ".join(words) or "the model may have been trained on them"


def is_same_split(recorded: Mapping[str, Any], current: Mapping[str, Any], split: Split) -> bool:
    """Return whether a split is that of the training, as far as options and names of files tell.

    Args:
        recorded, current: Facts of the data: arguments of ``load_split``, and :func:`record_of` as ``contents``.
    """
    before, now = ((data.get("contents") or {}).get(split) for data in (recorded, current))
    return not _other_options(recorded, current) and before in (None, now)


def changes(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    """Return in words how training pictures and splits differ from those recorded; empty if they do not."""
    words, options = {}, _other_options(recorded, current)
    before, now = known_pictures(recorded), known_pictures(current)
    if before is None or now is None:
        words["training"] = "" if is_same_split(recorded, current, "train") else "changed"
    else:
        gone, new = len(np.setdiff1d(before, now)), len(np.setdiff1d(now, before))
        words["training"] = f"{pluralise(gone, 'picture')} gone, {new} new" if gone or new else ""
    for split in ("validation", "test"):
        words[split] = "" if is_same_split(recorded, current, split) else "changed"
    if not options and not any(words.values()):
        return ""
    described = [f"{name}: {text or 'the same'}" for name, text in words.items()]
    return "; ".join([f"other {', '.join(options)}"] * bool(options) + described)


def merged(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, str]:
    """Return the record of a training that went on with other pictures or splits."""
    before, now = known_pictures(recorded), known_pictures(current)
    if before is None or now is None:
        return dict.fromkeys(get_args(Split), "mixed")  # differs from every hash
    return {**current["contents"], "pictures": _text(np.concatenate([before, now]))}


def _other_options(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    return [name for name in ("source", *_CUT, "count") if recorded.get(name) != current.get(name)]


def _hashes(images: ImageSet) -> np.ndarray:
    starts = range(0, len(images), _READ)
    return np.concatenate([_hashes_of(images.__getitems__(range(len(images))[i : i + _READ])[0]) for i in starts])


def _hashes_of(images: Any) -> np.ndarray:
    return np.array([zlib.crc32(image) for image in np.ascontiguousarray(images)], dtype="<u4")


def _text(hashes: np.ndarray) -> str:
    return base64.b64encode(np.unique(hashes).tobytes()).decode()
