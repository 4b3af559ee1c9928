"""Exchangeable parts of a model in a configuration: class path and arguments."""

from inspect import Parameter, signature
from typing import Any


def describe_part(part: Any) -> dict[str, object]:
    """Return ``class_path`` and ``init_args``, as a configuration file names the part.

    Args:
        part: Has a ``config``: its constructor arguments beyond those that its owner passes, as plain types.
    Raises:
        TypeError: If it has none.
    """
    if not hasattr(part, "config"):
        raise _needs_config(part)
    return {"class_path": class_path(type(part)), "init_args": part.config}


def config_without_arguments(part: Any, num_passed: int = 0) -> dict[str, object]:
    """Return the ``config`` of a part whose constructor takes no arguments beyond those that its owner passes.

    Raises:
        TypeError: If it takes others, which would silently have their defaults once the part is rebuilt.
    """
    parameters = signature(type(part)).parameters.values()
    if sum(parameter.kind == Parameter.POSITIONAL_OR_KEYWORD for parameter in parameters) > num_passed:
        raise _needs_config(part)
    return {}


def _needs_config(part: Any) -> TypeError:  # not an AttributeError, which the properties of an nn.Module would hide
    return TypeError(
        f"{type(part).__qualname__} needs a property config to be saved: a dict of its constructor arguments"
    )


def class_path(cls: type) -> str:
    """Return the public path of a class, such as ``glow_app.nn.ConvConditioner``, whatever its file."""
    package = ".".join(cls.__module__.split(".")[:2]) if cls.__module__.startswith("glow_app.") else cls.__module__
    return f"{package}.{cls.__qualname__}"
