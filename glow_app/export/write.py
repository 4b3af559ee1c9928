"""Write folders with a sampler and its description."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from glow_app import __version__
from glow_app.export.onnx_program import input_names, load_onnx, save_onnx
from glow_app.export.parity import Parity, compare
from glow_app.export.program import Draw, load_program, save_program
from glow_app.export.sampler import Sampler
from glow_app.files import atomic_folder, sha256_of
from glow_app.models.image_model import ImageModel
from glow_app.storage.pretrained import model_hash

DESCRIPTION_NAME = "sampler.json"
FORMAT = "glow-sampler/1"
GUIDED = "1 is the model itself; above 1 classes are clearer, and images are no longer samples of its distribution"


class _Format(NamedTuple):
    """A format: its file name, functions to save and load it, and how to use it without this package."""

    file: str
    save: Callable[[Sampler, Path], None]
    load: Callable[[Path], Draw]
    use: str


SAMPLER_FORMATS: Mapping[str, _Format] = {
    "torch-export": _Format(
        "sampler.pt2",
        save_program,
        load_program,
        "draw = torch.export.load('sampler.pt2').module(); images = draw({latents}, {others})",
    ),
    "onnx": _Format(
        "sampler.onnx",
        save_onnx,
        load_onnx,
        "session = onnxruntime.InferenceSession('sampler.onnx'); images, = session.run(None, {{{feed}}})",
    ),
}


def save_sampler(
    model: ImageModel, folder: str | Path, kind: str, training: Mapping[str, Any] | None = None, overwrite: bool = False
) -> Parity:
    """Write the model's map from latents to images as a program, checked against the model, with a description.

    Args:
        model: The model, on the CPU.
        folder: Folder to create, atomically.
        kind: One of :data:`SAMPLER_FORMATS`.
        training: Facts of the training to include in the description, of plain types.
        overwrite: Whether to replace an existing folder.
    Returns:
        Comparison of the program with the model.
    Raises:
        FileExistsError: If the folder exists and ``overwrite`` is False.
        ValueError: If the model cannot be exported, the program differs from it by more than rounding, or an extra is
            missing.
    """
    form = SAMPLER_FORMATS[kind]
    names = [DESCRIPTION_NAME, *(known.file for known in SAMPLER_FORMATS.values())]
    with atomic_folder(Path(folder), names, _is_sampler, overwrite) as building:
        form.save(Sampler(model), building / form.file)
        parity = compare(model, form.load(building / form.file))
        parity.require()
        description = _describe(model, kind, building / form.file, parity) | {"training": dict(training or {})}
        (building / DESCRIPTION_NAME).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return parity


def _is_sampler(folder: Path) -> bool:
    description = folder / DESCRIPTION_NAME
    if not description.is_file():  # reading a device, to which a link may lead, could never end
        return not any(folder.iterdir())
    try:
        return json.loads(description.read_text(encoding="utf-8"))["format"] == FORMAT
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _describe(model: ImageModel, kind: str, file: Path, parity: Parity) -> dict[str, Any]:
    flow = model.flow
    dtype = str(model.dtype).removeprefix("torch.")
    names = input_names(len(flow.latent_shapes), flow.num_classes)
    inputs: list[dict[str, Any]] = [
        {"name": name, "shape": ["batch", *shape], "dtype": dtype}
        for name, shape in zip(names, flow.latent_shapes, strict=False)
    ]
    if flow.num_classes is not None:
        inputs.append({"name": "labels", "shape": ["batch"], "dtype": "int64", "from": 0, "to": flow.num_classes - 1})
        inputs.append({"name": "guidance", "shape": ["batch"], "dtype": dtype, "from": 0})
    latents = ", ".join(names[: len(flow.latent_shapes)])
    use = SAMPLER_FORMATS[kind].use.format(
        latents=f"[{latents}]",
        others="None" if flow.num_classes is None else "labels, guidance",
        feed=", ".join(f"'{name}': {name}" for name in names),
    )
    return {
        "format": FORMAT,
        "version": __version__,
        "program": {"kind": kind, "file": file.name, "sha256": sha256_of(file), "torch": torch.__version__},
        "model": model_hash(model),
        "inputs": inputs,
        "output": {"name": "images", "shape": ["batch", *flow.image_shape], "dtype": "uint8"},
        "num_classes": flow.num_classes,
        "class_names": list(model.class_names),
        "num_bits": model.num_bits,
        "temperature": model.level_temperatures(model.generation.temperature),
        "noise": "each level is standard normal noise of its shape times its temperature; level0 is the finest",
        **({} if flow.num_classes is None else {"guidance": model.generation.guidance, "guided": GUIDED}),
        "use": use,
        "check": {**asdict(parity), "share": parity.share},
    }
