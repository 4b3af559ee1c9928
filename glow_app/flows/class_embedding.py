"""Class labels as the context of a flow, with guidance."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ClassEmbedding(nn.Embedding):
    r"""A learned vector per class, extrapolated away from the mean of all classes by a guidance :math:`w`.

    .. math:: c = \bar e + w\, (e_y - \bar e), \qquad \bar e = \frac{1}{M} \sum_{k=1}^M e_k

    With :math:`w = 1` this is the embedding :math:`e_y` itself, to the last bit. Above 1 images show their class more
    clearly and vary less, and they are no longer samples of the model's distribution.

    Args:
        num_embeddings: Number of classes :math:`M`.
        embedding_dim: Size :math:`E` of a vector.
    Shape:
        labels: (B,), int64, from 0 to :math:`M - 1`; context: (B, E).
    """

    def reset_parameters(self) -> None:
        """Draw the initial vectors; nothing on the meta device, where that would import torch's compiler."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def context(self, labels: Tensor | None, guidance: float | Sequence[float] = 1.0) -> Tensor:
        """Return the context of ``labels``, (B, E).

        Args:
            labels: (B,), int64.
            guidance: The factor w, one for all or one per label.
        Raises:
            ValueError: If ``labels`` is missing or out of range, or the guidance is negative or not finite.
        """
        factors = [guidance] if isinstance(guidance, (int, float)) else list(guidance)
        for factor in factors:
            if not (math.isfinite(factor) and factor >= 0):
                raise ValueError(f"guidance is {factor}; expected a finite number from 0 (1 is the model itself)")
        if labels is None:
            raise ValueError(f"this model is class-conditional: give labels from 0 to {self.num_embeddings - 1}")
        # In a training step on a GPU the check would wait for the device, which reports a label out of range by itself.
        is_checked = labels.numel() and (labels.device.type == "cpu" or not torch.is_grad_enabled())
        if is_checked and not 0 <= int(labels.min()) <= int(labels.max()) < self.num_embeddings:
            raise ValueError(
                f"labels are from {int(labels.min())} to {int(labels.max())}; expected 0 to {self.num_embeddings - 1}"
            )
        embedded: Tensor = self(labels)
        if all(factor == 1 for factor in factors):
            return embedded
        weights = torch.tensor(factors, dtype=embedded.dtype, device=embedded.device)
        return extrapolate(embedded, self.weight.mean(0), weights)


def extrapolate(embedded: Tensor, mean: Tensor, guidance: Tensor) -> Tensor:
    """Return the guided context of embeddings, (B, E): they themselves, to the last bit, where the guidance is 1.

    Args:
        embedded: (B, E), of the labels.
        mean: (E,), of all classes.
        guidance: (B,) or (1,).
    """
    factors = guidance[:, None]
    return torch.where(factors == 1, embedded, mean + factors * (embedded - mean))
