"""Nobody without the token; nobody from elsewhere; nothing on disk for others."""

import base64
import http.client
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_magics.serving.access import OPEN_PATHS, PAGES
from mlops_magics.serving.routes import ROUTES

pytestmark = pytest.mark.xdist_group("served")

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]
PATHS = sorted(
    {route.path.format(name="mixed", version="1", id="1") for route in ROUTES}
    | {
        "/",
        "/nothing",
        "/docs/",
        "/docs/../metrics",
        "/PING",
        "//ping",
        "/ping/",
        "/ping%2f..%2fmetrics",
    }
)
WRONG = {
    "none": {},
    "wrong": {"Authorization": "Bearer wrong"},
    "empty": {"Authorization": "Bearer "},
    "basic": {"Authorization": "Basic " + base64.b64encode(b"x:y").decode()},
}


def ask(connection, method, path, headers):
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    response.read()
    return response


@pytest.fixture
def connection(served):
    made = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=30)
    yield made
    made.close()


@pytest.mark.parametrize("wrong", WRONG)
def test_every_route_and_method_asks_for_the_token_but_liveness(connection, wrong):
    for path in PATHS:
        for method in METHODS:
            response = ask(connection, method, path, WRONG[wrong])
            if path in OPEN_PATHS:
                assert response.status == (200 if method == "GET" else 405), (method, path)
                continue
            assert response.status == 401, (method, path)
            basic = method == "GET" and path in PAGES
            scheme = "Basic" if basic else "Bearer"
            assert response.headers["WWW-Authenticate"].startswith(scheme), (method, path)


def test_a_foreign_host_or_origin_is_refused_on_every_route_and_method(served, connection):
    token = {"Authorization": f"Bearer {served.workspace.token}"}
    for path in PATHS:
        for method in METHODS:
            for foreign in (
                {"Host": "attacker.example"},
                {"Origin": "http://attacker.example"},
                {"Origin": "null"},
                {"Origin": served.url.replace("http:", "https:")},
            ):
                response = ask(connection, method, path, token | foreign)
                assert response.status == 403, (method, path, foreign)


def test_the_token_as_a_password_opens_the_pages_and_nothing_else(served, connection):
    word = base64.b64encode(f"me:{served.workspace.token}".encode()).decode()
    basic = {"Authorization": f"Basic {word}"}
    for path in PATHS:
        for method in METHODS:
            status = ask(connection, method, path, basic).status
            if path in OPEN_PATHS:
                assert status in (200, 405)
            else:
                assert status == (200 if method == "GET" and path in PAGES else 401), (method, path)
    for broken in ("Basic", "Basic ", "Basic !!!", "Basic " + base64.b64encode(b"x").decode()):
        assert ask(connection, "GET", "/docs", {"Authorization": broken}).status == 401


DEPLOYED = """
import os
os.umask(0)
import pandas as pd
import mlops_magics as mlops
from sklearn.linear_model import LinearRegression

rows = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
model = LinearRegression().fit(rows, [1, 2, 3])
mlops.deploy(mlops.package(model, name="modes", data=rows), "modes")
mlops.predict("modes", rows)
"""


def test_everything_in_the_workspace_is_for_its_owner_alone_whatever_the_umask(workspace, project):
    (project / "deploy.py").write_text(DEPLOYED)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLOPS_")}
    subprocess.run([sys.executable, "deploy.py"], cwd=project, env=environment, check=True, umask=0)
    open_to_others = []
    for folder, names, files in os.walk(workspace.path):
        for name in [*names, *files]:
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                continue
            if stat.S_IMODE(mode) & 0o077:
                open_to_others.append((oct(stat.S_IMODE(mode)), str(path)))
    assert stat.S_IMODE(workspace.path.stat().st_mode) == 0o700
    assert open_to_others == []
