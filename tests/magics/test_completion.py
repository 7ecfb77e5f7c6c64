import socket
import time

import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

import mlops_magics as mlops


@pytest.fixture
def notebook(shell, workspace):
    shell["flights_df"] = pd.DataFrame({"x": [1, 2], "long name": [3, 4]})
    shell["fitted"] = DummyClassifier().fit([[0]], [0])
    shell["number"] = 3
    mlops.ingest(shell["flights_df"], "flights-train", workspace=workspace)
    client = workspace.tracking.client
    client.create_registered_model("flight-delay")
    with workspace.tracking.mapped():
        version = client.create_model_version("flight-delay", "file:///nowhere")
        client.set_registered_model_alias("flight-delay", "champion", version.version)
    return shell


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%mlops reg", {"register", "registry"}),
        ("%mlops pipeline ins", {"inspect"}),
        ("%mlops_pipeline ru", {"run", "runs"}),
        ("%mlops_test fitted --no-w", {"--no-worse-than"}),
        ("%mlops_deploy x --log ", {"durable", "off", "strict"}),
        ("%mlops_deploy x --log d", {"durable"}),
        ("%mlops_data fl", {"flights-train"}),
        ("%mlops_registry fli", {"flight-delay"}),
        ("%mlops_promote flight-delay@ch", {"flight-delay@champion"}),
        ("%mlops_promote m --alias ch", {"champion"}),
        ("x = %mlops_test fit", {"fitted"}),
        ("%mlops_test fitted --data fl", {"flights_df", "flights-train"}),
        ("%mlops_ingest fli", {"flights_df"}),
        ("%%mlops_run first --da", {"--dataset"}),
        ("%mlops_test fitted --data flights_df --target ", {"x", "'long name'"}),
        ("%mlops_test fitted --data {flights_df} --target x", {"x"}),
        ("%mlops_test fitted --data flights_df --slice l", {"'long name'"}),
        ("%mlops_register fitted --data flights_df --target x", {"x"}),
        ("%mlops_test fitted --min roc", {"roc_auc="}),
        ("%mlops_test fitted --max latency_p9", {"latency_p95=", "latency_p99="}),
        ("y = 1\n%mlops_registry fli", {"flight-delay"}),
    ],
)
def test_tab_offers(notebook, text, expected):
    assert set(notebook.completions(text)) == expected


def test_a_model_argument_offers_estimators_and_not_frames_or_numbers(notebook):
    found = notebook.completions("%mlops_test ")
    assert "fitted" in found
    assert "flight-delay@champion" in found
    assert not {"number", "flights_df"} & set(found)


def test_a_completion_replaces_the_whole_word(notebook):
    from IPython.core.completer import provisionalcompleter

    text = "%mlops_promote flight-delay@ch"
    with provisionalcompleter():
        (found,) = notebook.ip.Completer.completions(text, len(text))
    assert text[: found.start] + found.text == "%mlops_promote flight-delay@champion"


def test_elsewhere_completion_is_ipythons_own(notebook):
    assert "flights_df" in notebook.completions("fligh")


def test_without_a_workspace_nothing_fails(shell, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shell.completions("%mlops_registry fli")
    shell.completions("%mlops_data 'unclosed ")
    shell.completions("%mlops_nonsense x")
    assert "Traceback" not in capsys.readouterr().err


def test_a_broken_database_gives_no_names_and_no_error(notebook, workspace, capsys):
    (workspace.path / "mlflow.db").write_bytes(b"not a database" * 100)
    assert "flight-delay" not in notebook.completions("%mlops_registry fli")
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def silent():
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    ("variable", "url", "text"),
    [
        ("MLFLOW_TRACKING_URI", "http://{}", "%mlops_registry fli"),
        ("MLOPS_DATABASE_URL", "postgresql+psycopg://user@{}/name", "%mlops_data fli"),
    ],
)
def test_a_server_that_does_not_answer_is_not_waited_for(
    notebook, monkeypatch, silent, variable, url, text
):
    monkeypatch.setenv(variable, url.format(silent))
    for _ in range(2):
        began = time.monotonic()
        assert notebook.completions(text) == []
        assert time.monotonic() - began < 1.5


def test_a_server_that_answers_gives_its_names(notebook, database_url, monkeypatch):
    monkeypatch.setenv("MLOPS_DATABASE_URL", database_url)
    mlops.ingest(notebook["flights_df"], "shared-flights")
    assert notebook.completions("%mlops_data sha") == ["shared-flights"]
