"""Routes on the Jupyter server: authenticated, authorized and protected from XSRF by Jupyter."""

from __future__ import annotations

import json
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado.web import authenticated

from mlops_magics.errors import (
    DatabaseUnavailable,
    InvalidArgument,
    LockTimeout,
    MlopsError,
    NotFound,
    ServerError,
    TrackingUnavailable,
)
from mlops_magics.lab.verbs import Verbs

__all__ = ["VerbHandler", "routes"]

_STATUS: tuple[tuple[tuple[type[MlopsError], ...], int], ...] = (
    ((InvalidArgument,), 400),
    ((NotFound,), 404),
    ((DatabaseUnavailable, TrackingUnavailable, LockTimeout, ServerError), 503),
)


class VerbHandler(APIHandler):  # type: ignore[misc]  # jupyter_server's handlers are untyped
    """``POST mlops/api/VERB`` with ``{"workspace": ..., "arguments": {...}}``."""

    auth_resource = "mlops"

    def initialize(self, verbs: Verbs) -> None:
        """Take the verbs of the server's folder."""
        self.verbs = verbs

    @authenticated  # type: ignore[untyped-decorator]  # tornado's
    @authorized  # type: ignore[untyped-decorator]  # jupyter_server's
    async def post(self, name: str) -> None:
        """Call a verb and answer with its record."""
        try:
            workspace, arguments = self._asked()
            answer = await self.verbs.call(name, arguments, workspace)
        except MlopsError as exc:
            self._refuse(_status(exc), exc.message, exc.hint)
        else:
            self.finish(json.dumps(answer, allow_nan=False))

    def _asked(self) -> tuple[str | None, dict[str, Any]]:
        body = self.get_json_body() or {}
        if not isinstance(body, dict):
            raise InvalidArgument("the body is no JSON object")
        workspace, arguments = body.get("workspace"), body.get("arguments", {})
        if not isinstance(workspace, str | None) or not isinstance(arguments, dict):
            raise InvalidArgument("workspace is a path, and arguments are an object")
        return workspace, arguments

    def _refuse(self, status: int, message: str, hint: str | None) -> None:
        self.set_status(status)
        self.finish(json.dumps({"message": message, "hint": hint}))


def _status(exc: MlopsError) -> int:
    return next((status for kinds, status in _STATUS if isinstance(exc, kinds)), 409)


def routes(base_url: str, root: str) -> list[tuple[str, type[VerbHandler], dict[str, Any]]]:
    """Return the routes of a Jupyter server that shows a folder."""
    pattern = url_path_join(base_url, "mlops", "api", r"([a-z_]+)")
    return [(pattern, VerbHandler, {"verbs": Verbs(root)})]
