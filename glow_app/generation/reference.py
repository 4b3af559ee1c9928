"""Statistics of ordinary images, and verdicts in words on other images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from glow_app.generation.scoring import ODDITIES, Measures, Typical, oddities

USUAL_PERCENT = 95.0  # percentage of ordinary images called usual
MANY_ORDINARY = 1000  # images for a good reference
TRAINED = "the model was trained on it"  # reason for no verdict

# Stored percentiles, dense at both ends.
_LEVELS = (0.0, 0.5, 1.0, 2.5, 5.0, *map(float, range(10, 91, 5)), 95.0, 97.5, 99.0, 99.5, 100.0)
_FAR = 3.0  # standard deviations at which a trait is odd by itself


@dataclass(frozen=True)
class Verdict:
    """The verdict on an image.

    Args:
        verdict: "usual" if the image is no odder than the :data:`USUAL_PERCENT` least odd ordinary images.
        reason: The reason in a few words.
        oddness: Percentage of ordinary images that are less odd.
        percentiles: Percentage of ordinary images with a lower score, for each score.
    """

    verdict: Literal["usual", "unusual"]
    reason: str
    oddness: float
    percentiles: dict[str, float]


@dataclass(frozen=True)
class Reference:
    r"""Statistics of ordinary images.

    The traits of an image are the bits and the latent norm of each level and the size of its PNG. Their Mahalanobis
    distance from ordinary images detects unusual combinations of ordinary traits, such as high contrast with little
    detail in a blurred image. The percentiles are those of the distance of each ordinary image from all others (the
    jackknife), so that a new ordinary image is called usual with a probability of about :data:`USUAL_PERCENT`: in
    trials, 95 to 97 % with references of 20 or more images, and 88 to 95 % with 5 or 10.

    Args:
        num_images: Number of ordinary images.
        typical: Their means and standard deviations, for :func:`~glow_app.generation.scoring.oddities`.
        scores: Percentiles of each score of :data:`~glow_app.generation.ODDITIES`, (Q,).
        mean: Mean of the traits, (T,).
        covariance: Covariance of the traits, (T, T).
        distance: Percentiles of the Mahalanobis distance, (Q,).
    References:
        The jackknife: Barber et al. 2021, arXiv:1905.02928, section 1.2.
    """

    num_images: int
    typical: Typical
    scores: dict[str, np.ndarray]
    mean: np.ndarray
    covariance: np.ndarray
    distance: np.ndarray

    @classmethod
    def of(cls, ordinary: Measures) -> "Reference":
        """Return the reference computed from ordinary images, at least 2; warn if there are few."""
        typical, traits = Typical.of(ordinary), _traits(ordinary)
        if not np.isfinite(traits).all():
            raise ValueError("the bits/dim or latents of an ordinary image are not finite; use another model")
        scores = {name: _percentiles(values.double().numpy()) for name, values in oddities(ordinary, typical).items()}
        mean, count = traits.mean(0), len(traits)
        sample = np.cov(traits, rowvar=False)
        # Leaving an image out scales its distance from the mean by count / (count - 1); the covariance loses its part.
        away = (traits - mean) * count / (count - 1)
        part = (1 - 1 / count) * away[:, :, None] * away[:, None]
        others = ((count - 1) * sample - part) / max(count - 2, 1)
        distances = _distances(away, _shrunk(others, count - 1))
        return cls(count, typical, scores, mean, _shrunk(sample, count), _percentiles(distances))

    def judge(self, measures: Measures) -> list[Verdict]:
        """Return a verdict on each image."""
        away = _traits(measures) - self.mean
        distances = _distances(away, self.covariance)
        scores = oddities(measures, self.typical)
        verdicts = []
        for number, distance in enumerate(distances):
            oddness = float(np.interp(distance, self.distance, _LEVELS))
            below = {name: float(np.interp(scores[name][number], self.scores[name], _LEVELS)) for name in ODDITIES}
            if oddness <= USUAL_PERCENT:
                verdicts.append(Verdict("usual", "like most ordinary pictures", oddness, below))
            else:
                verdicts.append(Verdict("unusual", self._reason(away[number]), oddness, below))
        return verdicts

    def _reason(self, away: np.ndarray) -> str:
        """Return the reason why an image is odd, from the deviations of its traits from their means."""
        num_levels = self.typical.level_bits[0].numel()
        alone = away / np.sqrt(np.diag(self.covariance))
        # Odd detail makes the coarser levels odd as well, so name the finest odd level.
        order = [trait for level in range(num_levels) for trait in (level, num_levels + level)]
        far = next((trait for trait in (*order, 2 * num_levels) if abs(alone[trait]) >= _FAR), None)
        if far is None:
            return "nothing stands out, but the combination is rare"
        is_more = alone[far] > 0
        if far == 2 * num_levels:
            return "busier than usual" if is_more else "plainer than usual"
        level = far % num_levels
        where = "fine detail" if level == 0 else "large shapes" if level == num_levels - 1 else "detail of middle size"
        if far >= num_levels:
            return f"{where} {'stronger' if is_more else 'weaker'} than usual"
        return f"{where} {('noisier' if level == 0 else 'less expected') if is_more else 'smoother'} than usual"

    def to_plain(self) -> dict[str, Any]:
        """Return the reference as plain types, for the configuration of an exported model."""
        typical = self.typical
        spreads = {name: [_rounded(part) for part in getattr(typical, name)] for name in ("level_bits", "level_norms")}
        return {
            "images": self.num_images,
            "typical": {"bits_per_dim": typical.bits_per_dim, **spreads},
            "scores": {name: _rounded(values) for name, values in self.scores.items()},
            "mean": _rounded(self.mean),
            "covariance": [_rounded(row) for row in self.covariance],
            "distance": _rounded(self.distance),
        }

    @classmethod
    def from_plain(cls, plain: Any, num_levels: int) -> "Reference":
        """Return the reference from :meth:`to_plain`; raise ValueError if it is damaged or of other levels."""
        count = 2 * num_levels + 1
        try:
            typical = plain["typical"]
            spreads = (_numbers(typical[name], (2, num_levels)) for name in ("level_bits", "level_norms"))
            level_bits, level_norms = (tuple(torch.from_numpy(spread).float()) for spread in spreads)
            covariance = _numbers(plain["covariance"], (count, count))
            np.linalg.cholesky(covariance)
            return cls(
                int(plain["images"]),
                Typical(float(_numbers(typical["bits_per_dim"], ())), level_bits, level_norms),
                {name: _numbers(plain["scores"][name], (len(_LEVELS),)) for name in ODDITIES},
                _numbers(plain["mean"], (count,)),
                covariance,
                _numbers(plain["distance"], (len(_LEVELS),)),
            )
        except (LookupError, TypeError, ValueError, OverflowError, np.linalg.LinAlgError) as error:
            message = "the reference of the model's scores is damaged; write it again: glow score --save-reference"
            raise ValueError(message) from error


def plain_scores(
    measures: Measures, reference: Reference | None, trained: Sequence[bool] | None = None
) -> list[dict[str, Any]]:
    """Return scores and verdict of each image by name; without a reference, those that need one are None.

    Args:
        trained: Whether each image was a training image; such images have no verdict, since the model fits them better
            than any others.
    """
    scores = oddities(measures, None if reference is None else reference.typical)
    verdicts = [None] * len(measures) if reference is None else reference.judge(measures)
    unknown, rows = dict.fromkeys(Verdict.__dataclass_fields__), []
    for number, verdict in enumerate(verdicts):
        row = {name: float(scores[name][number]) if name in scores else None for name in ODDITIES}
        if trained is not None and trained[number]:
            rows.append(row | unknown | {"reason": TRAINED})
        else:
            rows.append(row | (unknown if verdict is None else asdict(verdict)))
    return rows


def score_rows(
    measures: Measures, reference: Reference | None, given: Sequence[Any], trained: Sequence[bool] | None = None
) -> list[dict[str, Any]]:
    """Return a row of a table for each image: what it was given, if known, scores, verdict, bits and norms by level."""
    levels = [(kind, level) for level in range(measures.level_bits.shape[1]) for kind in ("bits", "norm")]
    columns = {"bits": measures.level_bits.tolist(), "norm": measures.level_norms.tolist()}
    rows = []
    for number, scores in enumerate(plain_scores(measures, reference, trained)):
        del scores["percentiles"]
        by_level = {f"{kind}_level_{level}": columns[kind][number][level] for kind, level in levels}
        rows.append(({"given": given[number]} if given else {}) | scores | by_level)
    return rows


def oddest(rows: Sequence[dict[str, Any]], num: int) -> list[dict[str, Any]]:
    """Return the oddest of :func:`score_rows`, oddest first; without a reference, those of the highest bits/dim."""
    return sorted(rows, key=lambda row: (-(row["oddness"] or 0), -row["bits_per_dim"]))[:num]


def _traits(measures: Measures) -> np.ndarray:
    columns = [measures.level_bits, measures.level_norms, measures.png_bits_per_dim[:, None]]
    return torch.cat([column.double() for column in columns], dim=1).numpy()


def _shrunk(covariance: np.ndarray, count: int) -> np.ndarray:
    """Shrink covariances of ``count`` images, (..., T, T), towards their diagonal: few images give poor estimates."""
    size = covariance.shape[-1]
    trust, diagonal = count / (count + size), covariance * np.eye(size)
    return trust * covariance + (1 - trust) * diagonal + 1e-6 * np.eye(size)  # the constant keeps them invertible


def _distances(away: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    return np.sqrt(away[:, None] @ np.linalg.inv(covariance) @ away[:, :, None])[:, 0, 0]


def _percentiles(values: np.ndarray) -> np.ndarray:
    # The k-th of n values is at k / (n + 1), the probability that a new image is below it.
    return np.quantile(values, np.array(_LEVELS) / 100, method="weibull")


def _rounded(values: Tensor | np.ndarray) -> list[float]:
    return [float(f"{float(value):.8g}") for value in values]


def _numbers(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    numbers = np.array(values, dtype=np.float64)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise ValueError(f"expected numbers of shape {shape}")
    return numbers
