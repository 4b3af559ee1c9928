"""Specifications of parts: what is remembered, built again, and refused."""

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from glow_app.conditioning import AttributeConditioning, ClassConditioning
from glow_app.flows import Glow, MultiscaleFlow, WaveletFlow
from glow_app.priors import CNFPrior, MAFPrior
from glow_app.restoration import PictureConditioning, Upscale
from glow_app.spec import build, spec_of

SMALL: dict[str, Any] = {"num_levels": 2, "num_steps": 1, "hidden_channels": 4}
FLOWS: dict[str, Callable[[], MultiscaleFlow]] = {
    "glow": lambda: Glow((1, 8, 8), **SMALL, conditioning=ClassConditioning(3)),
    "a class and a partial of one": lambda: Glow((1, 8, 8), **SMALL, prior=partial(MAFPrior, max_groups=2)),
    "options of another class": lambda: Glow((1, 8, 8), **SMALL, prior=partial(CNFPrior, solver="rk4", num_steps=3)),
    "nested": lambda: Glow((3, 8, 8), **SMALL, conditioning=PictureConditioning(Upscale(4), 8, 1)),
    "wavelet": lambda: WaveletFlow((3, 16, 16), 1, [2], 4, [1, 2], 4, [4, 5], 1),
    "mappings": lambda: WaveletFlow((3, 16, 16), 1, conditioning=AttributeConditioning({"hat": "yes_no"})),
}


@pytest.mark.parametrize("name", FLOWS)
def test_a_part_is_built_again_from_plain_types(name: str) -> None:
    flow = FLOWS[name]()
    again = build(json.loads(json.dumps(spec_of(flow))), MultiscaleFlow, "flow")
    assert type(again) is type(flow)
    assert spec_of(again) == spec_of(flow)
    shapes = [{name: value.shape for name, value in each.state_dict().items()} for each in (flow, again)]
    assert shapes[0] == shapes[1]


def test_a_specification_is_complete_and_short_forms_are_read() -> None:
    flow = build({"type": "glow", "image_shape": [1, 8, 8], **SMALL, "prior": "maf", "coupling": "additive"})
    assert spec_of(flow)["prior"]["hidden_features"] == 64
    assert spec_of(flow)["coupling"] == "additive"
    assert spec_of({"flows": [flow]}) == {"flows": [spec_of(flow)]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "gloww"}, "flow.type is 'gloww'; expected one of glow, wavelet; did you mean glow?"),
        ({"prior": {"type": "os.system"}}, "flow.prior.type is 'os.system'; expected one of "),
        ({"num_stepz": 3}, "there is no option flow.num_stepz; did you mean num_steps?"),
        ({"prior": {"type": "maf", "num_layer": 3}}, "flow.prior.num_layer; did you mean num_layers?"),
        ({"hidden_channels": "many"}, "flow.hidden_channels is 'many'; expected a valid integer"),
        ({"image_shape": None}, "flow.image_shape is None; expected a valid tuple"),
        ({"conditioning": "classes"}, "flow.conditioning: missing a required argument: 'num_classes'"),
    ],
)
def test_an_error_names_the_option_what_was_found_and_what_is_accepted(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        build({"type": "glow", "image_shape": [1, 8, 8], **SMALL, **changes}, MultiscaleFlow, "flow")


def test_a_class_that_is_not_registered_has_no_specification() -> None:
    with pytest.raises(TypeError, match="Linear is not registered"):
        spec_of(torch.nn.Linear(1, 1))
