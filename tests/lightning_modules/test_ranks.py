"""Training on several ranks equals training on one."""

import pickle
from functools import partial
from typing import Any

import pytest
import torch
from ranks import CASES
from scripts import run_script
from torch import Tensor
from torch.optim import Adamax

from glow_app.flows import Glow
from glow_app.running import Memory
from lightning_modules.image_module import ImageModule

Runs = list[dict[Any, dict[str, Any]]]


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Return the largest difference of two sets of tensors."""
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def test_a_module_is_pickled_with_its_factories() -> None:
    module = ImageModule(Glow((1, 4, 4), 1, 1, 4), optimizer=partial(Adamax, lr=0.5))
    twin = pickle.loads(pickle.dumps(module))
    assert twin.optimizer(twin.parameters()).defaults["lr"] == 0.5


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Train with one process and with two; return what each rank ended with."""
    folder = tmp_path_factory.mktemp("ranks")
    run_script("ranks.py", folder)
    return [torch.load(folder / f"rank{name}.pt") for name in ("0of1", "0of2", "1of2")]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_two_ranks_train_like_one(runs: Runs, case: tuple[Memory, str, int]) -> None:
    # bfloat16 rounds the sums of half a batch otherwise than those of a whole one.
    tolerance, of_bpd = {"64-true": (1e-10, 1e-6), "bf16-mixed": (3e-3, 1e-3)}[case[1]]
    alone, first, second = (run[case] for run in runs)
    assert distance(alone["initial"], alone["weights"]) > 5e-3, "something was learnt"
    assert distance(alone["initial"], first["initial"]) < min(tolerance, 1e-6)
    assert distance(first["initial"], second["initial"]) == 0, "bitwise equal on every rank"
    assert distance(alone["weights"], first["weights"]) < tolerance
    assert distance(first["weights"], second["weights"]) == 0
    assert first["num_validation"] % 2 == 1
    assert abs(alone["bpd"] - first["bpd"]) < of_bpd
    assert first["bpd"] == second["bpd"]


@pytest.mark.slow
def test_two_ranks_train_wavelets_attributes_and_their_contrast_as_one_does(runs: Runs) -> None:
    alone, first, second = (run["wavelets"] for run in runs)
    network, initial = ({n: w for n, w in alone[of].items() if ".network." in n} for of in ("weights", "initial"))
    assert distance(initial, network) > 1e-3, "something was learnt"
    assert distance(alone["weights"], first["weights"]) < 1e-10
    assert distance(first["weights"], second["weights"]) == 0


@pytest.mark.slow
def test_two_ranks_train_a_restorer_as_one_does(runs: Runs) -> None:
    alone, first, second = (run["restorer"] for run in runs)
    for part in ("encoder.down", "encoder.heads", "conditioner.last"):  # not what the second initialisation changes
        initial, learnt = ({n: w for n, w in alone[of].items() if f".{part}." in n} for of in ("initial", "weights"))
        assert distance(initial, learnt) > 1e-3, part
    assert (alone["weights"]["model.flow.prior.principal.std"] != 1).all(), "the prior was fitted"
    assert distance(alone["weights"], first["weights"]) < 1e-5
    assert distance(first["weights"], second["weights"]) == 0


@pytest.mark.slow
def test_a_step_with_a_bad_loss_on_one_rank_is_skipped_by_all(runs: Runs) -> None:
    _, first, second = (run.get("poisoned", {}) for run in runs)
    assert distance(first["weights"], second["weights"]) == 0
    assert all(torch.isfinite(tensor).all() for tensor in first["weights"].values() if tensor.is_floating_point())
    assert distance(first["weights"], runs[1]["store", "64-true", 2]["weights"]) > 1e-4, "a step was left out"
