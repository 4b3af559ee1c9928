"""Fully sharded data parallelism: each process holds a part of the weights, gradients, moments and averages."""

from itertools import chain
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn, optim
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from glow_app.bijections import ContinuousFlow
from glow_app.flows import Level
from glow_app.running.reversible import ReversibleRunner
from lightning_modules.callbacks.ema import EMA
from lightning_modules.sharding import is_sharded, parts_of, shard

# Optimisers that update each value independently, so that they can update a part of a tensor like a whole one.
ELEMENTWISE = (
    optim.Adadelta, optim.Adagrad, optim.Adam, optim.Adamax, optim.AdamW, optim.ASGD, optim.NAdam, optim.RAdam,
    optim.RMSprop, optim.Rprop, optim.SGD,
)  # fmt: skip


class FullyShardedStrategy(DDPStrategy):
    """DDP that shards the matrices and kernels of the conditioners.

    Torch's ``fully_shard``, and Lightning's strategies built on it, gather parameters in module hooks and reduce
    gradients after ``backward()``. With ``memory: reversible``, which runs a module's inverse and computes gradients
    itself, they silently leave zero gradients. See :class:`~lightning_modules.sharding.Sharded`.

    Checkpoints hold whole tensors in a single file, as with any other strategy. After a fit the module stays sharded.

    Raises:
        ValueError: If there is nothing to shard, or the model or its optimiser cannot be sharded.
    """

    def configure_ddp(self) -> None:
        """Shard module and averages; DDP averages the gradients of the other parameters."""
        module = self.lightning_module
        assert module is not None
        if any(isinstance(part, ContinuousFlow) for part in module.modules()):
            raise ValueError(
                "trainer.strategy: a continuous prior's solve may fail on one process alone, and with sharded weights "
                "the others would wait for it; use another prior or --config trainer/ddp"
            )
        averages = [ema.average for ema in module.trainer.callbacks if isinstance(ema, EMA)]  # type: ignore[attr-defined]
        for model in (module, *averages):
            shard(model, self.root_device)
        if not is_sharded(module):
            raise ValueError("trainer.strategy: this model has no conditioner to shard; use --config trainer/ddp")
        sharded = {id(part) for part, _ in parts_of(module)}
        names = [name for name, parameter in module.named_parameters() if id(parameter) in sharded]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, names)
        for level in module.modules():
            if isinstance(level, Level) and isinstance(level.runner, ReversibleRunner):
                # Not a bound method: copying the level would also copy the strategy and the trainer.
                level.runner.any_rank = lambda decision: self.reduce_boolean_decision(decision, all=False)
        super().configure_ddp()

    def setup_optimizers(self, trainer: pl.Trainer) -> None:
        """Make the optimisers save and load states of whole tensors."""
        super().setup_optimizers(trainer)
        module = self.lightning_module
        assert module is not None
        for optimizer in self.optimizers:
            if type(optimizer) not in ELEMENTWISE:
                raise ValueError(
                    f"model.optimizer is {type(optimizer).__name__}, which may need whole matrices; sharded weights "
                    f"take one of torch.optim's {', '.join(cls.__name__ for cls in ELEMENTWISE)}"
                )
            _keep_whole_state(optimizer, module)


def _keep_whole_state(optimizer: Optimizer, module: nn.Module) -> None:
    """Make ``optimizer`` save and load state dicts of whole parameters, as the sharded ``module`` does."""
    layouts = dict(parts_of(module))

    def convert(state_dict: dict[str, Any], whole: bool) -> dict[str, Any]:
        numbers = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
        state = dict(state_dict["state"])
        for number, parameter in zip(numbers, parameters, strict=True):
            if (layout := layouts.get(parameter)) is not None and number in state:
                shape, convert_tensor = (parameter.shape, layout.collect) if whole else (layout.shape, layout.cut)
                state[number] = {
                    # The step count has another shape.
                    key: convert_tensor(value) if isinstance(value, Tensor) and value.shape == shape else value
                    for key, value in state[number].items()
                }
        return {**state_dict, "state": state}

    optimizer.register_state_dict_post_hook(lambda _, state_dict: convert(state_dict, whole=True))
    optimizer.register_load_state_dict_pre_hook(lambda _, state_dict: convert(state_dict, whole=False))
