"""Answers match the OpenAPI document for any request."""

import re
from typing import Any

import hypothesis
import pytest
from app_client import as_base64, running
from hypothesis import HealthCheck
from registry import random_images, tiny_model, tiny_restorer

from glow_app.restoration import Clean, Fill, Upscale
from glow_app.server.app import create_app
from glow_app.server.limits import Limits
from glow_app.server.restorer import Restorer

LIMITS = Limits(count=8)
IMAGE = as_base64(random_images(1)[0])
POSTS = ["/v1/sample", "/v1/interpolate", "/v1/edit", "/v1/reconstruct", "/v1/score", "/v1/restore", "/v1/encode"]
TASKS = {"larger": Upscale(), "whole": Fill(), "clean": Clean()}
RESTORERS = [Restorer(name, tiny_restorer(task)) for name, task in TASKS.items()]
GETS = ["/v1/info", "/v1/progress", "/healthz", "/readyz", "/metrics"]


@pytest.fixture(scope="module")
def api() -> Any:
    import schemathesis  # which takes seconds

    return schemathesis.openapi.from_asgi(
        "/openapi.json", create_app(tiny_model(num_classes=4), LIMITS, hosts=["testserver"], restorers=RESTORERS)
    )


def with_pictures(value: Any) -> Any:
    """Replace about half of the texts by a real picture, because random text never is one."""
    if isinstance(value, dict):
        return {**value, "mask": IMAGE}
    if isinstance(value, list):
        return [IMAGE if isinstance(one, str) and len(one) % 2 else one for one in value]
    return IMAGE if isinstance(value, str) and len(value) % 2 else value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        *(("POST", path, mode) for path in POSTS for mode in ("positive", "negative")),
        *(("GET", path, "positive") for path in GETS),
    ],
)
def test_answers_match_the_schema(path: str, method: str, mode: str, api: Any) -> None:
    from schemathesis import Case, GenerationMode
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    @hypothesis.given(case=api[path][method].as_strategy(generation_mode=GenerationMode(mode)))
    @hypothesis.settings(
        derandomize=True, max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    def check(case: Case) -> None:
        if isinstance(case.body, dict):
            for name in {"image", "images", "inputs"} & set(case.body):
                case.body[name] = with_pictures(case.body[name])
        # Few texts are pictures, and few lists are of the right length for each other: these may be refused.
        response = case.call_and_validate(excluded_checks=[positive_data_acceptance])
        assert response.status_code < 500

    check()


def test_the_api_reference_needs_no_other_host() -> None:
    with running(create_app(tiny_model(), keys=["secret"], restorers=RESTORERS)) as client:
        page = client.get("/docs")
        addresses = re.findall(r'(?:src|href)="(.*?)"', page.text)
        assert len(addresses) == 4
        for address in addresses:
            assert client.get(f"/{address}").status_code == 200
        assert "://" not in page.text + client.get("/docs.js").text
        assert "script-src 'self';" in page.headers["content-security-policy"]
        described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {*POSTS, "/v1/decode", *GETS}
    assert described["components"]["securitySchemes"] == {"HTTPBearer": {"type": "http", "scheme": "bearer"}}
