"""A record of splits and training pictures, by which pictures held out are told from those of the training."""

import base64
import hashlib
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from torch import Tensor

from glow_app.data.image_set import ImageSet
from glow_app.data.listing import list_images, split_layout
from glow_app.data.splits import Split, SplitFractions
from glow_app.evaluation.batches import batches
from glow_app.messages import pluralise

MOST_PICTURES = 50_000  # of larger training sets, no pictures are recorded
_CUT = tuple(field.name for field in fields(SplitFractions))


def record_of(data: Mapping[str, Any], train: ImageSet | None) -> dict[str, str]:
    """Return the record: a hash of the file names of each split, and 32-bit hashes of all training pictures.

    Args:
        data: Arguments of ``load_split``.
        train: The training pictures, if all are known. They are recorded if they are not too many, unless they are
            decoded on access.
    """
    source, record = data["source"], {}
    if source in ("folder", "photos") and data.get("root") is not None:
        cut = SplitFractions(**{name: data[name] for name in _CUT if name in data})
        record = _split_hashes(source, Path(data["root"]).expanduser(), cut)
    if train is not None and len(train) <= MOST_PICTURES and source != "datasets" and "://" not in source:
        record["pictures"] = _text(_hashes(train))
    return record


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
    """Return whether each uint8 image, (B, C, H, W), is a known training picture."""
    return np.isin(_hashes_of(images), [] if known is None else known).tolist()


def count_trained_on(facts: Any, images: ImageSet) -> int | None:
    """Return how many images are training pictures; None if these are not known."""
    known = known_pictures(facts)
    return None if known is None else int(np.isin(_hashes(images), known).sum())


def origin(is_same: bool, count: int | None) -> str:
    """Return in words how images to measure on relate to the training.

    Args:
        is_same: Whether they are a split that was held out from the training.
        count: From :func:`count_trained_on`.
    """
    words = ["held out from the training"] if is_same else []
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
    options, before, now = _other_options(recorded, current), known_pictures(recorded), known_pictures(current)
    same = {split: is_same_split(recorded, current, split) for split in get_args(Split)}
    pictures = [] if same["train"] else ["training pictures changed"]
    if before is not None and now is not None:
        gone, new = len(np.setdiff1d(before, now)), len(np.setdiff1d(now, before))
        pictures = [f"{pluralise(gone, 'training picture')} gone, {new} new"] if gone or new else []
    splits = [f"{split} split changed" for split in ("validation", "test") if not same[split]]
    return "; ".join([f"other {', '.join(options)}"] * bool(options) + pictures + splits)


def merged(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, str]:
    """Return the record of a training that went on with other pictures or splits."""
    before, now = known_pictures(recorded), known_pictures(current)
    if before is None or now is None:
        return dict.fromkeys(get_args(Split), "mixed")  # differs from every hash
    return {**current["contents"], "pictures": _text(np.concatenate([before, now]))}


def _split_hashes(source: str, root: Path, cut: SplitFractions) -> dict[str, str]:
    """Return a hash of the file names of each split of a folder."""
    listing, hashes = list_images(root), {}
    parts = split_layout(listing) if source == "folder" else {"train": listing}
    for split in get_args(Split):
        names = parts.get(split, parts["train"]).names
        with suppress(ValueError):  # nothing is held out
            chosen = "\0".join(sorted(names[row] for row in cut.rows(names, split, parts)))
            hashes[split] = hashlib.sha256(chosen.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return hashes


def _other_options(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    return [name for name in ("source", *_CUT, "count") if recorded.get(name) != current.get(name)]


def _hashes(images: ImageSet) -> np.ndarray:
    return np.concatenate([_hashes_of(part) for part, _ in batches(images, 1024)])


def _hashes_of(images: Tensor) -> np.ndarray:
    return np.array([zlib.crc32(image.tobytes()) for image in images.cpu().numpy()], dtype="<u4")


def _text(hashes: np.ndarray) -> str:
    return base64.b64encode(np.unique(hashes).tobytes()).decode()
