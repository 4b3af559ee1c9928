"""A user's own couplings, priors and optimisers: training, sampling and resuming."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_training import TINY_FIT

from glow_app.spec import REGISTRY
from glow_app.storage.checkpoint import read_checkpoint

MODULE = """
from torch.optim import Adam

from glow_app import register
from glow_app.bijections import ActNorm, AffineCoupling, Chain, InvertibleConv1x1
from glow_app.nn import ConvConditioner
from glow_app.priors import GaussianPrior


@register("gentle")
class Gentle(AffineCoupling):
    def transform(self, x_b, shift, scale_minus_one):
        return super().transform(x_b, shift, scale_minus_one / 2)

    def inverse_transform(self, z_b, shift, scale_minus_one):
        return super().inverse_transform(z_b, shift, scale_minus_one / 2)


@register("doubled")
class Doubled(GaussianPrior):
    def __init__(self, latent_shape, context_features=0, factor=1):
        super().__init__(latent_shape, context_features)


@register("step")
class Step(Chain):
    def __init__(self, channels, hidden_channels, context_features=0, turns=1):
        width = 2 * (channels - channels // 2)
        conditioner = ConvConditioner(channels // 2, width, hidden_channels, context_features)
        turned = [InvertibleConv1x1(channels) for _ in range(turns)]
        super().__init__(ActNorm(channels), *turned, AffineCoupling(channels, conditioner))


@register("own-adam")
class OwnAdam(Adam):
    pass
"""


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Write ``my_parts``; return a function that forgets what it registered, as a new process would."""
    (tmp_path / "my_parts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)

    def forget() -> None:
        for name in ("gentle", "doubled", "step", "own-adam"):
            REGISTRY.pop(name, None)
        monkeypatch.delitem(sys.modules, "my_parts", raising=False)

    forget()
    return forget


def test_own_parts_are_trained_sampled_and_resumed(
    new_process: Callable[[], None], glow: Callable[..., Any], refused: Callable[..., str]
) -> None:
    own = ["--flow.prior=doubled", "--flow.prior.factor=3"]
    own += ["--optimizer=own-adam", "--optimizer.lr=0.001"]
    own += ["--flow.coupling=gentle"]
    parts = "--import=my_parts"
    assert "--import MODULE" in refused("fit", *TINY_FIT, *own)
    done = glow("fit", *TINY_FIT, parts, "--run_dir=run", "--trainer.max_steps=2", *own)
    assert done.code == 0, done
    (following,) = (line.split()[2:] for line in done.output.splitlines() if line.startswith("next: glow "))
    assert Path("run/model/model.safetensors").is_file()
    new_process()
    assert "flow.prior.type is 'doubled'; expected one of " in refused("sample", "--checkpoint", "run", "--count", "1")
    assert glow(*following, "--count", "2").code == 0
    new_process()
    assert "'doubled'; expected one of" in refused("fit", "--resume", "run", code=1)
    assert glow("fit", "--resume", "run", "--trainer.max_steps=3", parts).code == 0
    assert read_checkpoint(Path("run/last.ckpt"))["global_step"] == 3


def test_own_steps_are_trained_sampled_and_reconstructed(
    new_process: Callable[[], None], glow: Callable[..., Any], refused: Callable[..., str]
) -> None:
    own = ["--flow.step=step", "--flow.step.turns=2"]
    allowed = "--import=my_parts"
    assert glow("fit", *TINY_FIT, *own, allowed, "--run_dir=run", "--trainer.max_steps=2").code == 0
    new_process()
    assert "flow.step.type is 'step'; expected one of" in refused("sample", "--checkpoint", "run", "--count", "1")
    assert glow("sample", "--checkpoint=run", allowed, "--count=2", "--output=drawn").code == 0
    pictures = sorted(map(str, Path("drawn").glob("*.png")))
    assert glow("reconstruct", *pictures, "--checkpoint=run", allowed).code == 0
    new_process()
    assert glow("fit", "--resume=run", "--trainer.max_steps=3", allowed).code == 0
