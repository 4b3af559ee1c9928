import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback, LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger
from registry import random_images, tiny_glow
from tiny_training import tiny_data, tiny_fit, tiny_module, tiny_trainer

from glow_app.conditioning import AttributeConditioning
from glow_app.likelihood import standard_normal_log_density
from glow_app.nn import Conditioner
from glow_app.seeding import step_generator
from lightning_modules.image_module import ImageModule, with_one_changed
from lightning_modules.optimizers import Muon


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ImageModule:
    module = tiny_module()
    tiny_fit(tmp_path_factory.mktemp("trained"), module=module, max_epochs=1, limit_val_batches=0)
    return module


def validated(module: ImageModule, folder: Path) -> float:
    (metrics,) = tiny_trainer(folder).validate(module, datamodule=tiny_data(), verbose=False)
    return metrics["val/bpd"]


@torch.no_grad()
def test_validation_is_the_mean_over_images_by_hand_and_by_the_model(trained: ImageModule, tmp_path: Path) -> None:
    data = tiny_data()
    by_hand, by_model = [], []
    for step, (images, _) in enumerate(data.val_dataloader()):
        noise = torch.rand(images.shape, generator=step_generator(5, step, "cpu", "val"))
        y = ((images >> 4) + noise) / 16 - 0.5
        latents, log_det = trained.model.flow(y)
        nats = 64 * math.log(16) - standard_normal_log_density(latents) - log_det
        by_hand.append(nats / (64 * math.log(2)))
        by_model.append(trained.model.bits_per_dim(images, None, 1, step_generator(5, step, "cpu", "val")))
    assert len(by_hand[-1]) < len(by_hand[0])
    figure = validated(trained, tmp_path)
    assert figure == pytest.approx(float(torch.cat(by_hand).mean()), rel=1e-6)
    assert figure == pytest.approx(float(torch.cat(by_model).mean()), rel=1e-6)


def test_training_noise_differs_in_every_step_and_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, drawn = tiny_module(), []
    forward = ImageModule.forward

    def spy(self: ImageModule, images: Any, given: Any, generator: Any) -> Any:
        drawn.append(generator.initial_seed())
        return forward(self, images, given, generator)

    monkeypatch.setattr(ImageModule, "forward", spy)
    tiny_fit(tmp_path, module=module, max_epochs=2, limit_val_batches=0)
    assert len(set(drawn)) == len(drawn) == 8


def test_contrast_and_reader_add_their_gradients_and_not_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    conditioning = AttributeConditioning({"smiling": "yes_no", "age": "real"}, 4, 6)
    flow = tiny_glow(dtype=torch.float64, perturbation=0.05, conditioning=conditioning)
    module = ImageModule(flow, 4, contrast=10.0)
    logged: dict[str, Any] = {}
    monkeypatch.setattr(module, "log", logged.__setitem__)
    images, labels = (
        random_images(8),
        torch.tensor([[1.0, 0.2], [0, math.nan], [math.nan, 0.9]] * 2 + [[0, 0.1], [1, 0.6]]),
    )
    labels[5] = math.nan

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(1)

    losses = module.loss((images, labels), generator())
    losses.mean().backward()
    gradients = [parameter.grad for parameter in module.parameters()]

    draws = generator()  # those of the loss, in its order
    given = conditioning.observe(images, labels, draws)
    y = module.model.dequantised(images, draws)
    other = with_one_changed(conditioning, given, draws)
    assert 0 < given.isnan().all(1).sum() < 4
    plain, changed = (flow.log_prob(y, conditioning(known)) for known in (given, other))
    terms = torch.logaddexp(torch.zeros(()), (changed - plain + 50) / 10) * (10 * 10 / (192 * math.log(2)))
    terms = torch.where(given.isnan().all(1), 0, terms)
    bits = 4 - plain / (192 * math.log(2))
    reading = conditioning.reading_loss(images, labels, draws)
    torch.testing.assert_close(losses, bits)
    torch.testing.assert_close(logged, {"train/contrast": terms.mean(), "train/reading": reading.mean()})
    expected = torch.autograd.grad((bits + terms + 0.01 * reading).mean(), [*module.parameters()])
    torch.testing.assert_close(gradients, list(expected))
    for flow in (tiny_glow(), tiny_glow(num_classes=2)):
        with pytest.raises(ValueError, match="no attributes"):
            ImageModule(flow, contrast=1.0)


def test_one_known_attribute_is_changed() -> None:
    conditioning, draws = (
        AttributeConditioning({"hat": "yes_no", "age": "real"}, 4, 6),
        torch.rand(4000, 2, generator=step_generator(0, 0, "cpu", "attributes")),
    )
    given = torch.stack([draws[:, 0] < 0.5, 40 + 20 * draws[:, 1]], 1)
    given[::7, 1] = given[:10] = math.nan
    conditioning.set_statistics(given)
    other = with_one_changed(conditioning, given, torch.Generator().manual_seed(0))
    assert torch.equal(other.isnan(), given.isnan())
    changed = (other != given) & ~given.isnan()
    assert not changed[:10].any()
    assert (changed[10:].sum(1) <= 1).all()
    assert changed[10:].sum() > 3900  # but where the drawn age happens to be the given one
    assert changed.float().mean(0).min() > 0.3
    assert torch.equal(other[changed[:, 0], 0], 1 - given[changed[:, 0], 0])
    ages = other[changed[:, 1], 1]
    assert float(ages.mean()) == pytest.approx(50, abs=1)
    assert 40 <= float(ages.min()) < 41 < 59 < float(ages.max()) <= 60


def test_only_conditioners_run_in_bfloat16(tmp_path: Path) -> None:
    module = tiny_module(num_bits=8)
    conditioned: set[torch.dtype] = set()
    states: set[torch.dtype] = set()

    def note_flow(flow: Any, inputs: Any, outputs: Any) -> None:
        latents, log_det = outputs
        states.update(tensor.dtype for tensor in (*latents, log_det, inputs[0]))

    module.model.flow.register_forward_hook(note_flow)
    for part in module.modules():
        if isinstance(part, Conditioner):
            part.register_forward_hook(lambda part, inputs, output: conditioned.add(output.dtype))

    class AfterInitialisation(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            conditioned.clear()

    tiny_fit(tmp_path, [AfterInitialisation()], module=module, precision="bf16-mixed")
    assert conditioned == {torch.bfloat16}
    assert states == {torch.float32}
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    data = tiny_data()
    images, _ = next(iter(data.val_dataloader()))
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            latents = module.model.encode(images)
            assert {latent.dtype for latent in latents} == {torch.float32}
            assert torch.equal(module.model.decode(latents), images)


def test_a_checkpoint_tells_of_the_model_and_not_of_rates(tmp_path: Path) -> None:
    # Muon's groups have a rate each.
    module = tiny_module(optimizer=Muon)
    trainer = tiny_fit(tmp_path, [LearningRateMonitor("step")], module=module, logger=CSVLogger(tmp_path), max_epochs=1)
    assert "lr/pg1" in trainer.callback_metrics
    trainer.save_checkpoint(tmp_path / "now.ckpt")
    stored = torch.load(tmp_path / "now.ckpt", weights_only=True)["glow_app"]["training"]
    assert "val/bpd" in stored
    assert not [name for name in stored if name.startswith("lr")]


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_a_fused_optimiser_is_clipped_in_mixed_precision(tmp_path: Path, algorithm: str) -> None:
    found: list[float] = []

    class Largest(Callback):
        def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            gradients = [p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]
            if gradients:
                together = torch.cat(gradients)
                found.append(float(together.norm() if algorithm == "norm" else together.abs().max()))

    module = tiny_module(optimizer=partial(torch.optim.Adam, fused=True))
    settings: dict[str, Any] = {
        "precision": "bf16-mixed",
        "gradient_clip_val": 1e-3,
        "gradient_clip_algorithm": algorithm,
    }
    tiny_fit(tmp_path, [Largest()], module=module, max_epochs=1, limit_val_batches=0, **settings)
    assert found
    assert max(found) == pytest.approx(1e-3, rel=1e-2)
