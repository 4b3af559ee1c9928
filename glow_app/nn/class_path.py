"""Exchangeable parts by name: what a configuration says of a conditioner or a prior."""

from typing import Protocol

__all__ = ["Part", "describe_part"]


class Part(Protocol):
    """Something that knows its constructor arguments beyond what its owner passes."""

    @property
    def config(self) -> dict[str, object]:
        """The arguments, as plain types."""


def describe_part(part: Part) -> dict[str, object]:
    """Return ``class_path`` and ``init_args``, as a configuration file names the part."""
    cls = type(part)
    # Packages hand their names on, so "glow_app.nn.ConvConditioner" and not the file that it happens to be in.
    package = ".".join(cls.__module__.split(".")[:2]) if cls.__module__.startswith("glow_app.") else cls.__module__
    return {"class_path": f"{package}.{cls.__qualname__}", "init_args": part.config}
