"""The encoder of a picture that conditions a flow."""

import pytest
import torch
from torch.nn.functional import pixel_unshuffle

from glow_app.restoration import ConditionEncoder


def test_there_is_a_bounded_feature_map_per_level() -> None:
    encoder = ConditionEncoder(3, 3, num_levels=3, features=5, num_blocks=2)
    maps = encoder(100 * torch.randn(2, 3, 16, 24))
    assert [tuple(feature_map.shape) for feature_map in maps] == [(2, 5 + 12, 8, 12), (2, 5, 4, 6), (2, 5, 2, 3)]
    assert [feature_map.shape[1] for feature_map in maps] == encoder.num_features
    assert all(feature_map[:, -5:].abs().max() <= 1 for feature_map in maps)


def test_the_first_map_begins_with_the_picture_and_its_mask() -> None:
    encoder = ConditionEncoder(2, 1, num_levels=1, features=3, num_blocks=1, has_mask=True)
    condition = torch.rand(2, 2, 4, 8) - 0.5
    (first,) = encoder(condition)  # as it starts
    assert torch.equal(first[:, :8], pixel_unshuffle(condition, 2))
    assert [first.shape[1]] == encoder.num_features
    assert torch.equal(encoder.estimate(condition), condition[:, :1])


@pytest.mark.parametrize("has_mask", [False, True])
def test_the_estimate_is_the_picture_with_a_correction_of_what_is_unknown(has_mask: bool) -> None:
    encoder = ConditionEncoder(1 + has_mask, 1, num_levels=2, features=3, num_blocks=1, has_mask=has_mask)
    with torch.no_grad():
        encoder.correction.bias.fill_(1.6)
    condition = torch.rand(2, 1 + has_mask, 8, 12) - 0.5
    correction = torch.where(condition[:, 1:] > 0, 0.1, 0.0) if has_mask else 0.1
    torch.testing.assert_close(encoder.estimate(condition), condition[:, :1] + correction)


def test_coarse_levels_reach_the_finest_map() -> None:
    encoder = ConditionEncoder(1, 1, num_levels=3, features=4, num_blocks=2)
    pictures = torch.zeros(2, 1, 16, 16)
    pictures[1, :, :2, :2] = 0.5
    far = [maps[:, :, -1, -1] for maps in encoder(pictures)]
    assert not torch.equal(far[0][0], far[0][1])
