"""The live monitor: an endpoint's picture, pushed to the notebook while anybody looks.

A thread takes the pictures, so the view stays live while a cell computes. It draws nothing
itself: the front end (``extension/src``) draws what the monitoring stage computed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

import mlops_magics as mlops
from mlops_magics.errors import FrontEndMissing, MlopsError
from mlops_magics.store.workspace import Workspace, resolve
from mlops_magics.widgets.twin import Picture, twin

__all__ = ["MonitorWidget", "live"]

BUNDLE = Path(__file__).with_name("monitor.js")
STYLE = Path(__file__).with_name("monitor.css")
SECONDS_WITHOUT_NEWS = 600  # a page that was closed cannot say so
SECONDS_BETWEEN_TWINS = 60  # each one changes the notebook, which then wants to be saved
SHARE_OF_TIME = 0.25  # taking pictures never takes more than this of the time

if not BUNDLE.exists():
    raise FrontEndMissing(BUNDLE)


class MonitorWidget(anywidget.AnyWidget):  # type: ignore[misc]  # ipywidgets ships no types
    """A live view of an endpoint.

    Parameters
    ----------
    read : callable
        Takes a picture: returns a record, or raises what keeps it from doing so.
    actions : mapping of str to callable, optional
        Verbs that the view's buttons call, with the arguments that a person gave; without an
        action there is no button for it.
    served : mapping, optional
        Where a Jupyter server finds the same pictures: ``workspace`` (its path) and the
        ``arguments`` of the verb ``monitor``. The front end then reads them there, and the thread
        rests but for the static twin.
    first : Picture, optional
        A picture that was already taken.
    fixed : bool
        The window is over: it is shown once, and no thread runs.
    interval : float
        Seconds from picture to picture.

    Attributes
    ----------
    record : Picture
        The last picture.

    Notes
    -----
    The thread rests while no front end shows the view, and ends with :meth:`close` or with the
    kernel.
    """

    _esm = BUNDLE
    _css = STYLE

    picture = traitlets.Dict().tag(sync=True)
    trouble = traitlets.Dict(None, allow_none=True).tag(sync=True)
    fixed = traitlets.Bool(False).tag(sync=True)
    interval = traitlets.Float(1.0).tag(sync=True)
    actions = traitlets.List(traitlets.Unicode()).tag(sync=True)
    served = traitlets.Dict(None, allow_none=True).tag(sync=True)
    twin = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        read: Callable[[], Picture],
        *,
        actions: Mapping[str, Callable[..., Any]] | None = None,
        served: Mapping[str, Any] | None = None,
        first: Picture | None = None,
        fixed: bool = False,
        interval: float = 1.0,
    ) -> None:
        self.record = first if first is not None else read()
        super().__init__(
            picture=self.record.to_dict(),
            trouble=None,  # traitlets would make a missing mapping an empty one
            fixed=fixed,
            interval=interval,
            actions=sorted(actions or {}),
            served=None if served is None else dict(served),
        )
        self.twin = self.model_id or ""
        self._read, self._actions = read, dict(actions or {})
        self._closed, self._looked_at = threading.Event(), threading.Event()
        self._wake, self._elsewhere = threading.Event(), False
        self._looked_at.set()
        self._heard = time.monotonic()
        self._static: Any = None
        self._static_of: tuple[float, Any] = (0.0, None)
        self.on_msg(self._receive)
        if not fixed:
            name = f"mlops-monitor-{self.picture.get('endpoint')}"
            threading.Thread(target=self._run, name=name, daemon=True).start()

    def close(self) -> None:
        """End the view; the picture of the last moment stays in its place."""
        if self.comm is not None and hasattr(self, "_closed"):
            self._closed.set()
            self._looked_at.set()
            self._wake.set()
            self._refresh_static(now=True)
        super().close()

    def refresh(self) -> None:
        """Take a picture now."""
        began = time.time()
        try:
            self.record = self._read()
        except Exception as exc:  # whatever it is, the reader must see it, not a stale number
            since = (self.trouble or {}).get("since", began)
            self.trouble = _trouble(exc) | {"since": since}
            return
        self.trouble = None
        self.picture = self.record.to_dict()

    def _run(self) -> None:
        took = 0.0
        while not self._closed.is_set():
            pace = SECONDS_BETWEEN_TWINS if self._elsewhere else self.interval
            self._wake.wait(max(pace, took / SHARE_OF_TIME))
            self._wake.clear()
            if time.monotonic() - self._heard > SECONDS_WITHOUT_NEWS:
                self._looked_at.clear()
            self._looked_at.wait()
            if self._closed.is_set():
                return
            began = time.monotonic()
            self.refresh()
            took = time.monotonic() - began
            self._refresh_static()

    def _receive(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        """Take a message of the front end."""
        if content.get("kind") == "watching":
            self._heard = time.monotonic()
            before, self._elsewhere = self._elsewhere, bool(content.get("elsewhere"))
            if before and not self._elsewhere:
                self._wake.set()  # the pictures are wanted from here again, now
            if content.get("watching"):
                self._looked_at.set()
            else:
                self._looked_at.clear()
        elif content.get("kind") == "act" and content.get("verb") in self._actions:
            # in a thread, so that the kernel goes on taking messages
            wanted = (content.get("id"), content["verb"], content.get("given") or {})
            threading.Thread(target=self._perform, args=wanted, daemon=True).start()

    def _perform(self, request: Any, verb: str, given: Mapping[str, Any]) -> None:
        try:
            self._actions[verb](**given)
        except Exception as exc:  # shown where it was asked for
            outcome = {"ok": False, **_trouble(exc)}
        else:
            self.refresh()
            outcome = {"ok": True, "message": "", "hint": None}
        self.send({"kind": "outcome", "id": request, **outcome})

    def _ipython_display_(self) -> None:
        """Show the live view and, in an output of its own, its static twin.

        A front end that has lost the kernel can draw a view no more; the twin then stands by
        itself. While the view lives, it hides the twin.
        """
        from IPython.display import display

        bundle, *_ = super()._repr_mimebundle_()
        endpoint = self.picture.get("endpoint")
        bundle["text/plain"] = f"Live monitor of {endpoint}; its picture of that moment follows."
        display(bundle, raw=True)
        self._static = display(self._static_bundle(), raw=True, display_id=True)
        self._static_of = (time.monotonic(), _content(self.picture))

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle, *rest = super()._repr_mimebundle_(**kwargs)
        return ({**bundle, **self._static_bundle()}, *rest)

    def _static_bundle(self) -> dict[str, str]:
        return twin(self.record, name=self.twin)

    def _refresh_static(self, *, now: bool = False) -> None:
        """Bring the twin up to date, seldom, and only if there is news."""
        at, shown = self._static_of
        due = now or time.monotonic() - at >= SECONDS_BETWEEN_TWINS
        content = _content(self.picture)
        if self._static is None or not due or content == shown:
            return
        self._static_of = (time.monotonic(), content)
        self._static.update(self._static_bundle(), raw=True)


def live(picture: Picture, *, workspace: Workspace | None = None) -> MonitorWidget:
    """Go on from a picture that was taken: the window keeps its length and moves with time.

    Parameters
    ----------
    picture : Picture
        As `mlops_magics.monitor` returned it.
    workspace : Workspace, optional
        Default: found upward from the working directory, now.

    Returns
    -------
    MonitorWidget
    """
    workspace = resolve(workspace)
    values = picture.to_dict()
    endpoint, as_of = values["endpoint"], values["as_of"]
    until = values.get("until") or as_of
    length = until - (values.get("since") or until - 3600)

    def read() -> Picture:
        begin = time.time() - length
        picture: Picture = mlops.monitor(endpoint, since=begin, workspace=workspace)
        return picture

    def rollback(name: str) -> Any:
        return mlops.rollback(name, workspace=workspace)

    def traffic(endpoint: str, canary: float | None = None, *, promote: bool = False) -> Any:
        return mlops.traffic(endpoint, canary=canary, promote=promote, workspace=workspace)

    def acknowledge(number: int) -> Any:
        return mlops.acknowledge_alert(number, workspace=workspace)

    return MonitorWidget(
        read,
        actions={"acknowledge_alert": acknowledge, "rollback": rollback, "traffic": traffic},
        served={
            "workspace": str(workspace.path),
            "arguments": {"endpoint": endpoint, "last": length},
        },
        first=picture,
        fixed=as_of - until > 1,
    )


def _trouble(exc: Exception) -> dict[str, Any]:
    if isinstance(exc, MlopsError):
        return {"message": exc.message, "hint": exc.hint}
    return {"message": f"{type(exc).__name__}: {exc}", "hint": None}


def _content(picture: dict[str, Any]) -> Any:
    """Return what makes a twin worth renewing; the time alone does not."""
    quality = picture.get("quality") or {}
    return [
        picture.get("state"),
        (picture.get("efficiency") or {}).get("requests"),
        quality.get("labels"),
        picture.get("alerts"),
        picture.get("variants"),
    ]
