import mlflow
import pytest

import mlops_magics as mlops
from mlops_magics.errors import GateFailed, InvalidArgument, UnknownName


def test_a_cell_runs_inside_a_tracked_run_and_shows_its_value_as_usual(shell, workspace):
    value = shell.run(
        "%%mlops_run first --param depth=3 --tag team=air -o run\n"
        "import mlflow\n"
        "mlflow.log_metric('auc', 0.8)\n"
        "print('training')\n"
        "answer = 42\n"
        "answer"
    )
    assert value == 42
    assert "training" in shell.shown
    run = shell["run"]
    assert (run.name, run.status) == ("first", "FINISHED")
    assert run.metrics["auc"] == 0.8
    assert run.params["depth"] == "3"
    kept = workspace.tracking.client.list_artifacts(run.run_id, "mlops")
    assert {"mlops/cell.py", "mlops/output.txt"} <= {item.path for item in kept}
    assert shell["answer"] == 42


def test_a_cell_without_a_value_shows_the_run(shell, workspace):
    value = shell.run("%%mlops_run silent-cell\nx = 1")
    assert value.name == "silent-cell"


def test_a_semicolon_silences_a_cell(shell, workspace):
    assert shell.run("%%mlops_run quiet -o run\nx = 1\nx;") is None
    assert shell["run"].name not in shell.shown


def test_a_cell_that_raises_leaves_its_run_failed_and_raises_its_own_error(shell, workspace):
    with pytest.raises(ZeroDivisionError):
        shell.run("%%mlops_run broken\nx = 1\n1 / 0")
    assert "line 3" in shell.shown  # as the notebook counts
    assert "contextlib" not in shell.shown
    assert mlops.runs(workspace=workspace)[0].status == "FAILED"
    assert mlflow.active_run() is None


def test_figures_are_kept(shell, workspace):
    shell.run(
        "%%mlops_run pictures -o run\nimport matplotlib.pyplot as plt\nplt.plot([1, 2, 3]);\n"
    )
    kept = workspace.tracking.client.list_artifacts(shell["run"].run_id, "figures")
    assert [item.path for item in kept] == ["figures/1.png"]


def test_an_object_that_a_run_bound_is_known_by_its_run(shell, workspace):
    shell.run(
        "from sklearn.linear_model import LinearRegression\n"
        "old, data = LinearRegression(), [[1.0], [2.0]]"
    )
    shell.run("%%mlops_run fitting -o run\nnew = LinearRegression().fit(data, [1, 2])\nnumber = 1")
    notebook = shell.ip.magics_manager.registry["MLOps"].notebook
    assert notebook.run_of(shell["new"]) == shell["run"].run_id
    assert notebook.run_of(shell["old"]) is None
    assert notebook.run_of(1) is None
    shell.run("%%mlops_run in-place -o second\nold.fit(data, [1, 2])")
    assert notebook.run_of(shell["old"]) == shell["second"].run_id


def test_a_model_is_tested_in_the_run_that_fitted_it(shell, workspace, monkeypatch):
    asked = {}

    def test(model, data, target, **options):
        asked.update(options, model=model)

    monkeypatch.setattr(mlops, "test", test, raising=False)
    shell.run(
        "%%mlops_run fitting -o run\n"
        "from sklearn.dummy import DummyClassifier\n"
        "model = DummyClassifier().fit([[0], [1]], [0, 1])"
    )
    shell.run("%mlops_test model --data holdout --target y")
    assert asked["run"] == shell["run"].run_id
    assert asked["model"] is shell["model"]


def test_every_check_of_a_cell_is_run_and_all_failures_are_told_together(shell, workspace):
    shell["auc"] = 0.61
    with pytest.raises(GateFailed) as caught:
        shell.run(
            "%%mlops_test sanity -o report\n"
            "assert 1 + 1 == 2\n"
            "assert auc > 0.7, f'auc is {auc}'\n"
            "for month in range(3):\n"
            "    assert month < 2\n"
            "import numpy as np\n"
            "np.testing.assert_allclose([1.0], [1.5])\n"
            "assert False == True\n"
        )
    message = str(caught.value)
    assert "4 of 5 checks of 'sanity' failed" in message
    assert "auc > 0.7: auc is 0.61; auc = 0.61" in message
    assert "month < 2: month = 2" in message
    report = caught.value.report
    assert shell["report"] is report
    assert [check.passed for check in report.checks] == [True, False, False, False, False]
    assert report.checks[2].times == 3
    assert mlops.runs(workspace=workspace)[0].status == "FAILED"
    kept = workspace.tracking.client.list_artifacts(report.run_id, "mlops")
    assert "mlops/checks.json" in {item.path for item in kept}


def test_checks_that_hold_give_a_report(shell, workspace):
    report = shell.run("%%mlops_test\nassert True\nx = 3\nassert x == 3, 'no'")
    assert report.passed
    assert report.name == "checks"
    assert "x == 3" in str(report)
    assert "__mlops_checks__" not in shell.ip.user_ns


def test_a_test_cell_without_a_check_is_refused(shell, workspace):
    with pytest.raises(InvalidArgument, match="no check"):
        shell.run("%%mlops_test\nx = 1")


def test_asserts_inside_functions_stay_what_they_are(shell, workspace):
    report = shell.run(
        "%%mlops_test\ndef positive(x):\n    assert x > 0\n    return x\nassert positive(3) == 3\n"
    )
    assert [check.name for check in report.checks] == ["positive(3) == 3"]


def test_registering_takes_the_last_expression_after_the_run(shell, workspace, monkeypatch):
    asked = {}

    def register(model, name, **options):
        asked.update(options, model=model, name=name)
        return mlops.dataset  # anything

    monkeypatch.setattr(mlops, "register", register, raising=False)
    shell.run(
        "%%mlops_register flight-delay --alias challenger --data train -o version\n"
        "import pandas as pd\n"
        "train = pd.DataFrame({'x': [1]})\n"
        "model = object()\n"
        "model"
    )
    assert asked["model"] is shell["model"]
    assert asked["data"] is shell["train"]  # bound by the cell itself
    assert (asked["name"], asked["alias"]) == ("flight-delay", "challenger")
    assert asked["run"] == mlops.runs(workspace=workspace)[0].run_id
    assert shell["version"] is mlops.dataset


def test_registering_a_cell_without_a_last_expression_says_so(shell, workspace):
    with pytest.raises(InvalidArgument, match="no model to register"):
        shell.run("%%mlops_register flight-delay\nmodel = object()")


def test_a_wrong_option_is_told_before_the_cell_runs(shell, workspace):
    with pytest.raises(UnknownName, match="--parma"):
        shell.run("%%mlops_run first --parma x=1\nran = True")
    assert "ran" not in shell.ip.user_ns


def test_magics_inside_a_cell_work(shell, workspace):
    shell.run("%%mlops_run outer -o run\nfound = %mlops_log auc=0.5")
    assert shell["found"].run_id == shell["run"].run_id
    assert shell["run"].metrics == {"auc": 0.5}


def test_await_in_a_cell_is_refused_before_it_runs(shell, workspace):
    with pytest.raises(InvalidArgument, match="await"):
        shell.run("%%mlops_run later\nimport asyncio\nawait asyncio.sleep(0)")


def test_a_cells_model_is_really_registered_with_its_evidence(shell, workspace):
    version = shell.run(
        "%%mlops_register wine --data train --target target --holdout holdout "
        "--alias challenger --min accuracy=0.6\n"
        "from sklearn.datasets import load_wine\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "frame = load_wine(as_frame=True).frame.sample(frac=1, random_state=0)\n"
        "train, holdout = frame[:120], frame[120:]\n"
        "LogisticRegression(max_iter=5000).fit(train.drop(columns='target'), train['target'])"
    )
    assert (version.name, version.version) == ("wine", "1")
    (found,) = mlops.model_versions("wine", workspace=workspace)
    assert found.run_id == mlops.runs(workspace=workspace)[0].run_id


def test_a_check_may_name_what_it_compares(shell, workspace):
    shell.run("%%mlops_test walrus -o report\nassert (half := 4 // 2) == 2\nassert half == 2")
    assert [check.passed for check in shell["report"].checks] == [True, True]


@pytest.mark.parametrize("name", ["class", "a b", "frame['x']"])
def test_the_record_is_only_bound_to_what_can_be_a_variable(shell, workspace, name):
    with pytest.raises(InvalidArgument, match="cannot be a variable's name"):
        shell.run(f'%%mlops_run first -o "{name}"\nx = 1')
    assert len(mlops.runs(workspace=workspace)) == 0


@pytest.mark.parametrize("magic", ["mlops_run", "mlops_register", "mlops_test"])
def test_help_needs_no_body(shell, magic):
    shell.run(f"%%{magic} --help")
    assert f"%%{magic}" in shell.shown
    assert "Usage" in shell.shown


def test_a_cell_without_a_body_fails_with_an_error_that_papermill_and_nbval_see(shell, workspace):
    with pytest.raises(InvalidArgument, match="the cell has no check"):
        shell.run("%%mlops_test sanity")


def test_an_interrupted_cell_says_what_became_of_its_run(shell, workspace):
    with pytest.raises(KeyboardInterrupt):
        shell.run("%%mlops_run slow\nraise KeyboardInterrupt")
    (run,) = mlops.runs(workspace=workspace)
    assert run.status == "KILLED"
    assert f"run {run.run_id[:12]} keeps what it had logged, and is KILLED" in shell.shown


def test_an_interrupted_registration_is_told_as_one(shell, workspace, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(mlops, "register", interrupted)
    with pytest.raises(KeyboardInterrupt, match="%%mlops_register was interrupted"):
        shell.run("%%mlops_register m\n1")
    assert "Traceback" not in shell.shown


@pytest.mark.parametrize("given", ["first", "--name first", "first --name first"])
@pytest.mark.parametrize("magic", ["mlops_run", "mlops_test"])
def test_the_name_stands_alone_or_behind_its_option(shell, workspace, magic, given):
    shell.run(f"%%{magic} {given} -o kept\nassert 1 == 1")
    assert shell["kept"].name == "first"


def test_a_registration_takes_its_name_as_the_line_does(shell, workspace, monkeypatch):
    asked = []
    monkeypatch.setattr(mlops, "register", lambda *given, **options: asked.append((given, options)))
    shell.run("%%mlops_register --name forest --min auc=0.7\n'model'")
    ((given, options),) = asked
    assert given == ("model", "forest")
    assert options["min"] == {"auc": "0.7"}
    assert options["run"] == mlops.runs(workspace=workspace)[0].run_id


def test_a_cell_with_two_names_or_none_is_refused(shell, workspace):
    with pytest.raises(InvalidArgument, match="two names are given: 'a' and --name 'b'"):
        shell.run("%%mlops_run a --name b\n1")
    with pytest.raises(InvalidArgument, match="NAME is missing"):
        shell.run("%%mlops_register --alias champion\n1")
