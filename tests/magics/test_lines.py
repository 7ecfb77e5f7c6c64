import dataclasses
import os

import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

import mlops_magics as mlops
from mlops_magics.errors import (
    DatasetNotFound,
    InvalidArgument,
    ModelNotFound,
    SourceUnreadable,
    UnknownName,
)
from mlops_magics.magics.interrupts import Interrupted
from mlops_magics.records import Record


@dataclasses.dataclass(frozen=True)
class Seen(Record):
    options: dict


@pytest.fixture
def seen(monkeypatch):
    """Stand-ins for verbs: a face's test checks the call."""
    for name in ("test", "promote", "predict", "deploy", "model_versions", "status", "log"):
        monkeypatch.setattr(
            mlops,
            name,
            lambda *given, **options: Seen({"given": given, **options}),
            raising=False,
        )


def test_a_bare_name_is_the_notebooks_object_where_an_object_is_expected(shell, seen):
    shell["model"], shell["holdout"] = object(), pd.DataFrame({"y": [1]})
    found = shell.run("%mlops_test model --data holdout --target y --min roc_auc=0.7")
    assert found.options["given"][0] is shell["model"]
    assert found.options["given"][1] is shell["holdout"]
    assert found.options["given"][2] == "y"
    assert found.options["min"] == {"roc_auc": "0.7"}
    assert found.options["max"] is None


def test_a_name_that_is_no_variable_goes_to_the_verb_as_text(shell, seen):
    found = shell.run("%mlops_promote flight-delay@challenger --reason 'it is better'")
    assert found.options["given"] == ("flight-delay@challenger", "champion")
    assert found.options["reason"] == "it is better"


def test_a_text_stays_text_even_if_a_variable_has_its_name(shell, seen):
    shell["champion"] = object()
    found = shell.run("%mlops_promote m/1 --alias champion")
    assert found.options["given"] == ("m/1", "champion")


def test_an_object_where_text_is_expected_is_refused(shell, seen):
    shell["df"] = pd.DataFrame()
    with pytest.raises(InvalidArgument, match="text is expected"):
        shell.run("%mlops_promote m/1 --reason {df}")


def test_an_object_where_pairs_are_expected_is_refused(shell, seen):
    shell["df"] = pd.DataFrame()
    with pytest.raises(InvalidArgument, match=r"\{df\} is a DataFrame"):
        shell.run("%mlops_test m --data d --target y --min {df}")


def test_braces_give_an_object(shell, seen):
    shell["models"] = {"a": object()}
    found = shell.run("%mlops_promote {models['a']}")
    assert found.options["given"][0] is shell["models"]["a"]


def test_a_mapping_gives_all_gates_at_once(shell, seen):
    shell["gates"] = {"roc_auc": 0.7, "f1": 0.5}
    found = shell.run("%mlops_test m --data d --target y --min {gates}")
    assert found.options["min"] == {"roc_auc": 0.7, "f1": 0.5}


def test_ipythons_own_interpolation_is_off(shell, seen):
    with pytest.raises(UnknownName, match="missing"):
        shell.run("%mlops_promote m/1 --reason {missing}")
    found = shell.run("%mlops_promote m/1 --reason $HOME")
    assert found.options["reason"] == "$HOME"


def test_a_result_can_be_assigned_even_with_a_semicolon(shell, seen):
    shell.run("x = %mlops_promote m/1")
    assert isinstance(shell["x"], Seen)
    shell.run("y = %mlops_promote m/1;")
    assert isinstance(shell["y"], Seen)


@pytest.mark.parametrize(
    "line",
    [
        "%mlops_promote m/1 -o kept",
        "%mlops promote m/1 --out kept;",
        "%mlops_promote --out=kept m/1",
    ],
)
def test_a_line_binds_its_record_as_a_cell_does(shell, seen, line):
    shell.run(line)
    assert isinstance(shell["kept"], Seen)
    assert shell["kept"].options["given"] == ("m/1", "champion")


def test_a_line_binds_to_nothing_that_is_no_variable(shell, seen):
    with pytest.raises(InvalidArgument, match="cannot be a variable's name"):
        shell.run("%mlops_promote m/1 -o class")


def test_a_semicolon_silences_the_display(shell, seen):
    assert shell.run("%mlops_promote m/1;") is None
    assert "Seen" not in shell.shown
    shell.run("%mlops_promote m/1")
    assert "Seen" in shell.shown


def test_both_spellings_are_the_same(shell, seen):
    first = shell.run("%mlops_promote m/1 --alias a")
    assert shell.run("%mlops promote m/1 --alias a") == first


def test_alone_it_shows_the_status(shell, seen):
    assert isinstance(shell.run("%mlops"), Seen)


def test_json_gives_plain_values(shell, seen):
    assert shell.run("%mlops_promote m/1 --json")["options"]["reason"] is None


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_what_a_question_mark_shows(shell, flag):
    shell.run(f"%mlops_register {flag}")
    shown = shell.shown
    assert "Usage: %mlops_register" in shown
    assert "--alias" in shown
    assert "%mlops_register model --name flight-delay" in shown
    function = shell.ip.find_line_magic("mlops_register")
    assert function.__doc__.strip() == shown.strip()


@pytest.mark.parametrize(
    ("line", "wrong", "near"),
    [
        ("%mlops_regster x", "regster", "register"),
        ("%mlops regster x", "regster", "register"),
        ("%mlops_promote m/1 --alais x", "--alais", "--alias"),
        ("%mlops_deploy m/1 --log durabel", "durabel", "durable"),
        ("%mlops_pipeline rnu x", "rnu", "run"),
        ("%%mlops_rn x\n1", "rn", "run"),
    ],
)
def test_a_wrong_name_gets_the_nearest(shell, line, wrong, near):
    with pytest.raises(UnknownName) as caught:
        shell.run(line)
    assert wrong in caught.value.message
    assert f"did you mean {near!r}?" in shell.shown
    assert "Traceback" not in shell.shown


def test_a_dataset_that_is_not_found_offers_the_nearest_variable(shell, workspace):
    shell["flights_2013"] = pd.DataFrame({"x": [1]})
    with pytest.raises(DatasetNotFound):
        shell.run("%%mlops_run r --dataset flights_2014\n1")
    assert "did you mean 'flights_2013'?" in shell.shown


def test_an_expression_without_braces_is_told_where_it_stands(shell, workspace, seen):
    shell["holdout"] = pd.DataFrame({"x": [1]})
    with pytest.raises(mlops.MlopsError):
        shell.run("%mlops_predict flight-delay --data holdout.head(3)")
    assert "an expression stands in braces: {holdout.head(3)}" in shell.shown


@pytest.mark.parametrize("sign", [" ", "="])
def test_the_braces_that_are_offered_can_be_pasted(shell, workspace, seen, sign):
    shell["holdout"] = pd.DataFrame({"x": [1], "late y": [2]})
    given = 'holdout.drop(columns="late y")'
    with pytest.raises(mlops.MlopsError) as raised:
        shell.run(f"%mlops_predict flight-delay --data{sign}{given}")
    assert raised.value.hint.endswith(": {" + given + "}")
    found = shell.run(f"%mlops_predict flight-delay --data{sign}{{{given}}}")
    assert list(found.options["given"][1].columns) == ["x"]


def test_a_quoted_text_arrives_as_plain_text(shell, seen):
    found = shell.run("%mlops_promote m/1 --reason 'it is better'")
    assert type(found.options["reason"]) is str


def test_a_name_that_is_neither_variable_nor_registered_offers_both(shell, workspace):
    shell["forest_1"], shell["holdout"] = DummyClassifier(), pd.DataFrame({"x": [1], "y": [0]})
    workspace.tracking.client.create_registered_model("forest-a")
    with pytest.raises(ModelNotFound) as raised:
        shell.run("%mlops_test forest --data holdout --target y")
    assert raised.value.message == "there is neither a variable nor a registered model 'forest'"
    assert raised.value.hint == "did you mean 'forest_1' or 'forest-a'?"
    with pytest.raises(ModelNotFound) as raised:
        shell.run("%mlops_test quark --data holdout --target y")
    assert raised.value.message == "there is neither a variable nor a registered model 'quark'"
    assert "%mlops_registry" in shell.shown


def test_an_error_is_a_few_lines_without_a_traceback(shell, workspace):
    with pytest.raises(DatasetNotFound):
        shell.run("%mlops_data nothing-like-it")
    lines = shell.shown.strip().splitlines()
    assert lines[0].startswith("\x1b[31m\x1b[1mDatasetNotFound")
    assert len(lines) <= 4


def test_a_missing_argument_is_named(shell):
    with pytest.raises(InvalidArgument, match="--target is missing"):
        shell.run("%mlops_test m --data d")
    with pytest.raises(InvalidArgument, match="MODEL is missing"):
        shell.run("%mlops_promote")


def test_an_interrupt_is_short_and_says_where_the_state_is_seen(shell, monkeypatch):
    def interrupted(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr(mlops, "status", interrupted, raising=False)
    with pytest.raises(Interrupted) as caught:
        shell.run("%mlops_status")
    assert isinstance(caught.value, KeyboardInterrupt)
    assert "%mlops_status" in shell.shown
    assert "Traceback" not in shell.shown


def test_loading_twice_changes_nothing_and_unloading_leaves_nothing(shell):
    shell.run("%load_ext mlops_magics")
    shell.run("%reload_ext mlops_magics")
    assert sum(type(item).__name__ == "MLOps" for item in shell.ip.configurables) == 1
    assert len(shell.ip.Completer.custom_matchers) == 1
    shell.run("%unload_ext mlops_magics")
    assert shell.ip.find_line_magic("mlops_status") is None
    assert not shell.ip.Completer.custom_matchers
    shell.run("%load_ext mlops_magics")


def test_config_sets_and_frees_a_setting_of_this_kernel(shell, project):
    shell.run("%config MLOps.port = 8700")
    assert os.environ["MLOPS_PORT"] == "8700"
    assert mlops.Workspace.find().settings.port == 8700
    shell.run("%config MLOps.port = 0")
    assert "MLOPS_PORT" not in os.environ
    shell.run("%config MLOps")
    assert "Worker processes for each model version" in shell.shown


def test_config_of_a_wrong_type_changes_nothing(shell):
    shell.run("%config MLOps.port = 'many'")  # traitlets says so, IPython logs it
    assert "MLOPS_PORT" not in os.environ


def test_a_named_dataset_gives_its_rows_to_a_verb_that_takes_rows(shell, workspace, seen):
    mlops.ingest(pd.DataFrame({"x": [1, 2]}), "rows", workspace=workspace)
    found = shell.run("%mlops_predict flight-delay --data rows")
    assert found.options["given"][0] == "flight-delay"
    assert list(found.options["given"][1]["x"]) == [1, 2]
    with pytest.raises(DatasetNotFound):
        shell.run("%mlops_predict flight-delay --data nothing")


def test_the_monitor_is_live_before_a_person_and_a_record_when_headless(shell, monkeypatch):
    from mlops_magics import widgets
    from mlops_magics.magics import notebook

    picture = Seen({})
    monkeypatch.setattr(mlops, "monitor", lambda endpoint, **options: picture)
    assert shell.run("%mlops_monitor flight-delay") is picture
    monkeypatch.setattr(notebook, "headless", lambda shell: False)
    monkeypatch.setattr(widgets, "monitor", lambda record, *, workspace: ("live", record))
    assert shell.run("%mlops_monitor flight-delay") == ("live", picture)
    assert shell.run("%mlops_monitor flight-delay --json") == {"options": {}}


def test_a_script_runs_in_a_tracked_run_from_a_notebook_too(shell, workspace):
    (workspace.root / "train.py").write_text("print('from the script')\n")
    run = shell.run("%mlops_run scripted train.py")
    assert (run.name, run.status) == ("scripted", "FINISHED")
    assert "from the script" in shell.shown


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("flights[flights.x > 1]", "in braces: {flights[flights.x > 1]}"),
        ("flihgts", "did you mean 'flights'?"),
        ("nothing", "the variable 'nothing' is None"),
    ],
)
def test_what_is_no_source_is_explained_by_the_notebooks_variables(shell, workspace, line, hint):
    shell.run("import pandas as pd\nflights, nothing = pd.DataFrame({'x': [1, 2]}), None")
    with pytest.raises(SourceUnreadable) as raised:
        shell.run(f"%mlops_ingest '{line}' kept")
    assert hint in raised.value.hint


def test_a_pipeline_takes_parameters_from_the_notebook(shell, monkeypatch):
    asked = {}
    monkeypatch.setattr(mlops, "run_pipeline", lambda path, **given: asked.update(given))
    shell["month"], shell["names"], shell["more"] = 3, ["a"], {"rows": 5}
    shell.run(
        "%mlops_pipeline run x.yaml -p month {month} -p names {names} -y {more} --param {more}"
    )
    assert asked["params"] == [{"rows": 5}, {"rows": 5}, ("month", "3"), ("names", ["a"])]
