"""Samplers as ONNX models."""

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glow_app.export.program import Draw, quiet, trace
from glow_app.export.sampler import Sampler

# A protobuf file is limited to 2 GiB; the remainder is for the graph.
MAX_BYTES = 2**31 - 2**25


def require_onnx() -> None:
    """Check that the packages of the extra ``onnx`` are installed.

    Raises:
        ValueError: If a package is missing.
    """
    try:
        for name in ("onnx", "onnxruntime", "onnxscript"):
            import_module(name)
    except ImportError as error:
        raise ValueError(
            f"--format onnx needs the extra onnx ({error.name} is missing): pip install 'glow-app[onnx]'"
        ) from error


def input_names(num_levels: int, num_classes: int | None) -> list[str]:
    """Return the names of the inputs: levels, named as in files of ``glow encode``, then labels and guidance."""
    class_inputs = [] if num_classes is None else ["labels", "guidance"]
    return [*(f"level{number}" for number in range(num_levels)), *class_inputs]


def save_onnx(sampler: Sampler, path: Path) -> None:
    """Write the sampler as an ``.onnx`` file.

    Raises:
        ValueError: If the extra is missing, the sampler is not float32, or it is too large for one file.
    """
    require_onnx()
    tensors = [*sampler.parameters(), *sampler.buffers()]
    dtype = tensors[0].dtype
    if dtype != torch.float32:
        name = str(dtype).removeprefix("torch.")
        raise ValueError(f"the model is {name}, but onnxruntime convolves only float32; use --format torch-export")
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > MAX_BYTES:
        raise ValueError(f"the model has {size / 2**30:.1f} GiB, an ONNX file less than 2; use --format torch-export")
    with quiet():
        program = torch.onnx.export(
            trace(sampler),
            (),
            input_names=input_names(len(sampler.flow.latent_shapes), sampler.flow.num_classes),
            output_names=["images"],
            dynamo=True,
            external_data=False,
            verbose=False,
            custom_translation_table={torch.ops.aten.log_sigmoid.default: _log_sigmoid},
        )
    assert program is not None
    program.save(path)


def _log_sigmoid(self: Any) -> Any:
    # The exporter's own is log(sigmoid(x)), minus infinity below -88, which couplings turn into NaN images.
    from onnxscript import opset18

    return opset18.Neg(opset18.Softplus(opset18.Neg(self)))


def load_onnx(path: Path) -> Draw:
    """Return a file of :func:`save_onnx` as a function, run by onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def draw(latents: Sequence[Tensor], *class_inputs: Tensor | None) -> Tensor:
        values = [*latents, *(value for value in class_inputs if value is not None)]
        feed = {name: value.numpy() for name, value in zip(names, values, strict=True)}
        return torch.from_numpy(session.run(["images"], feed)[0])

    return draw
