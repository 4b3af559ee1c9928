"""The specification of a run, ``config.yaml`` in its folder, and YAML as everyone writes it."""

import re
from pathlib import Path
from typing import Any

import yaml

from glow_app.files import atomic_file

RUN_CONFIG = "config.yaml"  # in a run's folder

# YAML 1.2 knows fewer types than PyYAML: 1:30:00 and 2026-12-07 are text, and 1e-3 is a number.
_WHOLE = re.compile(r"[-+]?(0|[1-9]\d*)$")
_REAL = re.compile(r"([-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$")
_RESOLVERS = {
    first: [(tag, pattern) for tag, pattern in pairs if tag.rpartition(":")[2] in ("bool", "null", "merge")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _RESOLVERS


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = _RESOLVERS


for _each in (_Loader, _Dumper):
    _each.add_implicit_resolver("tag:yaml.org,2002:int", _WHOLE, list("-+0123456789"))
    _each.add_implicit_resolver("tag:yaml.org,2002:float", _REAL, list("-+.0123456789"))


def read_yaml(text: str) -> Any:
    """Return the plain value of a text of YAML; raise ValueError with the reason in one line if it is none."""
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error


def yaml_text(value: Any) -> str:
    """Return a plain value as YAML, which :func:`read_yaml` reads."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def read_run_config(run_dir: Path) -> dict[str, Any] | None:
    """Return the specification of a run, or None if there is none; raise ValueError if it is damaged."""
    path = run_dir / RUN_CONFIG
    if not path.is_file():
        return None
    try:
        config = read_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(config, dict) or not all(isinstance(config.get(part, {}), dict) for part in ("data", "trainer")):
        raise ValueError(f"{path} is damaged: expected the options of a run")
    return config


def write_run_config(run_dir: Path, config: dict[str, Any]) -> None:
    """Write the specification of a run."""
    with atomic_file(run_dir / RUN_CONFIG) as file:
        file.write(yaml_text(config).encode())
