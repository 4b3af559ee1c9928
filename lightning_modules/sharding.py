"""Sharded parameters: each process holds an equal part; reading a parameter gathers the whole.

Torch's ``DTensor`` is not suitable: fused and ``foreach`` optimisers, averages and gradient norms reject lists that mix
it with plain parameters, and ``Shard(0)`` loses ``channels_last``. Used for gathering alone, it takes 2 to 5 times as
long as these collectives (gloo, two processes), which a Glow calls a few hundred times per step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.utils import get_total_norm

from glow_app.nn import Conditioner

# torch 2.13 deprecates the older names of these collectives.
_gather_into = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter_into = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


@dataclass(frozen=True)
class Layout:
    """How a tensor is sharded: flattened in memory order, padded, and cut into one equal part per process.

    Args:
        shape: Shape of the whole tensor.
        stride: Stride of the whole tensor; kept, because a convolution's speed depends on it.
        device: Device of the collectives.
    """

    shape: torch.Size
    stride: tuple[int, ...]
    device: torch.device

    def part(self, whole: Tensor) -> Tensor:
        """Return this process's part of the first process's tensor."""
        flat = self._flat(whole.to(self.device))
        dist.broadcast(flat, src=0)
        return self._own(flat).to(whole.device)

    def cut(self, whole: Tensor) -> Tensor:
        """Return this process's part of a whole tensor, without communication."""
        return self._own(self._flat(whole))

    def gather(self, part: Tensor) -> Tensor:
        """Return the whole tensor, on every process."""
        flat = torch.empty(part.numel() * dist.get_world_size(), dtype=part.dtype, device=self.device)
        _gather_into(flat, part.to(self.device))
        return flat[: self.shape.numel()].as_strided(self.shape, self.stride)

    def collect(self, part: Tensor) -> Tensor:
        """Return the whole tensor on the CPU of the first process, and a meta tensor on the others."""
        # A GPU has room for one whole tensor at a time, not for all of them.
        return self.gather(part.detach()).to("cpu" if dist.get_rank() == 0 else "meta")

    def scatter_mean(self, whole: Tensor) -> Tensor:
        """Return this process's part of the mean over all processes."""
        flat = self._flat(whole)
        part = flat.new_empty(flat.numel() // dist.get_world_size())
        _reduce_scatter_into(part, flat)
        return part / dist.get_world_size()

    def _flat(self, whole: Tensor) -> Tensor:
        numel, world_size = self.shape.numel(), dist.get_world_size()
        flat = whole.new_zeros(-(-numel // world_size) * world_size)
        flat[:numel].as_strided(self.shape, self.stride).copy_(whole)
        return flat

    @staticmethod
    def _own(flat: Tensor) -> Tensor:
        return flat.chunk(dist.get_world_size())[dist.get_rank()].clone()


class _Gather(Function):
    """Gathers a whole parameter; the backward pass scatters the mean gradient over the processes."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return layout.gather(part)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.layout.scatter_mean(gradient), None


class Sharded(nn.Module):
    """Mixin for modules with sharded parameters, whose state dicts hold whole tensors.

    An attribute such as ``weight`` gathers the whole parameter, while ``parameters()`` yields the parts. This works
    with reversible backpropagation, which bypasses module hooks and computes gradients layer by layer instead of
    calling ``backward()`` on the whole graph. All processes must read the same attributes in the same order, and call
    ``state_dict()`` together; only the first process gets values.
    """

    layouts: dict[str, Layout]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, layout in self.layouts.items():
            destination[prefix + name] = layout.collect(destination[prefix + name])

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for name, layout in self.layouts.items():
            if prefix + name in state_dict:
                state_dict[prefix + name] = layout.cut(state_dict[prefix + name])
        super()._load_from_state_dict(state_dict, prefix, *args)


def shard(module: nn.Module, device: torch.device) -> None:
    """Shard the matrices and kernels of all conditioners in ``module``, nearly all of a Glow's parameters.

    Other parameters are small, and data-dependent initialisation sets some of them in place.

    Args:
        module: The module; all processes get the weights of the first. Sharded parameters are left unchanged.
        device: Device of the collectives.
    """
    conditioners = (part for part in module.modules() if isinstance(part, Conditioner))
    for owner in {id(part): part for conditioner in conditioners for part in conditioner.modules()}.values():
        names = [name for name, p in owner.named_parameters(recurse=False) if p.ndim > 1]
        if names and not isinstance(owner, Sharded):
            _shard_owner(owner, names, device)


def is_sharded(module: nn.Module) -> bool:
    """Return whether ``module`` has sharded parameters; if so, all processes must run it together."""
    return any(isinstance(part, Sharded) for part in module.modules())


def parts_of(module: nn.Module) -> Iterator[tuple[nn.Parameter, Layout]]:
    """Yield the parts of all sharded parameters in ``module`` with their layouts."""
    for owner in module.modules():
        if isinstance(owner, Sharded):
            own = dict(owner.named_parameters(recurse=False))
            yield from ((own[name], layout) for name, layout in owner.layouts.items())


def num_parameters(module: nn.Module) -> int:
    """Return the number of parameters, including the parts on other processes."""
    elsewhere = sum(layout.shape.numel() - part.numel() for part, layout in parts_of(module))
    return sum(parameter.numel() for parameter in module.parameters()) + elsewhere


def total_norm(module: nn.Module) -> Tensor:
    """Return the norm of all gradients, including the parts on other processes."""
    parts = [part for part, _ in parts_of(module)]
    own = {id(part) for part in parts}
    norm = get_total_norm([p.grad for p in module.parameters() if p.grad is not None and id(p) not in own])
    if not parts:
        return norm
    own_norm = get_total_norm([part.grad for part in parts if part.grad is not None]).to(parts[0]).view(1)
    norms = own_norm.new_empty(dist.get_world_size())
    # A reduction's last bit may differ between processes, and then their replicated parameters would too.
    _gather_into(norms, own_norm)
    return torch.linalg.vector_norm(torch.cat([norms, norm.to(norms).view(1)]))


def _shard_owner(owner: nn.Module, names: list[str], device: torch.device) -> None:
    layouts = {}
    for name in names:
        whole = owner._parameters[name]
        assert whole is not None
        layouts[name] = Layout(whole.shape, torch.empty_like(whole).stride(), device)
        owner._parameters[name] = nn.Parameter(layouts[name].part(whole.detach()), whole.requires_grad)
    cls = type(owner)
    # Keep the names of the class, which an exported model stores.
    attributes = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    owner.__class__ = type(cls.__name__, (Sharded, cls), attributes | {name: _gathering(name) for name in names})
    owner.layouts = layouts  # type: ignore[assignment]


def _gathering(name: str) -> property:
    def read(module: Sharded) -> Tensor:
        return _Gather.apply(module._parameters[name], module.layouts[name])

    return property(read)
