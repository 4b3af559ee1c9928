"""The OpenAPI document, with the limits of this server and its models."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from glow_app.server.examples import examples_of
from glow_app.server.service import Service


def described(app: FastAPI, has_key: bool) -> dict[str, Any]:
    """Return the OpenAPI document of an app, cached until the service changes."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    service: Service = app.state.service
    schemas, paths = document["components"]["schemas"], document["paths"]
    _bound(schemas, service)
    for name, examples in examples_of(service.directions, service.info.restorers).items():
        paths[f"/v1/{name}"]["post"]["requestBody"]["content"]["application/json"]["examples"] = examples
    guarded = [methods for path, methods in paths.items() if path.startswith("/v1/")]
    for operation in (operation for methods in guarded for operation in methods.values()):
        if has_key:
            operation["security"] = [{"key": []}]
        else:
            del operation["responses"]["401"]
    if has_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    app.openapi_schema = document
    return document


def _bound(schemas: dict[str, Any], service: Service) -> None:
    """Add the limits of a server, its model and its restorers to the schemas of requests."""
    limits, flow = service.limits, service.model.flow
    num_levels, num_classes = len(flow.latent_shapes), flow.num_classes
    bounds: dict[tuple[str, str], dict[str, Any]] = {
        ("SampleRequest", "count"): {"maximum": limits.count},
        ("InterpolateRequest", "frames"): {"maximum": limits.count},
        ("InterpolateRequest", "images"): {"maxItems": limits.count},
        ("ReconstructRequest", "images"): {"maxItems": limits.count},
        ("ScoreRequest", "images"): {"maxItems": limits.count},
        ("ScoreRequest", "draws"): {"maximum": limits.draws},
        ("RestoreRequest", "count"): {"maximum": limits.count},
    }
    for (schema, field), bound in bounds.items():
        schemas[schema]["properties"][field] |= bound
    schemas["InterpolateRequest"]["properties"]["at"]["anyOf"][0] |= {"maxItems": limits.count}
    sample = schemas["SampleRequest"]["properties"]
    sample["temperature"]["anyOf"][1] |= {"minItems": num_levels, "maxItems": num_levels}
    if num_classes is None:
        sample["guidance"]["anyOf"] = [{"type": "number", "minimum": 1, "maximum": 1}, {"type": "null"}]
    for name, value in service.model.generation.to_plain().items():
        sample[name]["default"] = value
    for schema in ("SampleRequest", "EditRequest"):
        label = schemas[schema]["properties"]["label"]
        label["anyOf"] = [{"type": "null"}]
        if num_classes is not None:
            label["anyOf"].append({"type": "integer", "minimum": 0, "maximum": num_classes - 1})
            label["anyOf"].append({"type": "string", "maxLength": 200})
    restorer = schemas["RestoreRequest"]["properties"]["restorer"]
    restorer["anyOf"][0] |= {"enum": list(service.restorers)} if service.restorers else {}
