"""What an import costs, seen from a fresh interpreter."""

import importlib
import pkgutil
import subprocess
import sys

import glow_app
import lightning_modules

HEAVY = (
    "pytorch_lightning",
    "lightning",
    "wandb",
    "lightning_modules",
    "jsonargparse",
    "torchvision",
    "torchmetrics",
    "scipy",
)


def run(code: str) -> None:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, result.stderr


def test_the_package_itself_imports_nothing_heavy() -> None:
    run(
        "import sys, glow_app\n"
        "assert glow_app.__version__\n"
        f"loaded = {{'torch', 'numpy', 'PIL', *{HEAVY}}} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )


def test_using_models_and_data_needs_neither_lightning_nor_wandb() -> None:
    run(
        "import sys\n"
        f"blocked = {HEAVY}\n"
        "import glow_app, glow_app.data, glow_app.models.image_model\n"
        "import glow_app.storage.checkpoint, glow_app.storage.pretrained\n"
        "loaded = set(blocked) & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "sys.modules.update(dict.fromkeys(blocked))  # importing any of them is an error from here\n"
        "for name in set(glow_app.__all__) - {'train'}:\n"
        "    assert getattr(glow_app, name)\n"
        "import torch\n"
        "model = glow_app.ImageModel(glow_app.Glow((1, 4, 4), 1, 1, 4))\n"
        "model.initialize(torch.randint(0, 256, (8, 1, 4, 4), dtype=torch.uint8))\n"
        "assert model.sample(2).shape == (2, 1, 4, 4)\n"
    )


def test_a_model_is_rebuilt_without_the_compiler_of_torch() -> None:
    run(
        "import sys, torch\n"
        "from glow_app.flows import Glow\n"
        "from glow_app.storage.model_config import ALLOWED_CLASSES\n"
        "with torch.device('meta'):\n"
        "    for name, part in ALLOWED_CLASSES.items():\n"
        "        kind = {'glow_app.priors': 'prior', 'glow_app.nn': 'conditioner'}.get(name.rpartition('.')[0])\n"
        "        parts = {kind: part} if kind else {}\n"
        "        Glow((3, 8, 8), 2, 1, 4, num_classes=3, condition_channels=4, **parts)\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )


def test_every_module_can_be_imported() -> None:
    packages = (glow_app, lightning_modules)
    names = [m.name for p in packages for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
    assert len(names) > 100
    for name in names:
        importlib.import_module(name)
