"""What an import costs, seen from a fresh interpreter."""

import subprocess
import sys

HEAVY = ("pytorch_lightning", "lightning", "wandb", "lightning_modules", "jsonargparse")


def run(code: str) -> None:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def test_the_package_itself_imports_nothing_heavy() -> None:
    run(
        "import sys, glow_app\n"
        "assert glow_app.__version__\n"
        f"loaded = {{'torch', 'torchvision', 'numpy', 'PIL', *{HEAVY}}} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )


def test_using_models_and_data_needs_neither_lightning_nor_wandb() -> None:
    run(
        "import sys\n"
        f"blocked = {HEAVY}\n"
        "import glow_app, glow_app.checkpoint, glow_app.model, glow_app.data, glow_app.pretrained\n"
        "loaded = set(blocked) & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "sys.modules.update(dict.fromkeys(blocked))  # importing any of them is an error from here\n"
        "for name in glow_app.__all__:\n"
        "    assert getattr(glow_app, name)\n"
        "import torch\n"
        "model = glow_app.ImageModel(glow_app.Glow((1, 4, 4), 1, 1, 4))\n"
        "model.initialize(torch.randint(0, 256, (8, 1, 4, 4), dtype=torch.uint8))\n"
        "assert model.sample(2).shape == (2, 1, 4, 4)\n"
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    run(
        "import glow_app\n"
        "try:\n"
        "    glow_app.nothing\n"
        "except AttributeError as error:\n"
        "    assert 'nothing' in str(error)\n"
        "else:\n"
        "    raise AssertionError\n"
    )
