"""The description of the API is true: whatever is sent, what comes back is as described, and nothing breaks."""

from typing import Any

import hypothesis
import pytest
import schemathesis
import torch
from app_client import as_base64, running
from hypothesis import HealthCheck
from registry import random_images, tiny_model, tiny_restorer
from schemathesis import GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from glow_app.generation import Direction
from glow_app.server import Limits, create_app
from glow_app.tasks import Denoise, Fill, Upscale

LIMITS = Limits(count=8, draws=2, seconds=60)
IMAGE = as_base64(random_images(1)[0])
POSTS = ["/v1/sample", "/v1/interpolate", "/v1/edit", "/v1/reconstruct", "/v1/score", "/v1/restore"]
RESTORERS = {"larger": tiny_restorer(Upscale()), "whole": tiny_restorer(Fill()), "clean": tiny_restorer(Denoise())}
POSITIVE = GenerationMode.POSITIVE
GETS = ["/v1/info", "/healthz", "/readyz", "/metrics"]


@pytest.fixture(scope="module")
def api() -> BaseSchema:
    return schemathesis.openapi.from_asgi(
        "/openapi.json", create_app(tiny_model(num_classes=4), LIMITS, hosts=["testserver"], restorers=RESTORERS)
    )


def with_pictures(value: Any) -> Any:
    """Return a body with a real picture where text stands, now and then, as no chance would bring one about."""
    if isinstance(value, list):
        return [IMAGE if isinstance(one, str) and len(one) % 2 else one for one in value]
    return IMAGE if isinstance(value, str) and len(value) % 2 else value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [*(("POST", path, mode) for path in POSTS for mode in GenerationMode), *(("GET", path, POSITIVE) for path in GETS)],
)
def test_every_answer_is_as_described(path: str, method: str, mode: GenerationMode, api: BaseSchema) -> None:
    @hypothesis.given(case=api[path][method].as_strategy(generation_mode=mode))
    @hypothesis.settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def check(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict):
            for name in {"image", "images", "mask"} & set(case.body):
                case.body[name] = with_pictures(case.body[name])
        # Few texts are pictures, and few lists are of the right length for each other: these may be refused.
        response = case.call_and_validate(excluded_checks=[positive_data_acceptance])
        assert response.status_code < 500

    check()


def test_the_description_is_complete() -> None:
    described = create_app(tiny_model(num_classes=4), LIMITS, restorers=RESTORERS).openapi()
    assert set(described["paths"]) == {*POSTS, *GETS}
    for path in POSTS:
        operation = described["paths"][path]["post"]
        expected = {"200", "405", "408", "413", "415", "421", "422", "500", "503", "504"}
        assert set(operation["responses"]) == expected | ({"404"} if path in ("/v1/edit", "/v1/restore") else set())
        assert operation["description"]
        assert operation["requestBody"]["content"]["application/json"]["examples"]
    schemas = described["components"]["schemas"]
    assert schemas["SampleRequest"]["properties"]["count"]["maximum"] == 8
    restorer = schemas["RestoreRequest"]["properties"]["restorer"]["anyOf"][0]
    assert restorer == {"type": "string", "maxLength": 200, "enum": ["larger", "whole", "clean"]}
    assert schemas["SampleRequest"]["properties"]["label"]["anyOf"][1]["maximum"] == 3
    guidance = create_app(tiny_model()).openapi()["components"]["schemas"]["SampleRequest"]["properties"]["guidance"]
    assert guidance["default"] == guidance["anyOf"][0]["minimum"] == guidance["anyOf"][0]["maximum"] == 1


def test_the_description_tells_of_the_key_that_there_is() -> None:
    described = create_app(tiny_model(), keys=["secret"]).openapi()
    assert described["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in described["paths"].items():
        for operation in operations.values():
            guarded = path.startswith("/v1/")
            assert ("401" in operation["responses"]) == guarded
            assert operation.get("security") == ([{"key": []}] if guarded else None)


@pytest.mark.parametrize("path", POSTS)
def test_the_examples_are_answered(path: str) -> None:
    model = tiny_model(num_classes=4)
    direction = Direction([torch.zeros(shape) for shape in model.flow.latent_shapes], 2)
    app = create_app(model, LIMITS, directions={"brightness": direction}, restorers=RESTORERS)
    examples = app.openapi()["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]
    with running(app) as client:
        for name, example in examples.items():
            response = client.post(path, json=example["value"])
            assert response.status_code == 200, (name, response.text)
