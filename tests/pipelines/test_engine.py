"""``papermill --engine mlops``, and a secret's way through it: to the kernel, and nowhere else."""

import base64
import json
import os
import subprocess
import sys
import threading

import nbformat
import psutil
import pytest

import mlops_magics as mlops
from mlops_magics.errors import ParameterInvalid, SecretNotFound
from mlops_magics.pipelines.engine import engine


def papermill(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "papermill", "--engine", "mlops", "--no-progress-bar", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def written(notebook, monkeypatch):
    """A notebook's content, as papermill hands it to an engine."""
    import papermill
    from papermill.engines import papermill_engines

    def prepare(cell, parameters, folder=None):
        path = notebook("a", "1 + 1", parameters=cell)
        given = {}
        monkeypatch.setitem(papermill_engines._engines, "mlops", engine)
        monkeypatch.setattr(engine, "_execute", lambda *args, **rest: given.update(ran=True))
        output = path.with_name("out.ipynb")
        papermill.execute_notebook(
            path, output, parameters, engine_name="mlops", progress_bar=False
        )
        assert given == {"ran": True}
        return nbformat.read(output, as_version=4)

    return prepare


def test_papermill_finds_the_engine_by_its_entry_point():
    from importlib.metadata import entry_points

    (found,) = {point.value for point in entry_points(group="papermill.engine", name="mlops")}
    assert found == "mlops_magics.pipelines.engine:engine"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mont": 3}, r"notebook 'a.ipynb' has no parameter 'mont'\s+→ did you mean 'month'"),
        ({"month": "three"}, "'month' of notebook 'a.ipynb' is int"),
        ({}, "needs a value for 'data'"),
        ({"x=1; import os": 1}, "is not an identifier"),
        ({"data": 7}, r"'data' of notebook 'a.ipynb' is str, but .* reads 7 as int\s+→ .* -r data"),
        ({"data": float("nan")}, "reads nan as float"),
        ({"data": "d", "month": float("inf")}, "is no JSON value"),
        ({"data": {1, 2}}, "of type set is no JSON value"),
        ({"data": "secret:"}, "no reference to a secret"),
    ],
)
def test_parameters_are_refused_before_a_kernel_or_a_notebook(written, tmp_path, given, message):
    complete = given if not given or "data" in given else {"data": "d", **given}
    with pytest.raises(ParameterInvalid, match=message):
        written("data: str\nmonth: int = 3", complete)
    assert [file.name for file in (tmp_path / "notebooks").iterdir()] == ["a.ipynb"]


def test_a_missing_secret_is_named_before_a_kernel(written, tmp_path):
    with pytest.raises(SecretNotFound, match="no secret 'HABIT_NOWHERE'"):
        written("password: str", {"password": "secret:HABIT_NOWHERE"})
    assert [file.name for file in (tmp_path / "notebooks").iterdir()] == ["a.ipynb"]


def test_the_injected_cell_has_the_reference_and_runs_by_hand(written, monkeypatch):
    monkeypatch.setenv("HABIT_PASSWORD", "correct horse")
    parameters = {"login": {"ann": ["secret:HABIT_PASSWORD", 'a"b']}, "month": 3}
    parameters["PAPERMILL_INPUT_PATH"] = "a.ipynb"  # papermill --inject-paths; not declared
    executed = written("login: dict\nmonth: int = 1", parameters)
    (cell,) = [c for c in executed.cells if "injected-parameters" in c.metadata.tags]
    assert "correct horse" not in str(executed)
    assert executed.metadata.papermill.parameters == parameters
    scope: dict = {}
    exec(cell.source, scope)
    assert scope["login"] == {"ann": ["correct horse", 'a"b']}
    assert scope["month"] == 3


CELLS = [
    "import base64, html, os, subprocess, sys\n"
    "import mlops_magics as mlops\n"
    "from IPython.display import HTML, display\n"
    "assert len(password) == 40 and login == {'ann': [password]}",
    "print(password)\n"
    "for piece in (password[:5], password[5:20], password[20:]):\n"
    "    sys.stdout.write(piece); sys.stdout.flush()",
    "print(base64.b64encode(f'ann:{password}'.encode()).decode(), repr(str(password)))",
    "print(password, file=sys.stderr)\n"
    "os.write(2, f'{password}\\n'.encode())\n"
    "done = subprocess.run(['sh', '-c', 'echo $CANARY >&2'])",
    "display(HTML(f'<b>{html.escape(password)}</b>'))\n"
    "mlops.output('token', str(password)); mlops.output('deep', {'a': [str(password)]})\n"
    "{'k': str(password)}",
    "late = ''.join(reversed(os.environ['ETAL']))\n"
    "os.environ['LATE'] = late\n"
    "print(mlops.secret('LATE'), late)",
    "with mlops.run('tracked', params={'p': str(password)}) as tracked:\n"
    "    tracked.set_tags({'t': str(password)})\n"
    "    raise ValueError(f'no entry for {password}')",
]


class Processes(threading.Thread):
    """Gathers the arguments of all processes while it is entered."""

    def __enter__(self):
        self.seen: set[str] = set()
        self.over = threading.Event()
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()

    def run(self):
        while not self.over.wait(0.2):
            for process in psutil.process_iter(["cmdline"]):
                self.seen.add(" ".join(process.info["cmdline"] or ()))


def test_a_secret_given_by_reference_is_found_nowhere(project, workspace, notebook):
    canary = f"cAn'ary\"\\<&+/{os.urandom(14).hex()}"[:40].ljust(40, "x")
    late = f"late-{os.urandom(8).hex()}"
    environment = {"CANARY": canary, "ETAL": late[::-1], "PYTHONWARNINGS": "ignore"}
    path = notebook(
        "a", *CELLS, parameters="password: str\nlogin: dict = {}", folder=project / "notebooks"
    )
    (project / "notebooks" / "pipeline.yaml").write_text(
        "name: p\nparameters: {password: secret:CANARY}\nsteps:\n  a:\n    notebook: a.ipynb\n"
        "    parameters:\n      password: ${parameters.password}\n"
        "      login: {ann: ['secret:CANARY']}\n"
    )
    given = json.dumps({"ann": ["secret:CANARY"]})
    with Processes() as processes:
        by_run = subprocess.run(
            [sys.executable, "-m", "mlops_magics", "pipeline", "run", "notebooks/pipeline.yaml"],
            cwd=project,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        by_engine = papermill(
            project,
            *[str(path), "out.ipynb", "-p", "password", "secret:CANARY", "-y", f"login: {given}"],
            **environment,
        )
    assert by_run.returncode == 1, by_run.stdout + by_run.stderr
    assert by_engine.returncode == 1, by_engine.stdout + by_engine.stderr
    assert "ValueError: no entry for [secret:CANARY]" in by_run.stderr
    assert "ValueError: no entry for [secret:CANARY]" in by_engine.stderr
    assert any("ipykernel" in line for line in processes.seen)

    (run,) = (workspace.path / "pipelines").iterdir()
    executed = [nbformat.read(run / "01-a.ipynb", 4), nbformat.read(project / "out.ipynb", 4)]
    for one in executed:
        shown = [str(cell.get("outputs", "")) for cell in one.cells]
        assert sum("[secret:CANARY]" in text for text in shown) == 5
        assert sum("[secret:LATE]" in text for text in shown) == 1
    record = mlops.pipelines.history.read(workspace, run.name)
    assert record.steps[0].outputs == {
        "token": "[secret:CANARY]",
        "deep": {"a": ["[secret:CANARY]"]},
    }
    assert record.steps[0].parameters["password"] == "secret:CANARY"
    assert "[secret:CANARY]" in (run / "01-a.log").read_text()
    tracked = workspace.tracking.client.search_runs(
        [workspace.tracking.experiment_id], "attributes.run_name = 'tracked'"
    )
    assert {one.data.params["p"] for one in tracked} == {"[secret:CANARY]"}

    workspace.database.close()
    written = {
        "CLI": (by_run.stdout + by_run.stderr).encode(),
        "papermill": (by_engine.stdout + by_engine.stderr).encode(),
        "processes": "\n".join(processes.seen).encode(),
        **{str(file): file.read_bytes() for file in project.rglob("*") if file.is_file()},
    }
    assert any(name.endswith("mlflow.db") for name in written)
    secret = canary[16:]  # the part that no form of writing changes
    forms = [secret, secret.encode().hex(), late, base64.b64encode(late.encode()).decode()]
    forms += [base64.b64encode(canary[start:].encode()).decode()[:24] for start in (0, 1, 2)]
    found = {
        (name, form) for name, text in written.items() for form in forms if form.encode() in text
    }
    assert found == set()
