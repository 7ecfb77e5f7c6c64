"""The public API: one list of names, light to import, and three faces for every verb."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import click
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import mlops_magics as mlops
from mlops_magics import errors
from mlops_magics.cli.group import mlops as group

# repeated, so singular
SINGULAR = {
    "param": "params",
    "rule": "rules",
    "kind": "kinds",
    "tag": "tags",
    "artifact": "artifacts",
}
# told to the command itself, not to its function
FACE_ONLY = {
    "workspace",
    "json",
    "help",
    "compare",
    "script",
    "arguments",
    "no_autolog",
    "follow",
    "verbose",
    "markdown",
    "metrics",
    # papermill's names of what is gathered as --param is
    "parameters",
    "parameters_raw",
    "parameters_yaml",
    "parameters_file",
    "no_cache",
}


def leaves(command: click.Command = group, path: tuple[str, ...] = ()):
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path, command


VERBS = [pytest.param(path, verb, id=" ".join(path)) for path, verb in leaves()]


def python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_importing_loads_nothing_heavy():
    python(
        "import mlops_magics, sys; assert not "
        "{'mlflow','pandas','sklearn','starlette','papermill','IPython'} & set(sys.modules)"
    )
    python(
        "import mlops_magics, sys; assert not "
        "{'numpy','sqlalchemy','pyarrow','click'} & set(sys.modules)"
    )


def test_loading_the_extension_loads_no_mlflow_pandas_or_sklearn():
    python(
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "before = set(sys.modules)\n"
        "assert shell.run_cell('%load_ext mlops_magics').success\n"
        "assert shell.find_line_magic('mlops_status')\n"
        "heavy = {'mlflow', 'pandas', 'sklearn', 'numpy', 'sqlalchemy', 'tqdm', 'anywidget'}\n"
        "assert not heavy & (set(sys.modules) - before), heavy & set(sys.modules)"
    )


def test_the_public_names_are_sorted_and_exist():
    assert mlops.__all__ == sorted(mlops.__all__)
    for name in mlops.__all__:
        assert getattr(mlops, name) is not None
    assert set(errors.__all__) <= set(mlops.__all__)
    assert set(mlops.__all__) <= set(dir(mlops))


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(mlops.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {
        alias.name: node.module.removeprefix("mlops_magics.")
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == mlops._HOME
    assert set(told) == set(mlops.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="regster"):
        mlops.regster  # noqa: B018


@pytest.mark.parametrize(("path", "verb"), VERBS)
def test_a_verb_has_help_and_an_example_for_each_face(path, verb):
    assert verb.help
    assert verb.get_short_help_str()
    assert verb.in_shell.startswith(" ".join(["mlops", *path]))
    assert verb.in_notebook.lstrip("%").startswith("mlops_" + " ".join(path))
    for param in verb.params:
        if isinstance(param, click.Option) and param.name not in {"limit", "workers", "chunk"}:
            assert param.help or param.show_default, f"{param.opts} has no help"


@pytest.mark.parametrize(("path", "verb"), VERBS)
def test_a_verb_calls_public_functions_that_return_records(path, verb):
    assert verb.calls
    for name in verb.calls:
        assert name in mlops.__all__
        function = getattr(mlops, name)
        assert inspect.getdoc(function), name
        given = inspect.signature(function).parameters
        if any(param.name == "workspace" for param in verb.params):
            assert given["workspace"].kind is inspect.Parameter.KEYWORD_ONLY
            assert given["workspace"].default is None


@pytest.mark.parametrize(("path", "verb"), VERBS)
def test_an_option_bears_the_name_of_the_functions_parameter(path, verb):
    known = {
        name
        for function in verb.calls
        for name in inspect.signature(getattr(mlops, function)).parameters
    }
    for param in verb.params:
        names = [opt.lstrip("-").replace("-", "_") for opt in param.opts]
        if isinstance(param, click.Argument):
            names = [str(param.metavar or param.name).strip("[]").lower()]
        told = {SINGULAR.get(name, name) for name in names}
        assert told & (known | FACE_ONLY), f"{param.opts} is no parameter of {verb.calls}"


def test_examples_name_nothing_that_only_our_tests_know():
    for file in Path(mlops.__file__).parent.rglob("*.py"):
        assert "getfixture" not in file.read_text(), file


@pytest.fixture(scope="module")
def shell():
    config = Config()
    config.HistoryManager.hist_file = ":memory:"
    found = InteractiveShell.instance(config=config)
    found.run_line_magic("load_ext", "mlops_magics")
    yield found
    InteractiveShell.clear_instance()


@pytest.mark.parametrize(("path", "verb"), VERBS)
def test_a_verb_is_a_magic_with_the_same_help(shell, path, verb):
    magic = shell.find_line_magic(f"mlops_{path[0]}")
    assert magic is not None
    assert (verb.help or "").split("\n")[0][:40] in (magic.__doc__ or "") or len(path) > 1


def test_every_function_that_acts_on_a_workspace_is_a_verbs():
    called = {name for _, verb in leaves() for name in verb.calls}
    functions = {
        name
        for name in mlops.__all__
        if inspect.isfunction(getattr(mlops, name))
        and "workspace" in inspect.signature(getattr(mlops, name)).parameters
    }
    assert functions <= called


@pytest.mark.parametrize("name", sorted(errors.__all__))
def test_an_error_of_the_tree_can_be_caught_from_the_top(name):
    assert issubclass(getattr(mlops, name), mlops.MlopsError)
