"""Programs from their files draw what the model draws; others are not put in place."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import full_disk
from docs_pages import DOCS
from registry import OtherConditioner, tiny_model, tiny_wavelet_flow

from glow_app.conditioning import ClassConditioning
from glow_app.export import load_program, program, save_sampler
from glow_app.models.generation_settings import GenerationSettings
from glow_app.pipeline import sample_batches
from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.pipeline.sampling import guidance_change
from glow_app.priors import GaussianPrior, MAFPrior
from glow_app.storage.pretrained import save_pretrained

SMALL: dict[str, Any] = {"image_shape": (1, 8, 4), "num_steps": 1}


def check_program(model: LoadedModel, folder: Path) -> None:
    """Write the program of a model, and check that it draws what the model draws, and its description."""
    assert save_sampler(model, folder, {"epoch": 3}) == 0
    description = json.loads((folder / "sampler.json").read_text())
    draw = load_program(folder / description["program"]["file"])
    for num, temperature in ((1, 0.7), (9, 1.0)):
        latents = model.base_noise(range(100, 100 + num), temperature)
        given: Any = model.vocabulary.default(range(num))
        guidance = [1.4, 1.0, 0.5, 2.0, 1.0, 1.1, 1.2, 1.0, 1.3][:num]
        # Without decode_with's change, which is reduced for images that explode; a program draws nothing again.
        context: Any = model.context(given, num)
        expected = model.decode_with(latents, context + guidance_change(model, given, guidance))
        assert torch.equal(draw(latents, given, torch.tensor(guidance, dtype=model.dtype)), expected)
    assert (description["model"], description["training"]) == (model.hash, {"epoch": 3})
    levels = [f"level{number}" for number in range(len(model.flow.latent_shapes))]
    assert [each["name"] for each in description["inputs"]] == [*levels, "given", "guidance"]
    assert sorted(path.name for path in folder.iterdir()) == ["sampler.json", "sampler.pt2"]


@pytest.mark.slow
def test_a_program_of_a_wavelet_flow_with_an_autoregressive_prior_in_float64(tmp_path: Path) -> None:
    parts = {"conditioning": ClassConditioning(3, 4), "prior": partial(MAFPrior, hidden_features=6, max_groups=3)}
    flow = tiny_wavelet_flow((1, 4, 4), torch.float64, detail_steps=[1], detail_features=4, **parts)
    check_program(LoadedModel(flow, 5).eval(), tmp_path / "out")


@pytest.mark.slow
def test_the_program_of_the_page_draws_the_images_of_glow_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {"conditioner": OtherConditioner, "coupling": "additive", "prior": partial(GaussianPrior, rank=3)}
    model = tiny_model(3, **SMALL, **parts, num_classes=3, perturbation=0.02)
    model.generation = GenerationSettings((0.7, 0.9), 1.25)
    check_program(model, tmp_path / "out")
    # What follows from the weights alone, such as inverse matrices, is not computed by the program.
    program = torch.export.load(tmp_path / "out/sampler.pt2").graph_module
    graphs = [part.graph for part in program.modules() if isinstance(part, torch.fx.GraphModule)]
    assert not [node for graph in graphs for node in graph.nodes if re.search("solve|linalg", str(node.target))]
    example = re.findall(r"^```python\n(.*?)^```", (DOCS / "export.md").read_text(), re.DOTALL | re.MULTILINE)[-1]
    monkeypatch.chdir(tmp_path / "out")
    names: dict[str, Any] = {}
    exec(example, names)
    expected = torch.stack([image for _, image in sample_batches(model, 16, [0.7, 0.9], 7, guidance=1.25)])
    assert torch.equal(names["images"], expected)


@pytest.fixture
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a program of zeros, quickly."""
    monkeypatch.setattr(program, "trace", lambda sampler, given: sampler)
    monkeypatch.setattr(torch.export, "save", lambda traced, file: file.write(bytes(2000)))


@pytest.mark.usefixtures("untraced")
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(OSError, match="File too large"):
        save_sampler(tiny_model(**SMALL), tmp_path / "sampler")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("change", [lambda images: images ^ 1, lambda images: images[:, :, :4], torch.Tensor.int])
def test_a_program_that_draws_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    model = tiny_model(**SMALL)
    monkeypatch.setattr(program, "load_program", lambda path: lambda *inputs: change(model.decode(*inputs)))
    with pytest.raises(ValueError, match=r"differs from the model in 100\.00% .* nothing was written"):
        save_sampler(model, tmp_path / "sampler")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("untraced")
def test_only_a_sampler_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, folder = tiny_model(**SMALL), tmp_path / "sampler"
    monkeypatch.setattr(program, "load_program", lambda path: model.decode)
    save_sampler(model, folder)
    with pytest.raises(FileExistsError, match="--overwrite"):
        save_sampler(model, folder)
    save_sampler(model, folder, {"epoch": 3, "reference": {"images": 9}}, overwrite=True)
    assert json.loads((folder / "sampler.json").read_text())["training"] == {"epoch": 3}
    with pytest.raises(FileExistsError, match="contains other files"):
        save_sampler(model, save_pretrained(model, tmp_path / "weights"), overwrite=True)
    (tmp_path / "empty").mkdir()
    save_sampler(model, tmp_path / "empty", overwrite=True)
