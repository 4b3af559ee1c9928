"""Summarise an evaluation in words."""

from collections.abc import Mapping
from typing import Any

from glow_app.messages import pluralise

LEARNT = 0.9  # bits/dim relative to PNG; below, the model has learnt something
COPIES = 0.6  # probability that a sample is nearer to training images than a held-out image; 0.5 is ideal
DISTINGUISHABLE = 3.0  # FID as a multiple of that of real images
HONEST = (0.8, 0.97)  # accepted shares of true values in 90 % intervals of draws
USEFUL_GAIN = 0.3  # dB above the damaged picture
# Smallest precision and recall, relative to real images, for each wording.
LOOKS = ((0.95, "resemble real images"), (0.8, "mostly resemble real images"), (0.0, "often resemble none"))
VARIETY = ((0.9, "vary as much"), (0.7, "vary less"), (0.0, "vary much less"))


def verdict(record: Mapping[str, Any]) -> list[str]:
    """Return four sentences for users: what was learnt, how samples look, copies and the inverse, and what to do next.

    Args:
        record: Content of ``evaluation.json`` from ``glow evaluate``.
    """
    bits, png = _bits(record)
    images = "held-out images" if record["data"]["as_in_training"] else "these images"
    figures = f"{bits:.2f} bits/dim, where a PNG of them takes {png:.2f}"
    if bits < LEARNT * png:
        learnt = f"The model has learnt what {images} have in common: {figures}."
    else:
        learnt = f"The model has not learnt much of {images} yet: {figures}."
    return [learnt, _samples(record), f"{_copies(record)}; {_inverse(record)}.", f"Next: {_next(record)}."]


def restoration_verdict(record: Mapping[str, Any]) -> list[str]:
    """Return three sentences for users: how good restorations are, whether intervals are honest, and what to do next.

    Args:
        record: Content of ``evaluation.json`` from ``glow evaluate`` for a restoration model.
    """
    kinds, temperature = record["restorations"], record["samples"]["temperature"]
    given = kinds["given"]["name"]
    is_cool = min([temperature] if isinstance(temperature, (int, float)) else temperature) < 1
    gains = {kind: kinds[kind]["gain"]["mean"] for kind in ("mean", "zero")}
    near = (
        f"The {kinds['mean']['name']} is {_decibels(gains['mean'])} the {given}, a draw at temperature 0 "
        f"{_decibels(gains['zero'])}"
    )
    if "classical" in kinds:
        near += f"; {kinds['classical']['name']} is {_decibels(kinds['classical']['gain']['mean'])}"
    share, (least, most) = record["within"][-1], HONEST
    words = "too narrow" if share < least else "too wide" if share > most else "honest"
    honest = f"The intervals of draws are {words}: those of 90% hold {share:.0%} of the true values"
    if share < least and is_cool:
        honest += ", as is usual below temperature 1; --temperature 1 measures the model's own distribution"
    if record["exploded"]:
        honest += (
            f"; {pluralise(record['exploded'], 'draw')} of {record['samples']['all']:,} exploded in places, which were"
        )
        honest += " drawn again with less noise"
    return [f"{near}.", f"{honest}.", f"Next: {_next_restoration(record, max(gains.values()), is_cool)}."]


def _decibels(gain: float) -> str:
    return f"{abs(gain):.1f} dB {'above' if gain > 0 else 'below'}"


def _next_restoration(record: Mapping[str, Any], gain: float, is_cool: bool) -> str:
    if record["agree"] is not None and record["agree"] < 1:
        return f"do not rely on what is known of the pictures: {1 - record['agree']:.2%} of draws change it"
    if gain < USEFUL_GAIN or (not is_cool and record["within"][-1] < HONEST[0]):
        return "train longer, on more pictures, or a larger model"
    return "use it (glow restore), or share it (glow export)"


def _bits(record: Mapping[str, Any]) -> tuple[float, float]:
    return record["bits_per_dim"]["one_draw"]["mean"], record["bits_per_dim"]["png"]


def _shares(record: Mapping[str, Any]) -> dict[str, float]:
    """Return precision and recall relative to those of real images, or their values if these are unknown."""
    drawn, real = (_figures(record, name) for name in ("drawn", "training_images"))
    return {name: drawn[name] / max(real.get(name, 1.0), 1e-9) for name in ("precision", "recall")}


def _figures(record: Mapping[str, Any], images: str) -> dict[str, float]:
    comparison = record["comparisons"].get(images)
    return {} if comparison is None else {**comparison["precision_recall"], "fid": comparison["fid"]}


def _samples(record: Mapping[str, Any]) -> str:
    if record["comparisons"] is None:
        return "Whether samples look real was not measured: look at them."
    drawn, real, shares = _figures(record, "drawn"), _figures(record, "training_images"), _shares(record)
    figures = [
        f"{name} {drawn[name]:.2f}" + (f" of {real[name]:.2f}" if real else "") for name in ("precision", "recall")
    ]
    looks, variety = (
        next(words for least, words in choices if share >= least)
        for choices, share in zip((LOOKS, VARIETY), shares.values(), strict=True)
    )
    text = f"By their features, samples {looks} ({figures[0]}) and {variety} ({figures[1]})"
    if real and drawn["fid"] > DISTINGUISHABLE * max(real["fid"], 0.0):
        text += f"; their FID of {drawn['fid']:.2f}, for real images {real['fid']:.2f}, still tells them apart"
    return f"{text}."


def _nearer(record: Mapping[str, Any]) -> float:
    """Return the larger probability, by features or pixels, of a sample being nearer than a held-out image."""
    near = record["nearest"]
    return max(near[kind]["nearer"] for kind in ("features", "pixels") if kind in near)


def _copies(record: Mapping[str, Any]) -> str:
    if record["nearest"] is None:
        return "Whether it copies is not known without the training images"
    among = pluralise(record["nearest"]["training_images"], "training image")
    if _nearer(record) > COPIES:
        return f"Samples are suspiciously near to some of {among}, as neighbours.png shows"
    return f"There is no sign of copies among {among}"


def _inverse(record: Mapping[str, Any]) -> str:
    reconstruction = record["inverse"]["reconstruction"]
    if reconstruction["exact_images"] == 1:
        return "the inverse is exact: every image came back in every pixel"
    share, error = 1 - reconstruction["exact_images"], reconstruction["max_pixel_error"]
    return f"the inverse is not exact: {share:.1%} of images came back changed, by up to {error} of 255"


def _next(record: Mapping[str, Any]) -> str:
    bits, png = _bits(record)
    if record["inverse"]["reconstruction"]["exact_images"] < 1:
        return "do not rely on reconstructions and edits by this model, and train another with a lower learning rate"
    if record["nearest"] is not None and _nearer(record) > COPIES:
        return "train on more pictures, or stop earlier"
    if bits >= LEARNT * png:
        return "train longer, or a larger model"
    if record["comparisons"] is None:
        return "look at samples (glow sample), and measure them with --features, if you have an Inception network"
    if min(_shares(record).values()) < LEARNT and record["samples"]["temperature"] == 1:
        return "glow evaluate --tune --split validation searches for settings with better samples"
    return "use it (glow sample, glow edit, glow score), or share it (glow export)"
