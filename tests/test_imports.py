"""What an import loads, in a fresh interpreter."""

import importlib
import pkgutil
import subprocess
import sys

import glow_app
import lightning_modules

HEAVY = (
    *("pytorch_lightning", "lightning", "wandb", "lightning_modules"),
    *("jsonargparse", "torchvision", "torchmetrics", "scipy"),
)


# Stages in one interpreter, each of which imports more.
STAGES = f"""
import sys
import glow_app

assert glow_app.__version__
loaded = {{"torch", "numpy", "PIL", *{HEAVY}}} & set(sys.modules)
assert not loaded, loaded

import glow_app.data, glow_app.models.image_model, glow_app.storage.checkpoint, glow_app.storage.pretrained
loaded = set({HEAVY}) & set(sys.modules)
assert not loaded, loaded

sys.modules.update(dict.fromkeys({HEAVY}))  # importing any of them is an error from here
for name in set(dir(glow_app)) - {{"train"}}:
    assert getattr(glow_app, name)
import torch
model = glow_app.ImageModel(glow_app.Glow((1, 4, 4), 1, 1, 4))
model.initialize(torch.randint(0, 256, (8, 1, 4, 4), dtype=torch.uint8))
assert model.sample(2).shape == (2, 1, 4, 4)

import glow_app.restoration
from glow_app.storage.model_config import ALLOWED_CLASSES
with torch.device("meta"):
    for name, part in ALLOWED_CLASSES.items():
        kind = {{"glow_app.priors": "prior", "glow_app.nn": "conditioner"}}.get(name.rpartition(".")[0])
        if name == "glow_app.conditioning.ClassConditioning":
            glow_app.Glow((3, 8, 8), 2, 1, 4, conditioning=part(3))
        elif name == "glow_app.restoration.PictureConditioning":
            glow_app.Glow((3, 8, 8), 2, 1, 4, conditioning=part(glow_app.restoration.Upscale()))
        elif kind:
            glow_app.Glow((3, 8, 8), 2, 1, 4, **{{kind: part}})
assert "torch._dynamo" not in sys.modules, "a model is rebuilt without the compiler of torch"
"""


def test_models_and_data_need_neither_lightning_nor_wandb_nor_the_compiler() -> None:
    result = subprocess.run([sys.executable, "-c", STAGES], capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, result.stderr


def test_every_module_can_be_imported() -> None:
    packages = (glow_app, lightning_modules)
    names = [m.name for p in packages for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
    assert len(names) > 100
    for name in names:
        importlib.import_module(name)
