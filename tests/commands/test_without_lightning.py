"""Using a model needs no training framework."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
sys.modules.update(dict.fromkeys(["pytorch_lightning", "lightning_modules", "jsonargparse", "wandb", "sklearn"]))
from glow_app.cli import main
model, folder = sys.argv[1:]
assert main(["sample", "--checkpoint", model, "--count", "2", "--seed", "1", "--output", folder]) == 0
picture = f"{folder}/seed000001_t0.70.png"
assert main(["reconstruct", picture, "--checkpoint", model, "--output", folder]) == 0
assert main(["interpolate", picture, picture, "--checkpoint", model, "--output", f"{folder}/strip.png"]) == 0
assert main(["export", "--checkpoint", model, "--output", f"{folder}/exported"]) == 0
assert main(["info", f"{folder}/exported"]) == 0
"""


def test_no_training_framework_is_needed(trained: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", SCRIPT, str(trained / "best.ckpt"), str(tmp_path / "out")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
