"""Parameters and memory of every preset in configs/, in both memory modes: the table of docs/presets.md.

    python benchmarks/presets.py
    python benchmarks/presets.py folder32 folder128    # only these; the others keep their figures

Memory is what one more image adds to the peak of a training step, in float32 on a CPU. The expected bits/dim and their
source are those of each file.
"""

import argparse
import re
from pathlib import Path
from typing import Any, get_args

import torch
from common import earlier_results, peak_memory, write_result, write_table

from glow_app.commands.presets import CONFIGS, read_preset
from glow_app.data.sources import attribute_kinds
from glow_app.flows import MultiscaleFlow
from glow_app.models.image_model import ImageModel
from glow_app.running import Memory
from glow_app.spec import build

PRESETS = {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}


def measure(path: Path) -> dict[str, Any]:
    """Measure one preset."""
    spec = read_preset(str(path))
    if spec["data"].get("attributes"):
        kinds = attribute_kinds(spec["data"]["source"], None, True)
        spec["flow"]["conditioning"] = {"type": "attributes", "attributes": kinds}
    model = ImageModel(build(spec["flow"], MultiscaleFlow, "flow"), spec["num_bits"])
    initial = random_images(model, 4)
    given = model.vocabulary.default(range(4))
    model.initialize(initial, given)

    def peak(num: int) -> int:
        model.zero_grad(set_to_none=False)
        part = None if given is None else given[:num]
        return peak_memory(lambda: model(random_images(model, num), part).mean().backward())

    memory = {}
    for mode in get_args(Memory):
        model.set_runners(mode)
        peak(1)  # allocates the gradients
        memory[mode] = peak(2) - peak(1)
    return {
        "image_shape": list(model.flow.image_shape),
        "num_bits": model.num_bits,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "bytes_an_image": memory,
    }


def random_images(model: ImageModel, num: int) -> torch.Tensor:
    """Return uint8 images of noise."""
    return torch.randint(0, 256, (num, *model.flow.image_shape), dtype=torch.uint8)


def bytes_text(num_bytes: float) -> str:
    """Format a size with three digits and a unit."""
    unit, size = next((unit, size) for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if num_bytes >= size)
    return f"{num_bytes / size:.3g} {unit}"


def row(name: str, figures: dict[str, Any]) -> list[str]:
    """Return a preset's row of the table."""
    (channels, height, width), expected = figures["image_shape"], read_preset(str(PRESETS[name]))["expected"]
    return [
        f"[`{name}.yaml`](../configs/{name}.yaml)",
        f"{height}x{width}x{channels}",
        str(figures["num_bits"]),
        f"{figures['parameters'] / 1e6:.3g}M",
        *(bytes_text(num_bytes) for num_bytes in figures["bytes_an_image"].values()),
        str(expected.get("bits_per_dim", "")),
        re.sub(r", arXiv:[\d.]+", "", expected.get("source", "not measured")),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*PRESETS, []], default=[])
    names = parser.parse_args().names or list(PRESETS)
    results = earlier_results("presets")
    for name in names:
        results[name] = measure(PRESETS[name])
        print(" | ".join(row(name, results[name])), flush=True)
    results = {name: results[name] for name in PRESETS if name in results}
    write_result("presets", {"results": results})
    header = ["preset", "image", "bits", "parameters", *(f"`{mode}`" for mode in get_args(Memory))]
    rows = [row(name, figures) for name, figures in results.items()]
    write_table("presets", [*header, "expected bits/dim", "source"], rows, page="presets.md")


if __name__ == "__main__":
    main()
