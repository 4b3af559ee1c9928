"""A step of Glow, which all flows of this project are made of."""

from collections.abc import Callable, Sequence

from glow_app.bijections import ActNorm, Bijection, Chain, Coupling, InvertibleConv1x1, PixelwiseChain, Whitening
from glow_app.nn import Conditioner
from glow_app.spec import registered

ConditionerFactory = Callable[[int, int, int, int], Conditioner]
StepFactory = Callable[[int, int, int], Bijection]


def coupling_class(coupling: str | type[Coupling]) -> type[Coupling]:
    """Return the class of a coupling's name, or the class itself; raise ValueError for an unknown name."""
    return registered(coupling, Coupling, "coupling") if isinstance(coupling, str) else coupling


def glow_step(
    channels: int,
    hidden_channels: int,
    context_features: int,
    coupling: type[Coupling],
    conditioner: ConditionerFactory,
    whitens: bool,
    max_input: float | None = None,
) -> Bijection:
    """Return actnorm and 1x1 convolution, multiplied into one matrix, then a coupling.

    Args:
        channels: Channels of the data, at least 2.
        context_features: Size of the conditioner's context; 0 for none.
        conditioner: Called with ``(in_channels, out_channels, hidden_channels, context_features)``.
        whitens: Whether the first batch is whitened, rather than normalised and rotated at random.
        max_input: Bound of the conditioner's input; none if None.
    """
    kept = channels // 2
    network = conditioner(kept, coupling.outputs_per_channel * (channels - kept), hidden_channels, context_features)
    mixing = Whitening(channels) if whitens else PixelwiseChain(ActNorm(channels), InvertibleConv1x1(channels))
    return Chain(mixing, coupling(channels, network, max_input=max_input))


def per_level(value: int | Sequence[int], num_levels: int, name: str) -> list[int]:
    """Return a number of at least 1 for each level, from one for all or a list; raise ValueError for others."""
    each = [value] * num_levels if isinstance(value, int) else list(value)
    if len(each) != num_levels or min(each, default=1) < 1:
        raise ValueError(f"{name} is {value}; expected at least 1 for all levels, or a list of {num_levels}")
    return each
