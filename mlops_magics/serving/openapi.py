"""The OpenAPI document: every route, with each live endpoint's own request and answer.

Source: https://spec.openapis.org/oas/v3.1.0. It is made from the table of routes when it is asked
for, so it cannot tell of another server than this one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.serving import tensors
from mlops_magics.serving.columns import RANGES, Column

if TYPE_CHECKING:
    from mlops_magics.serving.routes import Route
    from mlops_magics.serving.routing import Endpoint
    from mlops_magics.serving.validation import Schema

__all__ = ["document"]

_ERRORS = {
    400: "The request does not fit: the message names what and where.",
    401: "The token is missing or wrong.",
    403: "The Host or Origin is foreign.",
    404: "There is no such endpoint, version or path.",
    405: "The path takes another method, named in `Allow`.",
    408: "The request took too long to arrive, nearly 10 s.",
    413: "The body is too large, as sent or inflated.",
    415: "The Content-Type or Content-Encoding is not supported.",
    429: "Too many requests wait; try again after `Retry-After` seconds.",
    431: "The request's head is over 64 KiB.",
    500: "The model failed; the message has the request's id.",
    503: "No worker is up; try again after `Retry-After` seconds.",
}
_EVERYWHERE = (400, 403, 408, 431)
_BODY = (413, 415)
_PREDICTION = (404, 429, 500, 503)
_NAMES = {"integer": "int32", "long": "int64"}


def document(routes: Iterable[Route], endpoints: Iterable[Endpoint], url: str) -> dict[str, Any]:
    """Return the document.

    Parameters
    ----------
    routes : iterable of Route
        The whole table.
    endpoints : iterable of Endpoint
        What is served now.
    url : str
        Where.
    """
    live = sorted(endpoints, key=lambda endpoint: endpoint.name)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if "{name}" in route.path:
            for endpoint in live:
                path = route.path.replace("{name}", endpoint.name)
                paths.setdefault(path, {})[route.method.lower()] = _operation(route, endpoint)
        else:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mlops_magics",
            "version": version("mlops-magics"),
            "description": "Endpoints of this workspace. The token is in `.mlops/token`.",
        },
        "servers": [{"url": url}],
        "security": [{"bearer": []}],
        "tags": [{"name": endpoint.name} for endpoint in live] + [{"name": "server"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "For this document only: any user name, the token as password.",
                },
            },
            "schemas": {
                "Error": {
                    "type": "object",
                    "properties": {"error": {"type": "string"}},
                    "required": ["error"],
                    "additionalProperties": False,
                }
            },
            "headers": _HEADERS,
            "responses": {f"E{status}": _error(status) for status in _ERRORS},
        },
    }


_HEADERS: dict[str, Any] = {
    "X-Request-Id": {
        "description": "The caller's own id, or ours.",
        "schema": {"type": "string"},
    },
    "X-Prediction-Id": {
        "description": "By which labels come back; only where the inference table keeps it.",
        "schema": {"type": "string"},
    },
    "X-Model-Version": {"description": "Who answered.", "schema": {"type": "string"}},
    "X-Variant": {
        "description": "`champion` or `canary`.",
        "schema": {"type": "string"},
    },
    "X-Revision": {"description": "The revision that answered.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}},
    "Allow": {"description": "Methods that the path takes.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "How to sign in.", "schema": {"type": "string"}},
}
_SPECIAL = {401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After"}


def _error(status: int) -> dict[str, Any]:
    names = ["X-Request-Id"] if status not in (408, 431) else []
    if status in _SPECIAL:
        names.append(_SPECIAL[status])
    schema = {"$ref": "#/components/schemas/Error"}
    return {
        "description": _ERRORS[status],
        "content": {"application/json": {"schema": schema}},
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
    }


def _operation(route: Route, endpoint: Endpoint | None) -> dict[str, Any]:
    predicts = route.method == "POST"
    statuses = {*_EVERYWHERE}
    if route.security != "open":
        statuses.add(401)
    if predicts:
        statuses |= {*_BODY, *_PREDICTION}
    elif "{" in route.path or "ready" in route.path:
        statuses |= {404, 503}
    own = ("X-Model-Version", "X-Variant", "X-Revision", "X-Prediction-Id") if predicts else ()
    names = ("X-Request-Id", *own)
    answer: dict[str, Any] = {
        "description": "The answer.",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {route.gives: {"schema": {}}},
    }
    found: dict[str, Any] = {
        "summary": route.summary,
        "tags": [endpoint.name if endpoint else "server"],
        "parameters": [_parameter(name) for name in _placeholders(route.path)],
        "responses": {
            "200": answer,
            **{str(s): {"$ref": f"#/components/responses/E{s}"} for s in sorted(statuses)},
        },
    }
    if predicts:
        found["parameters"] += [_head("X-Request-Id"), _head("X-Routing-Key")]
    if route.security == "open":
        found["security"] = []
    elif route.security == "basic":
        found["security"] = [{"bearer": []}, {"basic": []}]
    arm = endpoint.arms[-1] if endpoint and endpoint.arms else None
    schema = arm.revision.schema if arm else None
    if predicts:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    if predicts and schema is not None and arm is not None:
        package = Path(arm.revision.planned.package)
        if route.path.endswith("/invocations"):
            found["requestBody"]["content"] = _invocation(schema, package)
            answer["content"][route.gives]["schema"] = _predictions(schema)
        else:
            found["requestBody"]["content"] = _inference(schema, package)
    return found


def _placeholders(path: str) -> list[str]:
    return [name for name in re.findall(r"\{(\w+)\}", path) if name != "name"]


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _head(name: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": "^[!-~]{1,128}$"}
    return {"name": name, "in": "header", "required": False, "schema": schema}


def _invocation(schema: Schema, package: Path) -> dict[str, Any]:
    """Return the request bodies of MLflow's protocol, with the package's own example."""
    record = {
        "type": "object",
        "properties": {column.name: _json_schema(column) for column in schema.columns},
        "required": [column.name for column in schema.columns if not column.may_be_absent],
        "additionalProperties": False,
    }
    names = [column.name for column in schema.columns]
    rows = {
        "type": "array",
        "items": {
            "type": "array",
            "prefixItems": [_json_schema(column) for column in schema.columns],
            "minItems": len(names),
            "maxItems": len(names),
        },
    }
    split = {
        "type": "object",
        "properties": {"columns": {"const": names}, "data": rows},
        "required": ["columns", "data"],
        "additionalProperties": False,
    }
    records = {"type": "array", "items": record}
    forms: dict[str, Any] = {
        "dataframe_split": split,
        "dataframe_records": records,
        "instances": records,
    }
    if schema.unnamed:
        forms["inputs"] = {"type": "array", "items": _json_schema(schema.columns[0])}
        forms["instances"] = forms["inputs"]
    body: dict[str, Any] = {
        "oneOf": [
            {
                "type": "object",
                "title": name,
                "properties": {name: form, "params": schema.params.schema()},
                "required": [name],
                "additionalProperties": False,
            }
            for name, form in forms.items()
        ]
    }
    found: dict[str, Any] = {"application/json": {"schema": body}}
    example = _read(package / "serving_input_example.json")
    if example is not None:
        found["application/json"]["example"] = example
    if not schema.tensors:
        found["text/csv"] = {"schema": {"type": "string"}}
    return found


def _inference(schema: Schema, package: Path) -> dict[str, Any]:
    """Return the request body of the Open Inference Protocol."""
    example = None
    golden = _read(package / "mlops" / "golden.json")
    if golden is not None:
        row = golden["inputs"]["data"][:1]
        names = golden["inputs"]["columns"]
        example = {
            "inputs": [
                {
                    "name": column.name,
                    "shape": [len(row), *(column.shape or ())],
                    "datatype": tensors.datatype(column),
                    "data": [values[names.index(column.name)] for values in row],
                }
                for column in schema.columns
            ]
        }
    inputs = [
        {
            "type": "object",
            "properties": {
                "name": {"const": column.name},
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                "datatype": {"enum": sorted(tensors.accepted(column))},
                "data": {"type": "array"},
            },
            "required": ["name", "shape", "datatype", "data"],
        }
        for column in schema.columns
    ]
    body = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": {"oneOf": inputs}},
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"name": {"enum": [one.name for one in schema.outputs]}},
                    "required": ["name"],
                },
            },
            "parameters": schema.params.schema(),
        },
        "required": ["inputs"],
    }
    content: dict[str, Any] = {"schema": body}
    if example is not None:
        content["example"] = example
    return {"application/json": content}


def _predictions(schema: Schema) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"predictions": {"type": "array"}},
        "required": ["predictions"],
    }


_PLAIN: dict[str, dict[str, Any]] = {
    "boolean": {"type": "boolean"},
    "bool": {"type": "boolean"},
    "string": {"type": "string"},
    "object": {"type": "string"},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string", "format": "date-time"},
}


def _json_schema(column: Column) -> dict[str, Any]:
    """Return the JSON schema of a row's entry.

    Examples
    --------
    >>> _json_schema(Column("x", "uint8", shape=(2,)))["items"]["maximum"]
    255
    """
    found = _PLAIN.get(column.kind)
    if found is None:
        bounds = RANGES.get(_NAMES.get(column.kind, column.kind))
        found = {"type": "number"}
        if bounds is not None:
            found = {"type": "integer", "minimum": bounds[0], "maximum": bounds[1]}
    if not column.required:
        found = {**found, "type": [found["type"], "null"]}
    for length in reversed(column.shape or ()):
        found = {"type": "array", "items": found, "minItems": length, "maxItems": length}
    return found


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
