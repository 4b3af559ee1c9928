"""Image data sets on the Hugging Face hub, fetched file by file on demand."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from glow_app.data.base import ImageSet
from glow_app.data.request import SplitRequest, own_splits
from glow_app.data.shards.parquet import parquet_shard, read_table
from glow_app.data.shards.source import shard_cache, sharded_split
from glow_app.files import HUB

if TYPE_CHECKING:
    from datasets import Features

# Metadata that the package datasets reads: a README that begins with YAML, or a file of YAML.
_DESCRIPTIONS = ("README.md", ".huggingface.yaml")
_LONGEST = 1 << 20
_MOST_NESTED = 20
_MOST_PATTERNS = 1000
_MOST_WILDCARDS = 4
# YAML numbers, plain or tagged, may be in base 60; parsing them takes quadratic time.
_LONG_NUMBER = re.compile(r"[-+0-9_:.]{100}")
_NUMBER_TAGS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
_NOT_BELOW = re.compile(r":|^[/\\~]|(^|[/\\])\.\.([/\\]|$)")


def load_hub(request: SplitRequest) -> ImageSet:
    """Load one split of ``hf://NAME[:CONFIGURATION][@REVISION]``, a data set in Parquet files.

    At first, only the footers and labels of the files are read; a file's images are fetched on first access to one of
    them. Images come from the first column of type ``Image``, labels from the first of type ``ClassLabel``.

    Args:
        request: What to load; ``address`` is the data set. NAME may also be a local folder.
    Raises:
        ValueError: If the data set does not exist, has no images, or is stored in another format.
    """
    assert request.address is not None
    files, features = _resolve(request.address)
    official = own_splits(files)
    name = official.get(request.split, official.get("train"))
    if name is None:
        raise ValueError(f"{request.address} has no split to train on, only {', '.join(files)}")
    cache = shard_cache(request)
    table = read_table(files[name], cache, features)
    column = table.image_column
    shards = [parquet_shard(file, count, column, cache) for file, count in zip(files[name], table.counts, strict=True)]
    class_names = table.class_names if (table.labels >= 0).all() else ()
    return sharded_split(shards, torch.from_numpy(table.labels), class_names, request, official)


def _resolve(address: str) -> "tuple[dict[str, list[str]], Features | None]":
    """Return the paths or addresses of the files by split, and the types of their columns if known."""
    try:
        from datasets import load_dataset_builder
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ValueError(f"{address} needs the package datasets: pip install 'glow-app[hub]'") from error
    name, revision, configuration = address.removeprefix(HUB), "", ""
    if not Path(name).exists():
        name, _, revision = name.partition("@")
        name, _, configuration = name.partition(":")
    try:
        if not Path(name).exists():
            revision = HfApi().dataset_info(name, revision=revision or None).sha or ""
        for description in _descriptions(name, revision):
            _check_description(description)
        builder = load_dataset_builder(name, configuration or None, revision=revision or None)
    except Exception as error:  # from the hub, the network or the data set's metadata
        raise ValueError(f"{address} cannot be read from the hub: {' '.join(str(error).split())}") from error
    data_files = builder.config.data_files or {}
    files = {str(split): list(dict.fromkeys(map(str, paths))) for split, paths in data_files.items()}
    formats = {Path(path).suffix for paths in files.values() for path in paths}
    if formats != {".parquet"}:
        raise ValueError(
            f"{address} is stored as {', '.join(sorted(formats)) or 'no files'}, but only Parquet is read; the hub's "
            f"own conversion is often at {HUB}{name}@refs/convert/parquet"
        )
    return files, builder.info.features


def _descriptions(name: str, revision: str) -> Iterator[Path]:
    """Yield the metadata files of a data set; fetch them if it is on the hub."""
    from huggingface_hub import HfApi

    if Path(name).exists():
        yield from (path for path in (Path(name) / file for file in _DESCRIPTIONS) if path.exists())
        return
    for entry in HfApi().get_paths_info(name, list(_DESCRIPTIONS), revision=revision, repo_type="dataset"):
        _check_length(entry.path, getattr(entry, "size", 0))
        yield Path(HfApi().hf_hub_download(name, entry.path, revision=revision, repo_type="dataset"))


def _check_length(name: str, length: int) -> None:
    if length > _LONGEST:
        raise ValueError(f"{name} has {length:,} bytes; expected at most {_LONGEST:,}")


def _check_description(path: Path) -> None:
    """Raise ValueError unless a metadata file is cheap to parse and names only files inside the data set.

    YAML aliases can repeat large values, which datasets copies; datasets expands numbered class names to a list as long
    as the highest number; and datasets opens file names through fsspec, which accepts addresses that render templates.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    if not path.is_file():
        raise ValueError(f"{path.name} is not a file")
    _check_length(path.name, path.stat().st_size)
    with path.open(newline="", encoding="utf-8-sig") as file:  # as huggingface_hub does, so that both see the same text
        text = file.read()
    if path.suffix == ".md":
        head = REGEX_YAML_BLOCK.search(text)
        text = "" if head is None else head[2]
    _check_events(path.name, text)
    content = yaml.safe_load(text)
    for node in _nodes(content):
        names = node.get("names")
        if isinstance(names, dict) and any(int(number) >= len(names) for number in names):
            raise ValueError(f"{path.name} numbers {len(names)} names, but not from 0 to {len(names) - 1}")
    configs = _nodes(content.get("configs") if isinstance(content, dict) else None)
    patterns = [
        text for node in configs for key in ("data_files", "data_dir", "path") for text in _strings(node.get(key))
    ]
    if len(patterns) > _MOST_PATTERNS:
        raise ValueError(f"{path.name} names files {len(patterns):,} times; expected {_MOST_PATTERNS:,} or fewer")
    for pattern in patterns:
        if _NOT_BELOW.search(pattern) or pattern.count("*") > _MOST_WILDCARDS:
            raise ValueError(
                f"{path.name} names the file {pattern!r}; expected names inside the data set, "
                f"with {_MOST_WILDCARDS} wildcards or fewer"
            )


def _check_events(name: str, text: str) -> None:
    """Raise ValueError, while parsing, for YAML that is short but slow or large to load."""
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_NESTED:
            raise ValueError(f"{name} is nested more than {_MOST_NESTED} deep")
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"{name} has YAML aliases (*name), which may stand for gigabytes; write it without them")
        if not isinstance(event, yaml.ScalarEvent) or len(event.value) < 100:
            continue
        if event.tag in _NUMBER_TAGS or (event.style is None and _LONG_NUMBER.match(event.value)):
            raise ValueError(f"{name} has a number of {len(event.value):,} characters")


def _nodes(content: Any) -> Iterator[dict[Any, Any]]:
    """Yield all mappings inside a YAML value."""
    if isinstance(content, dict):
        yield content
    for inner in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from _nodes(inner)


def _strings(value: Any) -> list[str]:
    """Return a string, or the strings of a list, as a list."""
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]
