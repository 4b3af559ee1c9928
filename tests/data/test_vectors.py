import pickle
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glow_app.data import TOYS, Split, VectorSet, load_vectors, train_loader

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def table(folder: Path, count: int = 40) -> Path:
    """Row i is [i, -i]."""
    rows = np.arange(count)
    np.savetxt(folder / "table.csv", np.stack([rows, -rows], 1), delimiter=",", header="up,down", comments="")
    return folder / "table.csv"


def firsts(vectors: VectorSet) -> list[float]:
    return vectors.values[:, 0].tolist()


def test_whole_batches() -> None:
    values = torch.randn(6, 3)
    vectors = VectorSet(values, ["a", "b", "c"])
    assert len(vectors) == 6
    assert torch.equal(vectors[4], values[4])
    batch = vectors.collate(vectors.__getitems__([5, 0, 5]))
    assert torch.equal(batch, values[[5, 0, 5]])
    assert repr(vectors) == "VectorSet(6 vectors of a, b, c)"
    assert torch.equal(pickle.loads(pickle.dumps(vectors)).values, values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(3, 2, dtype=torch.float64), r"values are torch.float64 \(3, 2\); expected torch.float32 \(N, D\)"),
        (torch.zeros(3), r"values are torch.float32 \(3,\)"),
        (torch.zeros(3, 4), "2 column names do not fit 4 columns"),
    ],
)
def test_bad_values(values: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VectorSet(values, ["a", "b"])


@pytest.mark.parametrize("source", TOYS)
def test_toy_splits_are_functions_of_seed_and_split(source: str) -> None:
    sets = [load_vectors(source, split, num_samples=3000) for split in SPLITS]
    assert [len(vectors) for vectors in sets] == [3000, 5000, 20_000]
    torch.rand(3)
    for split, vectors in zip(SPLITS, sets, strict=True):
        assert torch.equal(load_vectors(source, split, num_samples=3000).values, vectors.values)
        assert not torch.equal(load_vectors(source, split, num_samples=3000, seed=1).values, vectors.values)
        assert torch.equal(load_vectors(source, split, num_samples=3000, limit=10).values, vectors.values[:10])
        assert vectors.column_names == ("x0", "x1")
    points = torch.cat([vectors.values for vectors in sets])
    assert len(points.unique(dim=0)) == 28_000


def test_fifty_thousand_points_to_train_on_by_default() -> None:
    assert len(load_vectors("rings", "train")) == 50_000
    assert len(load_vectors("rings", "test", num_samples=1)) == 20_000


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    load_vectors("two_moons", "train")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_table_is_cut_in_three(tmp_path: Path) -> None:
    sets = [load_vectors("table", split, path=table(tmp_path), test_fraction=0.2) for split in SPLITS]
    assert [len(vectors) for vectors in sets] == [28, 4, 8]
    assert sorted(chain(*map(firsts, sets))) == list(range(40))
    assert firsts(sets[0]) != sorted(firsts(sets[0]))
    for vectors in sets:
        assert vectors.column_names == ("up", "down")
        assert torch.equal(vectors.values[:, 1], -vectors.values[:, 0])
    again = load_vectors("table", "train", path=str(table(tmp_path)), test_fraction=0.2, limit=5)
    assert firsts(again) == firsts(sets[0])[:5]
    assert firsts(load_vectors("table", "test", path=table(tmp_path), test_fraction=0.2, seed=1)) != firsts(sets[2])


def test_a_file_with_splits_keeps_them(tmp_path: Path) -> None:
    parts = {split: np.random.default_rng(0).random((count, 3)) for split, count in zip(SPLITS, (5, 2, 3), strict=True)}
    np.savez(tmp_path / "table.npz", **parts)  # type: ignore[arg-type]
    for split in SPLITS:
        vectors = load_vectors("table", split, path=tmp_path / "table.npz", seed=4, validation_fraction=0.0)
        assert torch.equal(vectors.values, torch.from_numpy(parts[split]).float())


def test_the_training_loader_takes_vectors() -> None:
    vectors = VectorSet(torch.arange(20.0)[:, None], ["a"])
    batches = list(train_loader(vectors, 6, seed=2))
    assert [tuple(batch.shape) for batch in batches] == [(6, 1)] * 3
    assert len(set(torch.cat(batches).flatten().tolist())) == 18
    with pytest.raises(ValueError, match="batch_size is 21, but with 20 training vectors it must be from 1 to 20"):
        train_loader(vectors, 21)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"source": "two_moon"},
            "unknown source 'two_moon'; known: two_moons, .*, table; did you mean two_moons[?]",
        ),
        ({"split": "val"}, "unknown split 'val'; use one of train, validation, test"),
        ({"num_samples": 0}, "num_samples is 0; expected at least 1"),
        ({"limit": 0}, "limit is 0; expected at least 1"),
        ({"validation_fraction": 1.5}, "validation_fraction is 1.5; expected at least 0 and below 1"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "keep it below 1, so some stay to train"),
        ({"path": "a.csv"}, "path is a.csv, but source 'rings' reads no file; set source to 'table'"),
        ({"source": "table"}, "source 'table' needs path: a .csv, .tsv, .npy or .npz file"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_vectors(**{"source": "rings", "split": "train", **arguments})


def test_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"3 rows are too few: .* leave none for validation; give at least 6, or change them"
    ):
        load_vectors("table", "train", path=table(tmp_path, 3))
    with pytest.raises(ValueError, match="no test split: test_fraction is 0"):
        load_vectors("table", "test", path=table(tmp_path), test_fraction=0.0)
    with pytest.raises(FileNotFoundError, match=r"none\.csv is not there"):
        load_vectors("table", "train", path=tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (lambda x: [x, 0 * x + 0.1, 0 * x], r"constant columns, .*: 'x1' \(always 0.1\), 'x2' \(always 0\); drop them"),
        (lambda x: [0 * x] * 12, r"'x0' \(always 0\), .*, 'x9' \(always 0\) and 2 more; drop them"),
        (lambda x: [1.7e9 + 1000 * x, x], r"has column 'x0', which varies by .* as large as 1.7e\+09, .*; subtract"),
    ],
)
def test_a_column_without_a_density_to_learn_is_named(tmp_path: Path, columns: Any, message: str) -> None:
    path = tmp_path / "table.npy"
    np.save(path, np.stack(columns(np.random.default_rng(0).random(300)), axis=1))
    with pytest.raises(ValueError, match=rf"table.npy, training split, .*{message}") as caught:
        load_vectors("table", "train", path=path)
    assert "\n" not in str(caught.value)


def test_a_column_may_be_constant_only_where_nothing_is_learned(tmp_path: Path) -> None:
    path, values = tmp_path / "table.npz", np.random.default_rng(0).random((50, 2))
    still = values * [1, 0] + [0, 0.3]
    np.savez(path, train=values, validation=values[:1], test=still)
    assert len(load_vectors("table", "test", path=path)) == 50
    assert len(load_vectors("table", "train", path=path, limit=1)) == 1
    np.savez(path, train=still, validation=values, test=values)
    with pytest.raises(ValueError, match="constant columns"):
        load_vectors("table", "train", path=path)
