"""Exported models on the Hugging Face hub."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from glow_app.files import HUB, sha256_of
from glow_app.storage.exported_config import CONFIG_NAME, WEIGHTS_NAME, read_config

_LOGGER = logging.getLogger(__name__)


class HubModel(NamedTuple):
    """A model on the hub: its folder in the hub's cache; its commit, and the SHA-256 of its file of weights."""

    folder: Path
    facts: dict[str, str]


@cache  # so that a process always uses the same revision
def fetch_model(address: str) -> HubModel:
    """Return the model at ``hf://USER/NAME[@REVISION]``; fetch its two files unless they are in the hub's cache.

    Only ``config.json`` and ``model.safetensors`` of a single commit are fetched, neither of which can contain code;
    the second only if the first describes a model of this project.

    Raises:
        FileNotFoundError: If there is no such model, revision or file.
        ValueError: If the address is invalid, the hub cannot be reached, or the model belongs to another project.
    """
    name, _, revision = address.removeprefix(HUB).partition("@")
    folder = _fetch(address, name, CONFIG_NAME, revision or None).parent
    try:
        read_config(folder)
    except ValueError as error:
        raise ValueError(f"{address} is not a model that glow export wrote: {error}") from error
    commit = folder.name  # by the layout of the hub's cache
    sha256 = sha256_of(_fetch(address, name, WEIGHTS_NAME, commit))
    _LOGGER.info("%s: revision %s, %s has the SHA-256 %s", address, commit, WEIGHTS_NAME, sha256)
    return HubModel(folder, {"revision": commit, f"sha256 of {WEIGHTS_NAME}": sha256})


def cached_models() -> dict[str, Path]:
    """Return the folders of this project's models in the hub's cache by address."""
    try:
        from huggingface_hub import errors, scan_cache_dir
    except ImportError:
        return {}
    try:
        repositories = sorted(scan_cache_dir().repos, key=lambda repository: repository.repo_id)
    except errors.CacheNotFound:
        return {}
    models = {}
    for repository in repositories:
        for revision in repository.revisions:
            with suppress(ValueError, OSError):  # models of other projects
                read_config(revision.snapshot_path)
                models[f"{HUB}{repository.repo_id}@{revision.commit_hash[:12]}"] = revision.snapshot_path
    return models


@contextmanager
def _silence(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _fetch(address: str, name: str, file: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError as error:
        raise ValueError(f"{address} needs the package huggingface_hub: pip install 'glow-app[hub]'") from error
    try:
        with _silence("huggingface_hub"):  # it would log every attempt
            return Path(hf_hub_download(name, file, revision=revision))
    except errors.HFValidationError as error:
        raise ValueError(f"{address} is not the address of a model; expected {HUB}USER/NAME[@REVISION]") from error
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(f"{address}: no such revision on the hub") from error
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{address} is not on the hub, or is private; check the name, or log in with: hf auth login"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise ValueError(
            f"{address} cannot be fetched: the hub cannot be reached, and {file} is not in its cache"
        ) from error
    except errors.EntryNotFoundError as error:
        raise FileNotFoundError(f"{address} has no {file}: not a model that glow export wrote") from error
    except OSError as error:  # from the network or the disk
        raise ValueError(f"{address} cannot be fetched: {' '.join(str(error).split())}") from error
