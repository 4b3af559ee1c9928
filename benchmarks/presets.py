"""Parameters and memory of every preset in configs/, in the three memory modes: the table of docs/presets.md.

    python benchmarks/presets.py
    python benchmarks/presets.py folder32 folder128    # these alone; the others keep their figures

Memory is measured as by `glow estimate`, in float32 on a CPU: the bytes that another image adds to the peak of a
training step. The figures that are kept now were counted tensor by tensor. What is expected, and who
measured it, stands in the header of each file.
"""

import argparse
import json
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from common import RESULTS, write_result, write_table

from lightning_modules.command_line.quiet import quiet
from lightning_modules.command_line.resumption import Start
from lightning_modules.density import DensityModule
from lightning_modules.estimate.command import EstimateCLI, bytes_text
from lightning_modules.estimate.needs import step_memory
from lightning_modules.presets import CONFIGS, expected

PRESETS = {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}


def measure(path: Path) -> dict[str, Any]:
    """Return the figures of one preset."""
    with tempfile.TemporaryDirectory() as scratch:
        module = EstimateCLI("fit", Start([f"--config={path}", f"--run_dir={scratch}"])).model
    assert isinstance(module, DensityModule)
    model = module.model
    memory = step_memory(model, 1, nullcontext)
    return {
        "image_shape": list(model.flow.image_shape),
        "num_bits": model.num_bits,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "bytes_an_image": {mode: an_image for mode, (_, an_image) in memory.items()},
    }


def row(name: str, found: dict[str, Any]) -> list[str]:
    """Return the line of the table."""
    channels, height, width = found["image_shape"]
    return [
        f"[`{name}.yaml`](../configs/{name}.yaml)",
        f"{height}x{width}x{channels}",
        str(found["num_bits"]),
        f"{found['parameters'] / 1e6:.3g}M",
        *(bytes_text(num_bytes) for num_bytes in found["bytes_an_image"].values()),
        *expected(PRESETS[name]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*PRESETS, []], default=[])
    names = parser.parse_args().names or list(PRESETS)
    quiet()
    file = RESULTS / "presets.json"
    results = json.loads(file.read_text())["results"] if file.exists() else {}
    for name in names:
        results[name] = measure(PRESETS[name])
        print(" | ".join(row(name, results[name])), flush=True)
        # After each, so that a long list may be stopped.
        results = {name: results[name] for name in PRESETS if name in results}
        write_result("presets", {"results": results})
    modes = [f"`{mode}`" for mode in next(iter(results.values()))["bytes_an_image"]]
    header = ["preset", "image", "bits", "parameters", *modes, "expected bits/dim", "source"]
    write_table("presets", header, [row(name, found) for name, found in results.items()], page="presets.md")


if __name__ == "__main__":
    main()
