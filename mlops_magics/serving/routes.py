"""Routes: every path that the gateway answers, in one table."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mlops_magics.serving import metrics, protocol
from mlops_magics.serving.exchange import Exchange, Refused
from mlops_magics.serving.routing import Arm, Endpoint
from mlops_magics.serving.scoring import predictions_answer
from mlops_magics.serving.validation import Invalid, Schema

if TYPE_CHECKING:
    from mlops_magics.serving.gateway import Gateway

__all__ = ["ROUTES", "Route", "invoke"]

Handler = Callable[["Gateway", Exchange, dict[str, str]], Awaitable[None]]

_JSON, _CSV = b"application/json", b"text/csv"


@dataclass(frozen=True)
class Route:
    """A method, a path with ``{names}``, and who answers."""

    method: str
    path: str
    handler: Handler

    def pattern(self) -> re.Pattern[str]:
        """Return the path as a regular expression."""
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))


async def invoke(gateway: Gateway, exchange: Exchange, endpoint: Endpoint) -> None:
    """MLflow's scoring protocol: the hot path."""
    arm = endpoint.choose()
    if arm is None:
        raise Refused(503, "this endpoint has no traffic")
    revision = arm.revision
    try:
        rows = await _rows(gateway, exchange, revision.schema)
    except Refused as refusal:
        gateway.scorer.refused(exchange, endpoint.name, arm, endpoint.log, refusal)
        raise Refused(
            refusal.status, refusal.message, [*refusal.headers, *arm.headers]
        ) from refusal
    try:
        body = await gateway.scorer.score(
            exchange,
            revision,
            rows,
            predictions_answer,
            arm=arm,
            name=endpoint.name,
            logged=endpoint.log,
        )
    except Refused as refusal:
        raise Refused(refusal.status, refusal.message, arm.headers) from refusal
    await exchange.answer(body, 200, arm.headers)


async def _rows(
    gateway: Gateway, exchange: Exchange, schema: Schema | None
) -> list[tuple[Any, ...]]:
    kind = exchange.content_type(_JSON, _CSV)
    body = await exchange.body(gateway.max_body)
    if schema is None:
        raise Refused(503, "this revision cannot be used: its manifest is unreadable")
    decode = protocol.decode_csv if kind == _CSV else protocol.decode_invocation
    try:
        return decode(body, schema)
    except Invalid as exc:
        raise Refused(400, str(exc)) from exc


async def _invocations(gateway: Gateway, exchange: Exchange, names: dict[str, str]) -> None:
    await invoke(gateway, exchange, _endpoint(gateway, names["name"]))


async def _ping(gateway: Gateway, exchange: Exchange, names: dict[str, str]) -> None:
    await exchange.answer(b"\n")


async def _health(gateway: Gateway, exchange: Exchange, names: dict[str, str]) -> None:
    state = gateway.router.state()
    down = sorted(
        name
        for name, endpoint in gateway.router.endpoints.items()
        if not all(arm.revision.ready for arm in endpoint.arms)
    )
    await exchange.answer_json(
        {
            "status": "degraded" if down else "ok",
            "down": down,
            "generation": state["generation"],
            "spool": gateway.scorer.spool.state(),
        }
    )


async def _version(gateway: Gateway, exchange: Exchange, names: dict[str, str]) -> None:
    await exchange.answer_json({"name": "mlops_magics", "version": version("mlops-magics")})


async def _metrics(gateway: Gateway, exchange: Exchange, names: dict[str, str]) -> None:
    body = metrics.exposition(gateway.router, gateway.scorer.spool)
    kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
    await exchange.answer(body, content_type=kind)


async def _state(gateway: Gateway, exchange: Exchange, names: dict[str, str]) -> None:
    await exchange.answer_json(gateway.router.state() | {"spool": gateway.scorer.spool.state()})


async def _check(gateway: Gateway, exchange: Exchange, names: dict[str, str]) -> None:
    """Predict on a revision that may have no traffic; neither counted nor logged."""
    revision = gateway.router.revisions.get(names["id"])
    if revision is None:
        raise Refused(404, f"no revision {names['id'][:40]!r}")
    rows = await _rows(gateway, exchange, revision.schema)
    await exchange.answer(await gateway.scorer.score(exchange, revision, rows, predictions_answer))


async def _live(gateway: Gateway, exchange: Exchange, names: dict[str, str]) -> None:
    await exchange.answer_json({"live": True})


async def _ready(gateway: Gateway, exchange: Exchange, names: dict[str, str]) -> None:
    endpoints = gateway.router.endpoints.values()
    ready = all(arm.revision.ready for endpoint in endpoints for arm in endpoint.arms)
    await exchange.answer_json({"ready": ready}, 200 if ready else 503)


async def _server(gateway: Gateway, exchange: Exchange, names: dict[str, str]) -> None:
    await exchange.answer_json(
        {"name": "mlops_magics", "version": version("mlops-magics"), "extensions": []}
    )


async def _model(gateway: Gateway, exchange: Exchange, names: dict[str, str]) -> None:
    endpoint, arm = _model_arm(gateway, names)
    schema = arm.revision.schema
    outputs = (arm.revision.manifest.get("signature") or {}).get("outputs") or []
    if isinstance(outputs, str):
        outputs = json.loads(outputs)
    inputs = [
        {"name": c.name, "datatype": protocol.DATATYPES[c.kind], "shape": [-1]}
        for c in (schema.columns if schema else ())
    ]
    await exchange.answer_json(
        {
            "name": endpoint.name,
            "versions": sorted({a.revision.planned.version for a in endpoint.arms}),
            "platform": str(arm.revision.manifest.get("flavor", "")),
            "inputs": inputs,
            "outputs": [_output_metadata(output) for output in outputs],
        }
    )


def _output_metadata(output: dict[str, Any]) -> dict[str, Any]:
    name = output.get("name") or protocol.OUTPUT
    kind = output.get("type")
    if kind == "tensor":
        spec = output.get("tensor-spec") or {}
        kind = {"float64": "double", "float32": "float", "int64": "long", "int32": "integer"}.get(
            str(spec.get("dtype")), "string"
        )
        return {
            "name": name,
            "datatype": protocol.DATATYPES[str(kind)],
            "shape": spec.get("shape", [-1]),
        }
    return {"name": name, "datatype": protocol.DATATYPES.get(str(kind), "BYTES"), "shape": [-1]}


async def _model_ready(gateway: Gateway, exchange: Exchange, names: dict[str, str]) -> None:
    endpoint, arm = _model_arm(gateway, names)
    ready = arm.revision.ready
    await exchange.answer_json({"name": endpoint.name, "ready": ready}, 200 if ready else 503)


async def _infer(gateway: Gateway, exchange: Exchange, names: dict[str, str]) -> None:
    endpoint, arm = _model_arm(gateway, names)
    revision = arm.revision
    try:
        exchange.content_type(_JSON)
        body = await exchange.body(gateway.max_body)
        if revision.schema is None:
            raise Refused(503, "this revision cannot be used: its manifest is unreadable")
        try:
            rows, request = protocol.decode_infer(body, revision.schema)
        except Invalid as exc:
            raise Refused(400, str(exc)) from exc
    except Refused as refusal:
        gateway.scorer.refused(exchange, endpoint.name, arm, endpoint.log, refusal)
        raise Refused(
            refusal.status, refusal.message, [*refusal.headers, *arm.headers]
        ) from refusal
    if request.id and exchange.client_id is None:
        exchange.client_id = _header_safe(request.id)

    def encode(outputs: list[Any]) -> bytes:
        planned = revision.planned
        return protocol.infer_answer(request, endpoint.name, planned.version, outputs, exchange.id)

    try:
        answer = await gateway.scorer.score(
            exchange, revision, rows, encode, arm=arm, name=endpoint.name, logged=endpoint.log
        )
    except Refused as refusal:
        raise Refused(refusal.status, refusal.message, arm.headers) from refusal
    await exchange.answer(answer, 200, arm.headers)


def _header_safe(text: str) -> str | None:
    return text if re.fullmatch(r"[\x21-\x7e]{1,128}", text) else None


def _endpoint(gateway: Gateway, name: str) -> Endpoint:
    endpoint = gateway.router.endpoints.get(name)
    if endpoint is None:
        raise Refused(404, f"no endpoint {name[:100]!r}")
    return endpoint


def _model_arm(gateway: Gateway, names: dict[str, str]) -> tuple[Endpoint, Arm]:
    endpoint = _endpoint(gateway, names["name"])
    wanted = names.get("version")
    arm = endpoint.choose(wanted)
    if arm is None:
        raise Refused(404, f"endpoint {endpoint.name!r} serves no version {str(wanted)[:40]!r}")
    return endpoint, arm


def _model_routes() -> list[Route]:
    routes = []
    for base in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes += [
            Route("GET", base, _model),
            Route("GET", f"{base}/ready", _model_ready),
            Route("POST", f"{base}/infer", _infer),
        ]
    return routes


ROUTES = [
    Route("POST", "/endpoints/{name}/invocations", _invocations),
    Route("GET", "/ping", _ping),
    Route("GET", "/health", _health),
    Route("GET", "/version", _version),
    Route("GET", "/metrics", _metrics),
    Route("GET", "/v2", _server),
    Route("GET", "/v2/health/live", _live),
    Route("GET", "/v2/health/ready", _ready),
    *_model_routes(),
    Route("GET", "/control/state", _state),
    Route("POST", "/control/revisions/{id}/infer", _check),
]
"""The whole table; a test walks it to see that each route asks for the token."""
