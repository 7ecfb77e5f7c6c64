"""The command ``mlops``, as a shell sees it."""

import io
import json
import os
import re
import subprocess
import sys

import pytest

import mlops_magics as mlops
from mlops_magics.cli import main
from mlops_magics.errors import GateFailed
from mlops_magics.store import tables


@pytest.fixture
def call(capsys):
    """Run a command line; give exit status, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run


def test_help_groups_the_verbs_by_stage_in_the_order_of_the_lifecycle(call):
    status, out, _ = call("--help")
    assert status == 0
    stages = ["Workspace:", "Data:", "Training:", "Testing:", "Packaging:", "Registry:"]
    stages += ["Deployment:", "Serving:", "Monitoring:", "Pipelines:"]
    places = [out.index(stage) for stage in stages]
    assert places == sorted(places)


def test_it_tells_its_version(call):
    status, out, _ = call("--version")
    assert status == 0
    assert mlops.__version__ in out


def test_without_a_verb_it_shows_the_help(call):
    status, out, _ = call()
    assert status == 0
    assert "Usage: mlops" in out


def test_a_result_is_on_standard_output(call, workspace, tmp_path):
    (tmp_path / "rows.csv").write_text("a\n1\n2\n")
    status, out, err = call("ingest", str(tmp_path / "rows.csv"), "rows", "--tag", "team=air")
    assert status == 0
    assert "rows" in out
    assert err == ""


def test_json_is_json(call, workspace, tmp_path):
    (tmp_path / "rows.csv").write_text("a\n1\n2\n")
    call("ingest", str(tmp_path / "rows.csv"), "rows")
    status, out, _ = call("data", "rows", "--json")
    assert status == 0
    assert json.loads(out) == mlops.dataset("rows", workspace=workspace).to_dict()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tset"], "did you mean 'test'?"),
        (["promote", "m", "--alais", "x"], "did you mean '--alias'?"),
        (["deploy", "m", "--log", "durabel"], "did you mean 'durable'?"),
        (["pipeline", "rnu"], "did you mean 'run'?"),
        (["test", "m"], "--data is missing"),
        (["test", "m", "--data", "d", "--target", "y", "--min", "auc"], "key=value"),
        (["promote"], "MODEL is missing"),
        (["deploy", "m", "--workers", "many"], "many"),
        (["run", "first"], "nothing to run"),
    ],
)
def test_wrong_usage_is_status_2_with_a_message_on_standard_error(call, project, arguments, said):
    status, out, err = call(*arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_thing_that_is_not_found_is_status_1(call, workspace):
    status, out, err = call("data", "nothing")
    assert (status, out) == (1, "")
    assert err.startswith("DatasetNotFound: ")


def test_without_a_workspace_the_next_command_is_named(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = call("runs")
    assert status == 1
    assert "mlops init" in err


def test_a_failed_gate_is_status_1(call, workspace, monkeypatch):
    def test(*given, **options):
        raise GateFailed("roc_auc is 0.61, below 0.7")

    monkeypatch.setattr(mlops, "test", test)
    status, out, err = call("test", "m", "--data", "d", "--target", "y")
    assert (status, out) == (1, "")
    assert err == "GateFailed: roc_auc is 0.61, below 0.7\n"


def test_a_failed_gates_json_has_the_report(call, workspace, monkeypatch):
    def test(*given, **options):
        raise GateFailed("roc_auc is 0.61, below 0.7", hint="train longer", report={"auc": 0.61})

    monkeypatch.setattr(mlops, "test", test)
    status, out, err = call("test", "m", "--data", "d", "--target", "y", "--json")
    assert status == 1
    assert err.startswith("GateFailed: roc_auc is 0.61, below 0.7\n")
    assert json.loads(out) == {
        "error": {
            "type": "GateFailed",
            "message": "roc_auc is 0.61, below 0.7",
            "hint": "train longer",
        },
        "report": {"auc": 0.61},
    }


@pytest.mark.parametrize(
    ("arguments", "status", "kind"),
    [
        (["data", "nothing", "--json"], 1, "DatasetNotFound"),
        (["runs", "--json", "--limit", "many"], 2, "InvalidArgument"),
        (["runs", "--limti", "3", "--json"], 2, "UnknownName"),
    ],
)
def test_with_json_an_error_is_json_too(call, workspace, arguments, status, kind):
    left, out, err = call(*arguments)
    assert left == status
    assert err.startswith(f"{kind}: ")
    told = json.loads(out)
    assert set(told) == {"error"}
    assert told["error"]["type"] == kind
    assert told["error"]["message"] in err


def test_a_doctor_that_finds_something_wrong_leaves_with_1(call, workspace):
    assert call("doctor")[0] == 0
    workspace.path.chmod(0o755)
    status, out, _ = call("doctor", "--json")
    assert status == 1
    assert not all(check["passed"] for check in json.loads(out)["checks"])


def test_the_help_names_functions_that_are_called_otherwise(call):
    out = " ".join(call("--help")[1].split())
    assert "[Python: model_versions]" in out
    assert "[Python: run_pipeline" in out
    assert "[Python: promote]" not in out


def test_rows_from_standard_input_may_be_csv(call, workspace, monkeypatch):
    asked = []
    monkeypatch.setattr(mlops, "predict", lambda endpoint, rows, **options: asked.append(rows))
    monkeypatch.setattr("sys.stdin", io.StringIO("month,carrier\n3,UA\n"))
    status, _, err = call("predict", "flight-delay", "--data", "-")
    assert (status, err) == (0, "")
    assert asked[0].to_dict("records") == [{"month": 3, "carrier": "UA"}]


def test_an_interrupt_says_where_the_state_is_seen(call, monkeypatch):
    def status(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr(mlops, "status", status, raising=False)
    code, _, err = call("status")
    assert code == 1
    assert "mlops status" in err


def test_another_workspace_is_named_by_its_folder(call, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    status, _, _ = call("runs", "--workspace", str(workspace.root))
    assert status == 0


def test_a_script_runs_in_a_tracked_run_with_its_own_arguments(call, workspace):
    (workspace.root / "settings_of_script.py").write_text("FACTOR = 2\n")
    (workspace.root / "train.py").write_text(
        "import sys, mlflow, settings_of_script\n"
        "print('arguments', sys.argv[1:])\n"
        "mlflow.log_metric('auc', 0.4 * settings_of_script.FACTOR)\n"
    )
    status, out, _ = call("run", "--param", "depth=3", "boosted", "train.py", "--depth", "3", "-x")
    assert status == 0
    assert "arguments ['--depth', '3', '-x']" in out
    run = mlops.runs(workspace=workspace)[0]
    assert (run.name, run.status, run.metrics["auc"]) == ("boosted", "FINISHED", 0.8)
    assert run.params["depth"] == "3"


def test_a_script_that_leaves_with_an_error_leaves_its_run_failed(call, workspace):
    (workspace.root / "train.py").write_text("import sys\nsys.exit(3)\n")
    status, _, err = call("run", "boosted", "train.py")
    assert status == 1
    assert "exit status 3" in err
    run = mlops.runs(workspace=workspace)[0]
    assert run.status == "FAILED"
    assert f"its run 'boosted' ({run.run_id[:12]}) is FAILED" in err


def test_a_script_that_raises_shows_its_own_traceback_and_names_its_run(call, workspace):
    (workspace.root / "train.py").write_text("def fit():\n    {}['depth']\nfit()\n")
    status, _, err = call("run", "boosted", "train.py")
    assert status == 1
    assert re.findall(r'File "(.*)", line (\d+)', err) == [("train.py", "3"), ("train.py", "2")]
    run = mlops.runs(workspace=workspace)[0]
    assert run.status == "FAILED"
    last = err[err.index("MlopsError") :].splitlines()
    assert last[0] == "MlopsError: train.py raised KeyError: 'depth'"
    assert run.run_id[:12] in last[1]


def test_an_error_of_ours_in_a_script_keeps_its_name(call, workspace):
    (workspace.root / "train.py").write_text(
        "import mlops_magics as mlops\nmlops.dataset('nothing')\n"
    )
    status, _, err = call("run", "boosted", "train.py")
    assert status == 1
    assert err.startswith("DatasetNotFound: no dataset 'nothing'\n")
    assert "its run 'boosted'" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--param", "depth=3", "boosted", "train.py", "--param", "x"],
        ["boosted", "--param", "depth=3", "train.py", "--param", "x"],
        ["boosted", "--no-autolog", "--param=depth=3", "train.py", "--param", "x"],
        ["boosted", "--param", "depth=3", "--", "train.py", "--param", "x"],
    ],
)
def test_options_are_the_runs_until_the_script_is_named(call, workspace, arguments):
    (workspace.root / "train.py").write_text("import sys\nprint('given', sys.argv[1:])\n")
    status, out, err = call("run", *arguments)
    assert (status, err) == (0, "")
    assert "given ['--param', 'x']" in out
    run = mlops.runs(workspace=workspace)[0]
    assert (run.name, run.params) == ("boosted", {"depth": "3"})


def test_a_script_that_ends_itself_well_is_finished(call, workspace):
    (workspace.root / "train.py").write_text("import sys\nsys.exit()\n")
    assert call("run", "boosted", "train.py")[0] == 0
    assert mlops.runs(workspace=workspace)[0].status == "FINISHED"


def test_runs_are_listed_and_compared(call, workspace):
    for name, depth in (("one", 1), ("two", 2)):
        with mlops.run(name, params={"depth": depth}, workspace=workspace):
            pass
    status, out, _ = call("runs", "--json")
    assert status == 0
    assert {row["name"] for row in json.loads(out)["rows"]} == {"one", "two"}
    status, out, _ = call("runs", "--compare", "one", "two")
    assert status == 0
    assert "depth" in out


def mlops_process(*arguments: str, cwd, **environ: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from mlops_magics.cli import main; main()", *arguments]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environ}, timeout=60
    )


def test_as_a_process_it_keeps_its_promises(tmp_path):
    done = mlops_process("init", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".mlops" / "workspace").is_file()
    done = mlops_process("data", "nothing", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["type"] == "DatasetNotFound"
    assert "Traceback" not in done.stderr


def test_a_shell_completes_verbs_and_live_names(workspace):
    workspace.tracking.client.create_registered_model("flight-delay")

    def complete(line: str) -> str:
        environ = {
            "_MLOPS_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split()) - 1),
        }
        return mlops_process(cwd=workspace.root, **environ).stdout

    assert "plain,register" in complete("mlops reg")
    assert "plain,flight-delay" in complete("mlops registry fl")
    assert complete("mlops endpoints x").strip() == ""


def test_parameters_of_a_pipeline_are_given_as_papermill_takes_them(call, monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(mlops, "run_pipeline", lambda path, **given: asked.update(given))
    (tmp_path / "given.yaml").write_text("month: 1\nsince: 2013-01-01\n")
    options = ["-r", "alias", "007", "-p", "month", "4", "--param", "month=3"]
    options += ["-y", "{month: 2, rows: null}", "-f", str(tmp_path / "given.yaml")]
    status, _, err = call("pipeline", "run", "x.yaml", *options, "--output", "memory://out")
    assert (status, err) == (0, "")
    # the later ones win, whatever their order on the line
    assert asked["params"] == [
        {"month": 1, "since": "2013-01-01"},
        {"month": 2, "rows": None},
        "month=3",
        ("month", "4"),
        {"alias": "007"},
    ]
    assert asked["output"] == "memory://out"
    status, _, err = call("pipeline", "run", "x.yaml", "-p", "month")
    assert status == 2
    assert "-p" in err


def test_the_schema_of_a_pipeline_is_printed_as_it_is(call):
    status, out, _ = call("pipeline", "schema")
    assert status == 0
    assert json.loads(out) == mlops.pipeline_schema().schema
    assert json.loads(call("pipeline", "schema", "--json")[1]) == json.loads(out)


def test_labels_in_a_file_keep_their_ids_and_become_quality(call, answered, tmp_path):
    with answered.database.begin() as connection:
        connection.execute(tables.predictions.update().values(client_id="007"))
    (tmp_path / "labels.csv").write_text("order,late\n007,1\n008,0\n")
    given = ("--labels", str(tmp_path / "labels.csv"), "--id-column", "order")
    status, out, _ = call("feedback", "flight-delay", *given, "--label-column", "late", "--json")
    told = json.loads(out)
    assert (status, told["stored"], told["unknown"]) == (0, 1, 1)
    assert told["refused"][0] | {"reason": ""} == {
        "row": 2, "id": "008", "value": 0, "kind": "unknown", "reason": ""
    }  # fmt: skip
    status, out, _ = call("quality", "flight-delay", "--last", "1h")
    assert status == 0
    assert "1, 100.0% of the predictions" in out
