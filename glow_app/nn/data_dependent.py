"""Scale and shift per channel, initialised from a batch."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["DataDependentAffine", "sum_over_ranks"]

# Below this part of its largest value a channel counts as constant on the batch: dividing by its spread would blow up
# the first other value, so it keeps scale 1.
MIN_STD = 1e-6


class DataDependentAffine(nn.Module):
    r"""Parameters of :math:`y = (x + b) \odot e^{s}` that give zero mean and unit variance on the first batch.

    Shared by the bijection :class:`~glow_app.bijections.ActNorm` and by the convolutions of the conditioners.

    Args:
        num_channels: Channels :math:`C`, the second dimension of the input.
        learned: Train on from there; otherwise the numbers stay as the batch set them.
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
        # Reading the buffer on a GPU waits for the device; once seen true it need not be read again.
        self._seen_initialized = False
        self.register_load_state_dict_post_hook(_forget_initialized)

    @torch.no_grad()
    def initialize_parameters(self, x: Tensor) -> None:
        """Set bias and log-scale from the statistics of ``x`` over all ranks; a second call changes nothing.

        Args:
            x: (B, C, ...), at least one value a channel.
        """
        if self.initialized:
            return
        # float64: the difference of two large sums must still give a variance.
        values = x.detach().to(torch.float64).transpose(0, 1).reshape(self.num_channels, -1)
        count = torch.tensor([float(values.shape[1])], dtype=torch.float64, device=x.device)
        mean = sum_over_ranks(values.sum(1)) / (total := sum_over_ranks(count))
        variance = sum_over_ranks((values - mean[:, None]).square().sum(1)) / total
        std = variance.sqrt()
        largest = _largest_over_ranks(values.abs().amax(1))
        std = torch.where(std > MIN_STD * largest, std, torch.ones_like(std))
        self.bias.copy_(-mean)
        self.log_scale.copy_(-std.log())
        self.initialized.fill_(True)

    def require_initialized(self) -> None:
        """Raise unless initialised or loaded.

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


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum over all processes, the same on each to the last bit."""
    return _over_ranks(values, dist.ReduceOp.SUM)


def _largest_over_ranks(values: Tensor) -> Tensor:
    return _over_ranks(values, dist.ReduceOp.MAX)


def _over_ranks(values: Tensor, operation: Any) -> Tensor:
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        total = values.to(torch.float32 if values.device.type == "mps" else values.dtype)
        dist.all_reduce(total, operation)
        # Some reductions may differ in the last bit between ranks; one rank's result holds for all.
        dist.broadcast(total, src=0)
        return total
    return values
