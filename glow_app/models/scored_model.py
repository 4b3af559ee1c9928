"""A model that scores images: bits per dimension, by draw, class and level."""

import math
from abc import abstractmethod

import torch
from torch import Tensor

from glow_app.bijections import held_noise
from glow_app.models.bits_table import BitsTable
from glow_app.models.class_labels import Labels, as_labels
from glow_app.models.sampled_model import SampledModel
from glow_app.pictures.inputs import Pictures, as_images


class ScoredModel(SampledModel):
    """A sampled model that also gives the bits per dimension of images."""

    @abstractmethod
    def dequantised(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the images as the flow sees them, with dequantisation noise."""

    @torch.no_grad()
    def bits_per_dim(
        self,
        images: Pictures,
        labels: Labels | None = None,
        num_draws: int = 1,
        generator: torch.Generator | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        r"""Return bits per dimension of each image, (B,).

        .. math:: -\frac{1}{D} \log_2 \frac{1}{K} \sum_{k=1}^K \frac{p(y_k)}{2^{nD}},
                  \qquad p(y) = \frac{1}{M} \sum_{c=1}^M p(y \mid c)

        With one draw this is the figure of the literature; more draws give a tighter upper bound. With labels, a
        class-conditional model uses :math:`p(y \mid c)`; without them, the marginal :math:`p(y)` over its M classes,
        taken as equally frequent, with the same noise for each.

        Args:
            images: uint8 (B, C, H, W), or pictures as of :func:`~glow_app.pictures.inputs.as_images`.
            labels: Classes of the images by number or name, one for all or one per image, for a class-conditional
                model; averaged over all classes if omitted.
            num_draws: Number K of dequantisation draws.
            generator: Generator of the dequantisation noise, on the images' device.
            condition: For a model with a task: :math:`p` is the density given this condition.
        Raises:
            ValueError: If ``num_draws`` is below 1.
        """
        return self.bits_table(images, labels, num_draws, generator, condition).bits_per_dim

    @torch.no_grad()
    def bits_table(
        self,
        images: Pictures,
        labels: Labels | None = None,
        num_draws: int = 1,
        generator: torch.Generator | None = None,
        condition: Tensor | None = None,
    ) -> BitsTable:
        """Return the bits per draw, class and level; with labels, for those classes alone.

        Arguments as of :meth:`bits_per_dim`.
        """
        if num_draws < 1:
            raise ValueError(f"num_draws is {num_draws}; expected at least 1")
        images = as_images(images, self.flow.image_shape).to(self.device)
        draws = []
        with held_noise(self.device) as rewind:
            for _ in range(num_draws):
                y, classes = self.dequantised(images, generator), []
                for chosen in self.label_choices(len(images), labels):
                    rewind()
                    classes.append(self.dequantised_level_bits(y, chosen, condition))
                draws.append(torch.stack(classes))
        return BitsTable(torch.stack(draws), images[0].numel())

    @torch.no_grad()
    def dequantised_level_bits(self, y: Tensor, labels: Tensor | None, condition: Tensor | None = None) -> Tensor:
        r"""Return the bits/dim per level of :meth:`dequantised` images, (B, L), finest first; the sum is the bits/dim.

        .. math:: b_l = \frac{n D_l}{D} - \frac{\log \mathcal N(z_l; 0, I) + \log|\det J_l|}{D \log 2}
        """
        log_probs = self.fastest_flow.level_log_probs(y, self._context(len(y), labels, condition))
        num_dims = y[0].numel()
        shapes = self.flow.latent_shapes_at(*y.shape[2:])
        sizes = torch.tensor([math.prod(shape) for shape in shapes]).to(log_probs)
        return self.num_bits * sizes / num_dims - log_probs / (num_dims * math.log(2))

    def label_choices(self, num: int, labels: Labels | None) -> list[Tensor | None]:
        """Return the labels that :meth:`bits_table` scores ``num`` images by: those given, or each class in turn."""
        if labels is not None or self.flow.num_classes is None:
            return [as_labels(self, labels, num)]
        return [torch.full((num,), number) for number in range(self.flow.num_classes)]
