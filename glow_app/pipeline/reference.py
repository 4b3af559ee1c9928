"""Statistics of ordinary images, and verdicts in words on other images."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch

from glow_app.pipeline.scoring import Measures

USUAL_PERCENT = 95.0  # percentage of ordinary images called usual
MANY_ORDINARY = 1000  # images for a good reference
FEW_ORDINARY = 20  # fewer give unreliable statistics
REFERENCE_KEY = "reference"  # of these statistics in the facts of the training

# Stored percentiles, dense at both ends.
_LEVELS = (0.0, 0.5, 1.0, 2.5, 5.0, *map(float, range(10, 91, 5)), 95.0, 97.5, 99.0, 99.5, 100.0)
_SPREAD = 1.0  # standard deviations beyond which the size of a PNG is not ordinary
_NOISY = 3.0  # grey levels of noise that can be seen
_FAR = 3.0  # standard deviations at which a trait is odd by itself


@dataclass(frozen=True)
class Verdict:
    """The verdict on an image.

    Args:
        verdict: "usual" if the image is no odder than the :data:`USUAL_PERCENT` least odd ordinary images.
        oddness: Percentage of ordinary images that are less odd.
        percentile: Percentage of ordinary images with lower bits/dim.
    """

    verdict: Literal["usual", "unusual"]
    reason: str
    oddness: float
    percentile: float


@dataclass(frozen=True)
class Reference:
    r"""Statistics of ordinary images.

    The traits of an image are the bits and the latent norm of each level and the size of its PNG. Their Mahalanobis
    distance from ordinary images detects unusual combinations of ordinary traits, such as high contrast with little
    detail in a blurred image. The percentiles are those of the distance of each ordinary image from all others (the
    jackknife), so that a new ordinary image is called usual with a probability of about :data:`USUAL_PERCENT`: in
    trials, 95 to 97 % with references of 20 or more images, and 88 to 95 % with 5 or 10.

    Args:
        bits_per_dim: Percentiles of their bits/dim, (Q,).
        mean: Mean of the traits, (T,).
        covariance: Covariance of the traits, (T, T).
        distance: Percentiles of the Mahalanobis distance, (Q,).
    References:
        The jackknife: Barber et al. 2021, arXiv:1905.02928, section 1.2.
    """

    num_images: int
    bits_per_dim: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    distance: np.ndarray

    @classmethod
    def of(cls, ordinary: Measures) -> "Reference":
        """Return the reference computed from ordinary images, at least 2; warn if there are few."""
        count, traits = len(ordinary), _traits(ordinary)
        if count < 2:
            raise ValueError(f"statistics of ordinary images need at least 2, preferably 100; got {count}")
        if count < FEW_ORDINARY:
            warnings.warn(
                f"statistics of ordinary images come from only {count} images; 100 would be better", stacklevel=2
            )
        if not np.isfinite(traits).all():
            raise ValueError("the bits/dim or latents of an ordinary image are not finite; use another model")
        mean, sample = traits.mean(0), np.cov(traits, rowvar=False)
        # Leaving an image out scales its distance from the mean by count / (count - 1); the covariance loses its part.
        away = (traits - mean) * count / (count - 1)
        part = (1 - 1 / count) * away[:, :, None] * away[:, None]
        others = ((count - 1) * sample - part) / max(count - 2, 1)
        distances = _distances(away, _shrunk(others, count - 1))
        bits = _percentiles(ordinary.bits_per_dim.double().numpy())
        return cls(count, bits, mean, _shrunk(sample, count), _percentiles(distances))

    @property
    def median_bits_per_dim(self) -> float:
        """The median bits/dim of the ordinary images."""
        return float(self.bits_per_dim[_LEVELS.index(50.0)])

    def judge(self, measures: Measures) -> list[Verdict]:
        """Return a verdict on each image."""
        away = _traits(measures) - self.mean
        verdicts = []
        columns = away, _distances(away, self.covariance), measures.bits_per_dim, measures.noise
        for row, distance, bits, noise in zip(*columns, strict=True):
            oddness = float(np.interp(distance, self.distance, _LEVELS))
            percentile = float(np.interp(float(bits), self.bits_per_dim, _LEVELS))
            if oddness <= USUAL_PERCENT:
                verdicts.append(Verdict("usual", "like most ordinary pictures", oddness, percentile))
            else:
                verdicts.append(Verdict("unusual", self._reason(row, float(noise)), oddness, percentile))
        return verdicts

    def _reason(self, away: np.ndarray, noise: float) -> str:
        """Return the reason why an image is odd, from the deviations of its traits from their means, and its noise."""
        num_levels = len(away) // 2
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
        if not is_more:
            return f"{where} smoother than usual"
        # Bits say how unexpected detail is, and not in which direction: edges on plain areas are, and blur is too.
        if level == 0 and noise >= _NOISY and alone[-1] > _SPREAD:
            return f"{where} noisier than usual"
        return f"{where} {'smoother' if level == 0 and alone[-1] < -_SPREAD else 'less expected'} than usual"

    def to_plain(self) -> dict[str, Any]:
        """Return the reference as plain types, for the configuration of an exported model."""
        rounded = np.vectorize(lambda value: float(f"{value:.8g}"))
        arrays = ("bits_per_dim", "mean", "covariance", "distance")
        return {"images": self.num_images, **{name: rounded(getattr(self, name)).tolist() for name in arrays}}

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any], num_levels: int) -> "Reference | None":
        """Return the reference from :meth:`to_plain` in the facts of a model's training; None if there is none.

        Raises:
            ValueError: If it is damaged or of other levels.
        """
        if (plain := facts.get(REFERENCE_KEY)) is None:
            return None
        ends, count = (len(_LEVELS),), 2 * num_levels + 1
        shapes = {"bits_per_dim": ends, "mean": (count,), "covariance": (count, count), "distance": ends}
        try:
            arrays = {name: _numbers(plain[name], shape) for name, shape in shapes.items()}
            np.linalg.cholesky(arrays["covariance"])
            return cls(int(plain["images"]), **arrays)
        except (LookupError, TypeError, ValueError, OverflowError, np.linalg.LinAlgError) as error:
            message = "the reference of the model's scores is damaged; write it again: glow score --save-reference"
            raise ValueError(message) from error


def score_rows(measures: Measures, reference: Reference | None) -> list[dict[str, Any]]:
    """Return bits/dim and verdict of each image by name; without a reference, those that need one are None."""
    unknown = dict.fromkeys(Verdict.__dataclass_fields__)
    verdicts = [unknown] * len(measures) if reference is None else map(asdict, reference.judge(measures))
    bits = measures.bits_per_dim.tolist()
    return [{**verdict, "bits_per_dim": value} for verdict, value in zip(verdicts, bits, strict=True)]


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


def _numbers(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    numbers = np.array(values, dtype=np.float64)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise ValueError(f"expected numbers of shape {shape}")
    return numbers
