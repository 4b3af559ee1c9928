"""What a run starts from: nothing, the checkpoint of a run to be resumed, or another model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glow_app.flows.transfer import copy_levels
from glow_app.messages import UsageError
from glow_app.models.image_model import ImageModel
from glow_app.storage.checkpoint import model_of
from glow_app.storage.run_config import read_run_config
from glow_app.storage.stored_model import StoredModel, newest_run
from lightning_modules.runs.checkpoints import good_checkpoint, read_whole


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Attributes:
        checkpoint: The checkpoint of a resumed run.
        contents: What is in it, until training starts.
        step: Number of optimiser steps that it has done.
        data: Arguments of the data module that it records.
        spec: The specification of its run until now, if it is beside the checkpoint.
        source: The model from which a new run begins.
        place: Where that model is.
        by_levels: Whether only the levels that fit are taken from it.
    """

    checkpoint: Path | None = None
    contents: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    source: ImageModel | None = None
    place: str = ""
    by_levels: bool = False

    def architecture(self) -> dict[str, Any]:
        """Return the architecture of a model that is taken as a whole, as options of the run."""
        return {} if self.source is None or self.by_levels else dict(self.source.config)

    def give_weights(self, model: Any) -> str:
        """Load the weights of ``source``, if there is one; return the line that says what the run starts from."""
        if self.source is None:
            return f"resumes     {self.checkpoint} at step {self.step:,}" if self.checkpoint else ""
        if self.by_levels:
            if not (taken := copy_levels(model.flow, self.source.flow)):
                return f"begins from scratch: no level of {self.place} fits this model"
            return f"begins from {self.place} ({taken} of {len(model.flow.levels)} levels)"
        try:
            model.load_state_dict(self.source.state_dict())
        except RuntimeError as error:
            raise ValueError(
                f"{self.place} does not match the configuration, for example because another prior or width was "
                f"given: {str(error).splitlines()[1].strip()[:200]}"
            ) from error
        return f"begins from {self.place}"


def resumed(place: str, run_dir: str | None) -> Start:
    """Return the start from a checkpoint, or from that of a run; ``auto`` is the run at ``run_dir``, if it has one.

    Raises:
        UsageError: If ``auto`` has no folder.
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it is damaged.
    """
    if place == "auto":
        if run_dir is None:
            raise UsageError("glow fit --resume auto needs --run_dir, the folder of the run to resume or start")
        if (good := good_checkpoint(Path(run_dir))) is None:
            return Start()
    else:
        run = newest_run(Path(place))
        good = good_checkpoint(run) if run.is_dir() else (run, read_whole(run))
        if good is None:
            raise FileNotFoundError(f"{run} is not a run that can be resumed: it has no checkpoint")
    path, contents = good
    model_of(contents)  # raises clearer errors than Lightning
    data = contents.get("datamodule_hyper_parameters") or {}
    return Start(path, contents, contents["global_step"], data, read_run_config(path.parent) or {})


def begun(init_from: str | None, init_levels_from: str | None) -> Start:
    """Return the start from a model, if one is given."""
    place = init_from or init_levels_from
    if place is None:
        return Start()
    return Start(source=StoredModel(place).load(), place=place, by_levels=init_from is None)
