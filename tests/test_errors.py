"""The error tree is drawn as it is, renders shortly, and names the way out."""

import inspect
import re

import pytest

from mlops_magics import errors
from mlops_magics.errors import GateFailed, MissingExtra, MlopsError, UnknownName


def _tree():
    return {
        name: cls
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and issubclass(cls, MlopsError)
    }


def test_every_error_is_exported_and_drawn_under_its_parent():
    assert sorted(_tree()) == errors.__all__
    lines = [line for line in errors.__doc__.splitlines() if re.search(r"[A-Z]\w+", line)]
    parents = {}
    stack = []
    for line in lines:
        found = re.match(r"^([\s│├└─]*)([A-Z]\w+)", line)
        if not found or found[2] not in _tree():
            continue
        depth = len(found[1])
        stack = [entry for entry in stack if entry[0] < depth]
        parents[found[2]] = stack[-1][1] if stack else None
        stack.append((depth, found[2]))
    assert parents == {
        name: next((base.__name__ for base in cls.__bases__ if base.__name__ in _tree()), None)
        for name, cls in _tree().items()
    }


def test_a_notebook_shows_a_few_lines_and_no_traceback():
    lines = GateFailed("roc_auc = 0.7 misses 0.9", hint="see the report")._render_traceback_()
    assert len(lines) <= 4
    assert "GateFailed" in lines[0]
    assert "roc_auc = 0.7 misses 0.9" in lines[0]
    assert not any("Traceback" in line or "File" in line for line in lines)


def test_a_notebook_names_commands_as_magics_and_a_shell_as_commands():
    error = MlopsError("gone", hint="set it: mlops promote m/1   (or: mlops pipeline run x)")
    shown = "".join(error._render_traceback_())
    assert "set it: %mlops_promote m/1   (or: %mlops_pipeline run x)" in shown
    assert "set it: mlops promote m/1" in str(error)
    quoted = MlopsError("see: %mlops_data --help", hint="the mlops server, in mlops.yaml")
    assert "the mlops server, in mlops.yaml" in "".join(quoted._render_traceback_())


def test_what_is_too_far_is_not_offered():
    assert "did you mean" not in str(UnknownName("verb", "nope", ["stop", "status"]))


def test_a_message_may_have_no_text():
    assert MlopsError("")._render_traceback_()


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("champon", ["champion", "challenger"], "did you mean 'champion'?"),
        ("zzz", ["champion"], "known: champion"),
        ("zzz", [], "there is no alias yet"),
    ],
)
def test_an_unknown_name_offers_the_nearest_or_all(name, known, expected):
    assert expected in str(UnknownName("alias", name, known))


def test_wrong_usage_and_failed_work_have_their_exit_status():
    assert UnknownName("verb", "x", []).exit_status == 2
    assert GateFailed("x").exit_status == 1


def test_a_missing_extra_gives_the_pip_line():
    assert 'pip install "mlops-magics[xgboost]"' in str(MissingExtra("xgboost", "XGBoost models"))
