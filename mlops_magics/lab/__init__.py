"""The Jupyter server's side: verbs for what runs in the browser, behind Jupyter's own login.

Installing the package enables it (``etc/jupyter/jupyter_server_config.d``). The browser's side, in
``extension/``, works without it as well, through the kernel.
"""

from __future__ import annotations

from typing import Any

__all__: list[str] = []


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Tell Jupyter which module is its extension."""
    return [{"module": "mlops_magics.lab"}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Add the routes to a Jupyter server that starts."""
    from mlops_magics.lab.handlers import routes

    web = server.web_app
    web.add_handlers(".*$", routes(web.settings["base_url"], server.root_dir))
    server.log.info("mlops_magics: the verbs are served under mlops/api")
