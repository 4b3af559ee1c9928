"""A checkpoint and an exported model of release 0.1 are read as they were."""

from pathlib import Path

import pytest
import torch

from glow_app.storage.stored_model import StoredModel

FILES = Path(__file__).parent / "release_0_1"
# Hash, the first pixels of a sample, and bits/dim of a black picture, as release 0.1 had them.
KNOWN = {
    "run.ckpt": (
        "ffd49abab8c1a563a3f931c41d4cbc9f47893081d9c60e766711c04fc83da8bb",
        [0, 0, 0, 51, 68, 0, 0, 0, 0, 17, 0, 85],
        3.4549169540405273,
    ),
    "model": (
        "5acea12e63521166a3c11d633a16965d3f1ac0cfcae167b62a339cab54f23b83",
        [0, 0, 0, 51, 51, 0, 0, 0, 17, 17, 0, 85],
        3.5042381286621094,
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_model_of_release_0_1_is_the_same(name: str) -> None:
    sha256, pixels, bits = KNOWN[name]
    stored, labels = StoredModel(FILES / name), torch.tensor([1, 2])
    model = stored.load_image_model()
    assert stored.hash == sha256
    assert model.sample(2, 0.7, seeds=[1, 2], labels=labels).flatten().tolist()[:12] == pixels
    black = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    measured = model.bits_per_dim(black, labels[:1], generator=torch.Generator().manual_seed(0))
    assert float(measured) == pytest.approx(bits, abs=1e-5)
    assert stored.facts["data"]["source"] == "digits"
