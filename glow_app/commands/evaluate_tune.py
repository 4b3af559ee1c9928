"""Search for the best sampling settings, for `glow evaluate --tune`, and storage with the model."""

import argparse
from typing import TYPE_CHECKING, Any

from glow_app.commands.common import stored_model, table_row

if TYPE_CHECKING:
    from torch import Tensor

    from glow_app.evaluation import EvaluationData, FeatureExtractor, Trial
    from glow_app.models.generation_settings import GenerationSettings
    from glow_app.models.image_model import ImageModel
    from glow_app.storage.stored_model import StoredModel

COLUMNS = ("temperature", "guidance", "FID", "precision", "recall")


def tuned(
    model: "ImageModel", data: "EvaluationData", extract: "FeatureExtractor", count: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Print the figures of each trial, store the best settings, and return all results."""
    from glow_app.evaluation import LEAST_RECALL, batches, draw_features, feature_facts, features_of, tune

    size, seed = arguments.batch_size, arguments.seed
    has_classes = model.flow.num_classes is not None
    labels = data.held_out.labels.tolist() if has_classes else None

    def draw(settings: "GenerationSettings") -> "Tensor":
        temperature, guidance = settings.temperature, settings.guidance
        return draw_features(
            model, count, extract, temperature=temperature, guidance=guidance, seed=seed, labels=labels, batch_size=size
        )[0]

    real = features_of((part for part, _ in batches(data.held_out, size)), extract)
    print(f"features: {extract.name} ({real.shape[1]} of them), sha256 {extract.sha256}; {count} drawn each")
    print(table_row(*COLUMNS, width=11))
    search = tune(draw, real, len(model.flow.latent_shapes), has_classes, _print_trial)
    print(f"chosen: {search.best.settings} (lowest FID with recall at least {LEAST_RECALL:g} of the first line's)")
    _store(search.best.settings, stored_model(arguments))
    return {
        "features": feature_facts(extract, real.shape[1]),
        "tuning": {
            "count": count,
            "labels": labels and "those of the held-out images, in turn",
            "least_recall": LEAST_RECALL,
            "chosen": search.best.settings.to_plain(),
            "trials": [_plain(trial) for trial in search.trials],
        },
    }


def _store(settings: "GenerationSettings", stored: "StoredModel") -> None:
    """Write the settings into the configuration of the user's exported model, or print how to do so."""
    from glow_app.storage.exported_config import CONFIG_NAME
    from glow_app.storage.pretrained import save_generation

    path = stored.path
    if path.is_dir() and stored.is_own:
        save_generation(path, settings)
        print(f"kept in {path / CONFIG_NAME}: the defaults of this model from now on")
    else:
        what = "a checkpoint" if path.is_file() else "not a folder of yours"
        print(f"not kept, since {stored.place} is {what}: glow export it, then tune the exported folder")


def _print_trial(trial: "Trial") -> None:
    plain = _plain(trial)
    temperature = plain["temperature"]
    several = ", ".join(map(str, temperature)) if isinstance(temperature, list) else str(temperature)
    figures = (f"{value:.3f}" for value in (trial.fid, trial.precision, trial.recall))
    print(table_row(several, f"{trial.settings.guidance:g}", *figures, width=11), flush=True)


def _plain(trial: "Trial") -> dict[str, Any]:
    figures = {"fid": trial.fid, "precision": trial.precision, "recall": trial.recall}
    return {**trial.settings.to_plain(), **figures}
