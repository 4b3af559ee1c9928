"""Conditioners, priors and tasks in a configuration: class path and arguments."""

from typing import Any


def describe_part(part: Any) -> dict[str, object]:
    """Return ``class_path`` and ``init_args``, as a configuration file names the part.

    Args:
        part: Has a ``config``: its constructor arguments beyond those that its owner passes, as plain types.
    Raises:
        TypeError: If it has none.
    """
    cls = type(part)
    if not hasattr(part, "config"):  # not an AttributeError, which the properties of an nn.Module would hide
        raise TypeError(
            f"{cls.__qualname__} needs a property config to be saved: a dict of its constructor arguments, plain types"
        )
    # The public path, such as "glow_app.nn.ConvConditioner", which does not change when a class moves to another file.
    package = ".".join(cls.__module__.split(".")[:2]) if cls.__module__.startswith("glow_app.") else cls.__module__
    return {"class_path": f"{package}.{cls.__qualname__}", "init_args": part.config}
