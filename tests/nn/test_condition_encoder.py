"""The encoder of a picture that conditions a flow."""

import torch

from glow_app.nn import ConditionEncoder


def test_there_is_a_bounded_feature_map_per_level() -> None:
    encoder = ConditionEncoder(3, num_levels=3, features=5, num_blocks=2)
    maps = encoder(100 * torch.randn(2, 3, 16, 24))
    assert [tuple(feature_map.shape) for feature_map in maps] == [(2, 5, 8, 12), (2, 5, 4, 6), (2, 5, 2, 3)]
    assert all(feature_map.abs().max() <= 1 for feature_map in maps)


def test_blocks_deepen_the_first_level_alone() -> None:
    sizes = [
        [sum(parameter.numel() for parameter in stage.parameters()) for stage in encoder.stages]
        for encoder in (ConditionEncoder(1, 2, 4, num_blocks) for num_blocks in (1, 3))
    ]
    assert sizes[0][1] == sizes[1][1]
    assert sizes[1][0] - sizes[0][0] == 2 * 2 * (4 * 4 * 9 + 4)
