"""Precisions and strategies with which a flow trains correctly."""

from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy, Strategy

__all__ = ["check_precision", "check_strategy"]

SHARD_BY_HOOKS = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)

PRECISIONS = ("32-true", "bf16-mixed", "64-true")


def check_precision(precision: str) -> None:
    """Refuse a precision at which a flow would not invert.

    Raises:
        ValueError: If it is another than 32-true, bf16-mixed or 64-true.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"trainer.precision is {precision}; expected one of {', '.join(PRECISIONS)}: a flow whose states are "
            "rounded to 16 bits does not invert, and float16 overflows besides"
        )


def check_strategy(strategy: Strategy) -> None:
    """Refuse a strategy that would train a flow wrongly.

    Raises:
        ValueError: If it is one of Lightning's that shard parameters.
    """
    if isinstance(strategy, SHARD_BY_HOOKS):
        raise ValueError(
            f"trainer.strategy is {type(strategy).__name__}, which gathers weights around a module's forward alone, "
            "and not around its inverse or its initialisation; use configs/trainer/fsdp.yaml"
        )
