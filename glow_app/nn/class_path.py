"""Public paths of classes, by which the options of a run name them."""


def class_path(cls: type) -> str:
    """Return the public path of a class, such as ``glow_app.nn.ConvConditioner``, whatever its file."""
    package = ".".join(cls.__module__.split(".")[:2]) if cls.__module__.startswith("glow_app.") else cls.__module__
    return f"{package}.{cls.__qualname__}"
