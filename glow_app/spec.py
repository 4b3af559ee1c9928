"""Parts of a model and of a run by short names: registered once, built from plain types, and described by them again.

A specification is a mapping of plain types: ``type`` names a registered class, and the rest are its arguments, of which
some may be specifications themselves. A name alone stands for a part with its default arguments. A file can name
nothing that is not registered.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial, wraps
from inspect import Parameter, isclass, signature
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from glow_app.messages import closest

Class = TypeVar("Class", bound=type)
REGISTRY: dict[str, type] = {}
IMPORTED: list[str] = []  # modules of --import, which a later command needs too


def register(name: str) -> Callable[[Class], Class]:
    """Return a decorator that registers a class, whose instances remember the arguments they are built with.

    A class with ``**options`` names the class that takes them as ``options_of``.
    """

    def decorate(part: Class) -> Class:
        wrapped: Any = part
        initialise = wrapped.__init__

        @wraps(initialise)
        def remember(self: Any, *args: Any, **kwargs: Any) -> None:
            vars(self).setdefault("_arguments", (args, kwargs))  # those of the class itself, not those of its base
            initialise(self, *args, **kwargs)

        wrapped.__init__ = remember
        REGISTRY[name] = part
        return part

    return decorate


def spec_of(part: Any) -> Any:
    """Return the specification of a part with all its arguments, or a plain value; raise TypeError if it has none.

    Of a factory, which is a class or a ``partial`` of one, the arguments that its owner passes are left out.
    """
    if isinstance(part, Mapping):
        return {name: spec_of(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [spec_of(value) for value in part]
    if part is None or isinstance(part, bool | int | float | str):
        return part
    args, kwargs = getattr(part, "_arguments", ((), {}))
    return {"type": name_of(type(part)), **_plain(type(part), args, kwargs)}


def build(spec: Any, kind: Any = object, where: str = "part") -> Any:
    """Return a part from its specification.

    Args:
        spec: A mapping or a name.
        kind: The class that it must be of.
        where: The option that holds it, for errors.
    Raises:
        ValueError: If it is not registered, an argument is missing, unknown or of another type, or the part refuses it.
    """
    factory = _factory(spec, kind, where)
    try:
        signature(factory).bind()
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error
    return factory()


def registered(name: Any, kind: Any, where: str) -> Any:
    """Return the class of a name; raise ValueError if there is none, or it is not of a kind."""
    if name not in (names := _names(kind)):
        raise ValueError(
            f"{where} is {str(name)!r:.80}; expected one of {', '.join(names)}{closest(str(name), names)}, or a class "
            "of yours, which --import MODULE registers"
        )
    return REGISTRY[name]


def _names(kind: Any) -> list[str]:
    return [name for name, part in REGISTRY.items() if issubclass(part, kind)]


def name_of(part: Any) -> str:
    """Return the name that a class is registered by; raise TypeError if it is not."""
    for name, each in REGISTRY.items():
        if each is part:
            return name
    what = getattr(part, "__qualname__", repr(part))
    raise TypeError(f"{what} is not registered, so no file can describe it; decorate it by @glow_app.register(NAME)")


def _plain(part: Any, args: Sequence[Any], kwargs: Mapping[str, Any], num_passed: int = 0) -> dict[str, Any]:
    values = signature(part).bind_partial(*args, **kwargs).arguments
    return described(part, values | values.pop("options", {}), list(parameters_of(part))[:num_passed])


def described(part: Any, values: Mapping[str, Any], passed: Collection[str] = ()) -> dict[str, Any]:
    """Return arguments of a class, given and by default, as plain types; without those that are ``passed``."""
    plain = dict[str, Any]()
    for name, (hint, default) in parameters_of(part).items():
        value = values.get(name, default)
        if name not in passed and value is not Parameter.empty and not (value is None is default):
            plain[name] = _described(value, hint)
    return plain


def _described(value: Any, hint: Any) -> Any:
    factory = next((each for each in _alternatives(hint) if get_origin(each) is Callable), None)
    if not (factory and callable(value)):
        return name_of(value) if isclass(value) else spec_of(value)
    given = value if isinstance(value, partial) else partial(value)
    return {"type": name_of(given.func), **_plain(given.func, given.args, given.keywords, len(get_args(factory)[0]))}


def _factory(spec: Any, kind: Any, where: str, num_passed: int = 0) -> Callable[..., Any]:
    arguments = {"type": spec} if isinstance(spec, str) else dict(spec)
    part = registered(arguments.pop("type", None), kind, f"{where}.type")
    return partial(part, **checked(part, arguments, where, list(parameters_of(part))[:num_passed]))


def checked(part: Any, options: Mapping[str, Any], where: str = "", passed: Collection[str] = ()) -> dict[str, Any]:
    """Return the arguments of a class: options whose types are checked, and whose specifications are built.

    Args:
        part: The class.
        options: Arguments by name, of plain types.
        where: The option that holds them, for errors.
        passed: Names of arguments that are no options, since the caller passes them.
    Raises:
        ValueError: If an option is unknown or of another type.
    """
    known = {name: hint for name, (hint, _) in parameters_of(part).items() if name not in passed}
    arguments = dict[str, Any]()
    for name, value in options.items():
        place = f"{where}.{name}" if where else name
        if name not in known:
            hint = closest(name, known) or f" (known: {', '.join(known) or 'none'})"
            raise ValueError(f"there is no option {place}{hint}")
        arguments[name] = _value(value, known[name], place)
    return arguments


def _value(value: Any, hint: Any, where: str) -> Any:
    alternatives = _alternatives(hint)
    names_part = isinstance(value, Mapping) or (isinstance(value, str) and str not in alternatives)
    for each in alternatives if names_part else ():
        if get_origin(each) is Callable:
            passed, kind = get_args(each)
            return _factory(value, kind, where, len(passed))
        if isclass(each) and get_origin(each) is None and each is not Any and _names(each):
            return build(value, each, where)
    from pydantic import TypeAdapter, ValidationError  # only to read a specification

    try:
        return TypeAdapter(hint, config={"arbitrary_types_allowed": True}).validate_python(value)
    except ValidationError as error:
        reasons = dict.fromkeys(each["msg"].replace("Input should be", "expected") for each in error.errors())
        raise ValueError(f"{where} is {value!r:.80}; {', or '.join(reasons)}") from error


@cache
def parameters_of(part: Any) -> dict[str, tuple[Any, Any]]:
    """Return annotation and default of each parameter, those of ``**options`` included."""
    hints = get_type_hints(part.__init__)
    own = {
        name: (hints.get(name, Any), parameter.default)
        for name, parameter in signature(part).parameters.items()
        if parameter.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    }
    others = parameters_of(part.options_of) if hasattr(part, "options_of") else {}
    return own | {name: each for name, each in others.items() if name not in own and each[1] is not Parameter.empty}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
