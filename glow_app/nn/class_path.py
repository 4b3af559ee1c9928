"""Exchangeable parts of a model in a configuration: class path and arguments."""

from typing import Any


def describe_part(part: Any) -> dict[str, object]:
    """Return ``class_path`` and ``init_args``, as a configuration file names the part.

    Args:
        part: Has a ``config``: its constructor arguments beyond those that its owner passes, as plain types.
    Raises:
        TypeError: If it has none.
    """
    if not hasattr(part, "config"):  # not an AttributeError, which the properties of an nn.Module would hide
        raise TypeError(
            f"{type(part).__qualname__} needs a property config to be saved: a dict of its constructor arguments"
        )
    return {"class_path": class_path(type(part)), "init_args": part.config}


def class_path(cls: type) -> str:
    """Return the public path of a class, such as ``glow_app.nn.ConvConditioner``, whatever its file."""
    package = ".".join(cls.__module__.split(".")[:2]) if cls.__module__.startswith("glow_app.") else cls.__module__
    return f"{package}.{cls.__qualname__}"
