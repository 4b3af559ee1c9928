"""Scale and shift per channel, initialised from a batch."""

from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from glow_app.nn.precision import widen

# Standard deviation, relative to the largest absolute value, below which a channel counts as constant on the batch. It
# keeps scale 1, since dividing by its deviation would blow up the first value that differs.
MIN_STD = 1e-6


class DataDependentAffine(nn.Module):
    r"""Parameters of :math:`y = (x + b) \odot e^{s}` that give zero mean and unit variance on the first batch.

    Shared by the bijection :class:`~glow_app.bijections.ActNorm` and by the convolutions of the conditioners.

    Args:
        num_channels: Channels :math:`C`, the second dimension of the input.
        learned: Whether the parameters are trained; otherwise they stay as the first batch set them.
    Shape:
        bias, log_scale: (C,); initialized: a boolean scalar, saved with the weights.
    References:
        Glow, Kingma & Dhariwal 2018, arXiv:1807.03039, section 3.1.
    """

    bias: Tensor
    log_scale: Tensor
    initialized: Tensor

    def __init__(self, num_channels: int, learned: bool = True) -> None:
        super().__init__()
        self.num_channels = num_channels
        for name in ("bias", "log_scale"):
            if learned:
                self.register_parameter(name, nn.Parameter(torch.zeros(num_channels)))
            else:
                self.register_buffer(name, torch.zeros(num_channels))
        self.register_buffer("initialized", torch.tensor(False))
        # Reading the buffer on a GPU waits for the device, so it is read until it is true and not again.
        self._seen_initialized = False
        self.register_load_state_dict_post_hook(_forget_initialized)

    @torch.no_grad()
    def initialize_parameters(self, x: Tensor) -> None:
        """Set bias and log-scale from the statistics of the whole batch; a second call changes nothing.

        Args:
            x: (B, C, ...), the batch or this process's part of it; at least one value per channel.
        """
        if self.initialized:
            return
        # Sums over many pixels lose digits.
        values = widen(x.detach()).transpose(0, 1).reshape(self.num_channels, -1)
        count = values.new_tensor([float(values.shape[1])])
        mean = whole_batch(values.sum(1)) / (total := whole_batch(count))
        variance = whole_batch((values - mean[:, None]).square().sum(1)) / total
        std = variance.sqrt()
        largest = whole_batch(values.abs().amax(1), "MAX")
        std = torch.where(std > MIN_STD * largest, std, 1.0)
        self.bias.copy_(-mean)
        self.log_scale.copy_(-std.log())
        self.initialized.fill_(True)

    def forget(self) -> None:
        """Let the next :meth:`initialize_parameters` set the parameters once more."""
        self.initialized.fill_(False)
        self._seen_initialized = False

    def require_initialized(self) -> None:
        """Refuse to run before initialisation.

        Raises:
            RuntimeError: If no batch has been seen and no weights have been loaded.
        """
        if not self._seen_initialized:
            if not bool(self.initialized):
                raise RuntimeError(
                    "actnorm is not initialised: call model.initialize(batch) once before use, or load trained weights"
                )
            self._seen_initialized = True


def _forget_initialized(module: nn.Module, incompatible_keys: object) -> None:
    assert isinstance(module, DataDependentAffine)
    module._seen_initialized = False


def whole_batch(values: Tensor, operation: Literal["SUM", "MAX"] = "SUM") -> Tensor:
    """Return the sum or maximum over all processes, the same on each to the last bit."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return values
    total = values.clone()
    dist.all_reduce(total, getattr(dist.ReduceOp, operation))
    # Some reductions may differ in the last bit between processes, so all take the first one's result.
    dist.broadcast(total, src=0)
    return total
