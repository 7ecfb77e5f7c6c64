"""Routes: every path that the gateway answers, in one table."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from mlops_magics.serving import metrics
from mlops_magics.serving.access import OPEN_PATHS, PAGES
from mlops_magics.serving.exchange import AsgiExchange, Exchange, Refused
from mlops_magics.serving.invocation import (
    check,
    check_type,
    choose,
    invoke,
    read_invocation,
    read_open_inference,
)
from mlops_magics.serving.openapi import document
from mlops_magics.serving.openinference import EXTENSIONS, metadata
from mlops_magics.serving.pages import HEADERS, page
from mlops_magics.serving.routing import Arm, Endpoint
from mlops_magics.serving.scoring import Answer, Read

if TYPE_CHECKING:
    from mlops_magics.serving.gateway import Gateway

__all__ = ["ROUTES", "Route"]

Handler = Callable[["Gateway", AsgiExchange, dict[str, str]], Awaitable[None]]


@dataclass(frozen=True)
class Route:
    """A method, a path with ``{names}``, and who answers.

    Attributes
    ----------
    summary : str
        For the OpenAPI document.
    gives : str
        The answer's media type.
    """

    method: str
    path: str
    handler: Handler
    summary: str = ""
    gives: str = "application/json"

    @property
    def security(self) -> str:
        """``open``, ``basic`` (besides bearer) or ``bearer``."""
        if self.path in OPEN_PATHS:
            return "open"
        return "basic" if self.path in PAGES else "bearer"

    def pattern(self) -> re.Pattern[str]:
        """Return the path as a regular expression."""
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))


async def _predict(
    gateway: Gateway, exchange: AsgiExchange, endpoint: Endpoint, read: Read, version: str | None
) -> None:
    """Answer a prediction that could not be answered directly: large, chunked, or by version."""
    arm = choose(endpoint, exchange, version)
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    try:
        check_type(read, exchange)
        body = await exchange.body(gateway.max_body)
    except Refused as refusal:
        gateway.scorer.refuse(exchange, endpoint, arm, refusal, answered.set_result)
    else:
        invoke(gateway.scorer, exchange, endpoint, arm, read, body, answered.set_result)
    answer = await answered
    headers = [*arm.headers, *answer.headers]
    if answer.logged:
        headers.append((b"x-prediction-id", exchange.id.encode()))
    kind = (b"content-type", answer.content_type)
    await exchange.answer(answer.body, answer.status, headers, kind)


async def _invocations(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
    await _predict(gateway, exchange, _endpoint(gateway, names), read_invocation, None)


async def _infer(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
    endpoint = _endpoint(gateway, names)
    await _predict(gateway, exchange, endpoint, read_open_inference, names.get("version"))


async def _ping(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
    await exchange.answer(b"\n")


async def _health(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
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


async def _version(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
    await exchange.answer_json({"name": "mlops_magics", "version": version("mlops-magics")})


async def _metrics(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
    body = metrics.exposition(gateway.router, gateway.scorer.spool)
    kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
    await exchange.answer(body, content_type=kind)


async def _state(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
    await exchange.answer_json(gateway.router.state() | {"spool": gateway.scorer.spool.state()})


async def _check(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
    """Predict on a revision that may have no traffic; neither counted nor logged."""
    revision = gateway.router.revisions.get(names["id"])
    if revision is None:
        raise Refused(404, f"no revision {names['id'][:40]!r}")
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    body = await exchange.body(gateway.max_body)
    check(gateway.scorer, exchange, revision, body, answered.set_result)
    answer = await answered
    await exchange.answer(answer.body, answer.status, answer.headers)


async def _openapi(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
    url = f"http://{exchange.headers[b'host'].decode('ascii')}"
    await exchange.answer_json(document(ROUTES, gateway.router.endpoints.values(), url))


async def _docs(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
    name = exchange.scope["path"].rpartition("/")[2]
    content, kind = page("page.html" if name == "docs" else name)
    await exchange.answer(content, 200, HEADERS, (b"content-type", kind))


async def _live(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
    await exchange.answer_json({"live": True})


async def _ready(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
    endpoints = gateway.router.endpoints.values()
    ready = all(arm.revision.ready for endpoint in endpoints for arm in endpoint.arms)
    await exchange.answer_json({"ready": ready}, 200 if ready else 503)


async def _server(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
    await exchange.answer_json(
        {"name": "mlops_magics", "version": version("mlops-magics"), "extensions": EXTENSIONS}
    )


async def _model(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
    endpoint, arm = _model_arm(gateway, exchange, names)
    schema = arm.revision.schema
    await exchange.answer_json(
        {
            "name": endpoint.name,
            "versions": sorted({a.revision.planned.version for a in endpoint.arms}),
            "platform": str(arm.revision.manifest.get("flavor", "")),
            **(metadata(schema) if schema else {"inputs": [], "outputs": []}),
        }
    )


async def _model_ready(gateway: Gateway, exchange: AsgiExchange, names: dict[str, str]) -> None:
    endpoint, arm = _model_arm(gateway, exchange, names)
    ready = arm.revision.ready
    await exchange.answer_json({"name": endpoint.name, "ready": ready}, 200 if ready else 503)


def _endpoint(gateway: Gateway, names: dict[str, str]) -> Endpoint:
    name = names["name"]
    endpoint = gateway.router.endpoints.get(name)
    if endpoint is None:
        raise Refused(404, f"no endpoint {name[:100]!r}")
    return endpoint


def _model_arm(gateway: Gateway, exchange: Exchange, names: dict[str, str]) -> tuple[Endpoint, Arm]:
    endpoint = _endpoint(gateway, names)
    return endpoint, choose(endpoint, exchange, names.get("version"))


def _model_routes() -> list[Route]:
    routes = []
    for base in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes += [
            Route("GET", base, _model, "Inputs and outputs of a model"),
            Route("GET", f"{base}/ready", _model_ready, "Whether a model is ready"),
            Route("POST", f"{base}/infer", _infer, "Predict, by the Open Inference Protocol"),
        ]
    return routes


ROUTES = [
    Route("POST", "/endpoints/{name}/invocations", _invocations, "Predict, by MLflow's protocol"),
    Route("GET", "/ping", _ping, "Whether the server lives", "text/plain"),
    Route("GET", "/health", _health, "Which endpoints are down"),
    Route("GET", "/version", _version, "The server's version"),
    Route("GET", "/metrics", _metrics, "Metrics for Prometheus", "text/plain"),
    Route("GET", "/openapi.json", _openapi, "This description"),
    Route("GET", "/docs", _docs, "This description, to read and to try", "text/html"),
    Route("GET", "/docs/page.js", _docs, "Its script", "text/javascript"),
    Route("GET", "/docs/page.css", _docs, "Its style", "text/css"),
    Route("GET", "/v2", _server, "Name, version and extensions of the server"),
    Route("GET", "/v2/health/live", _live, "Whether the server lives"),
    Route("GET", "/v2/health/ready", _ready, "Whether all endpoints are ready"),
    *_model_routes(),
    Route("GET", "/control/state", _state, "What the server serves"),
    Route(
        "POST", "/control/revisions/{id}/infer", _check, "Ask a revision that may have no traffic"
    ),
]
"""The whole table; a test walks it to see that each route asks for the token."""
