"""The verbs on a real Jupyter server that has the package installed, and nothing configured."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time

import httpx
import pytest

pytestmark = pytest.mark.xdist_group("lab")

TOKEN = secrets.token_hex(16)
BASE = "/hub/ada/"


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory, workspace_template):
    """A Jupyter server over a folder with a project, under a base URL of its own."""
    import shutil

    root = tmp_path_factory.mktemp("jupyter")
    shutil.copytree(workspace_template, root / "shown" / "project")
    shutil.copytree(workspace_template, root / "hidden")
    runtime = root / "runtime"
    with (root / "jupyter.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"),
                *("--ip=127.0.0.1", "--port=0", f"--ServerApp.base_url={BASE}"),
                *(f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root / 'shown'}"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "JUPYTER_CONFIG_DIR": str(root / "config"),
                "JUPYTER_RUNTIME_DIR": str(runtime),
            },
        )
    end = time.monotonic() + 60
    while not (files := list(runtime.glob("jpserver-*.json"))):
        assert process.poll() is None, (root / "jupyter.log").read_text()
        assert time.monotonic() < end, (root / "jupyter.log").read_text()
        time.sleep(0.05)
    url = json.loads(files[0].read_text())["url"]
    with httpx.Client(base_url=f"{url}mlops/api/", timeout=60) as client:
        client.root = root
        while True:
            try:
                client.post("nothing")
                break
            except httpx.ConnectError:
                assert time.monotonic() < end
                time.sleep(0.05)
        yield client
    process.terminate()
    process.wait(20)


@pytest.fixture
def ask(jupyter):
    def post(verb, workspace="shown/project/.mlops", *, headers=None, **arguments):
        body = {"workspace": str(jupyter.root / workspace), "arguments": arguments}
        if headers is None:
            headers = {"Authorization": f"token {TOKEN}"}
        return jupyter.post(verb, json=body, headers=headers)

    return post


def test_without_a_login_or_with_a_wrong_one_it_answers_nothing(ask):
    for headers in ({}, {"Authorization": "token wrong"}):
        assert ask("monitor", endpoint="e", headers=headers).status_code in (401, 403)


def test_a_page_that_is_logged_in_by_cookie_needs_the_xsrf_token(jupyter):
    with httpx.Client(base_url=jupyter.base_url) as page:
        page.get(f"{BASE}login", params={"token": TOKEN})
        assert any("username" in name for name in page.cookies)
        body = {"arguments": {"name": "e"}, "workspace": None}
        assert page.post("rollback", json=body).status_code == 403
        headers = {"X-XSRFToken": "wrong"}
        assert page.post("rollback", json=body, headers=headers).status_code == 403
        page.get(f"{BASE}tree")  # a page, which sets the cookie
        headers = {"X-XSRFToken": page.cookies["_xsrf"]}
        assert page.post("rollback", json=body, headers=headers).status_code == 404


def test_an_error_of_a_verb_comes_with_its_message_and_the_way_out(ask):
    answer = ask("monitor", endpoint="flight-delai")
    assert answer.status_code == 404
    assert set(answer.json()) == {"message", "hint"}
    assert "flight-delai" in answer.json()["message"]
    assert answer.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    ("verb", "arguments", "named"),
    [
        ("deploy", {"model": "models:/m/1"}, "deploy"),
        ("rollback", {"name": "e", "report": 1}, "report"),
        ("monitor", {"endpoint": "e", "workspace": "/etc"}, "workspace"),
    ],
)
def test_what_is_not_offered_to_a_browser_is_refused_by_name(jupyter, verb, arguments, named):
    headers = {"Authorization": f"token {TOKEN}"}
    answer = jupyter.post(verb, json={"arguments": arguments}, headers=headers)
    assert answer.status_code == 400
    assert f"'{named}'" in answer.json()["message"]


@pytest.mark.parametrize(
    "workspace", ["hidden/.mlops", "shown/../hidden/.mlops", "shown", "shown/project", "shown/x"]
)
def test_a_workspace_outside_of_the_shown_folder_or_none_is_refused(ask, workspace):
    answer = ask("monitor", workspace=workspace, endpoint="e")
    assert answer.status_code == 404
    assert "no workspace of the folder that this Jupyter server shows" in answer.json()["message"]


def test_a_link_out_of_the_shown_folder_is_refused(ask, jupyter):
    (jupyter.root / "shown" / "link").symlink_to(jupyter.root / "hidden")
    assert ask("monitor", workspace="shown/link/.mlops", endpoint="e").status_code == 404


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"arguments": []}', b'{"workspace": 3}'])
def test_a_body_that_is_no_question_is_a_bad_request(jupyter, body):
    headers = {"Authorization": f"token {TOKEN}"}
    answer = jupyter.post("monitor", content=body, headers=headers)
    assert answer.status_code in (400, 404)
    assert "Traceback" not in answer.text
