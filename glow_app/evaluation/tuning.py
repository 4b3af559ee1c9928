"""Search for the best settings for sampling from a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from glow_app.evaluation.comparison import frechet_distance, precision_recall
from glow_app.models.generation_settings import GenerationSettings

TEMPERATURES = (1.0, 0.9, 0.8, 0.7)
GUIDANCES = (1.0, 1.25, 1.5)
LEAST_RECALL = 0.9  # relative to the model's own distribution, because images without variety can have a low FID
NOISE = 0.01  # relative difference of FIDs that is not significant
STEPS = ((0.05, 0.1), (0.025, 0.05))  # step of temperature and of guidance in each pass


@dataclass(frozen=True)
class Trial:
    """Metrics of images drawn with some settings.

    Args:
        settings: The settings.
        fid: See :func:`frechet_distance`.
        precision: See :class:`PrecisionRecall`.
        recall: See :class:`PrecisionRecall`.
    """

    settings: GenerationSettings
    fid: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Tuning:
    """All trials, beginning with the model's own distribution, and the best.

    Args:
        trials: Trials in the order in which they were made.
        best: The first trial within 1 % of the lowest FID, among those with enough recall.
    """

    trials: Sequence[Trial]
    best: Trial


def tune(
    draw: Callable[[GenerationSettings], Tensor],
    real: Tensor,
    num_levels: int,
    has_classes: bool,
    on_trial: Callable[[Trial], None] = lambda _: None,
) -> Tuning:
    """Find the settings of lowest FID among those whose recall is at least 0.9 of that at temperature 1 and guidance 1.

    Among settings within 1 % of the lowest FID, a difference that is not significant, the first tried is the best.

    The search begins with a grid of a temperature for all levels and, with classes, guidance. Two passes follow over
    the temperature of each level and the guidance, a step down and a step up from the best so far; the second pass
    uses half the step.

    Args:
        draw: Returns the features of images drawn with given settings, (M, F).
        real: Features of held-out images, (N, F).
        num_levels: Number of the model's levels.
        has_classes: Whether the model has classes, and therefore guidance.
        on_trial: Called after each trial.
    Raises:
        ValueError: If there are too few features, or one is not finite.
    """
    trials: dict[GenerationSettings, Trial] = {}

    def attempt(temperatures: Sequence[float], guidance: float) -> None:
        are_equal = len(set(temperatures)) == 1
        settings = GenerationSettings(temperatures[0] if are_equal else tuple(temperatures), guidance)
        if settings in trials:
            return
        drawn = draw(settings)
        shares = precision_recall(real, drawn)
        trials[settings] = Trial(settings, frechet_distance(real, drawn), shares.precision, shares.recall)
        on_trial(trials[settings])

    def best() -> Trial:
        own, *_ = trials.values()
        varied = [trial for trial in trials.values() if trial.recall >= LEAST_RECALL * own.recall]
        lowest = min(trial.fid for trial in varied)
        return next(trial for trial in varied if trial.fid <= (1 + NOISE) * lowest)

    for temperature in TEMPERATURES:
        for guidance in GUIDANCES if has_classes else GUIDANCES[:1]:
            attempt([temperature] * num_levels, guidance)
    for temperature_step, guidance_step in STEPS:
        for level in range(num_levels):
            middle, guidance = best().settings.temperatures(num_levels), best().settings.guidance
            for change in (-temperature_step, temperature_step):
                attempt([*middle[:level], _moved(middle[level], change), *middle[level + 1 :]], guidance)
        if has_classes:
            settings = best().settings
            for change in (-guidance_step, guidance_step):
                attempt(settings.temperatures(num_levels), _moved(settings.guidance, change))
    return Tuning(list(trials.values()), best())


def _moved(value: float, change: float) -> float:
    return round(value + change, 4)  # not 0.9500000000000001
