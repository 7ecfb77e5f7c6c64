"""Models that others wrote: what MLflow logged, or a ``.skops`` file, as a live object.

No digest vouches for these files, so they are held to the rule for what people hand in: a format
that executes nothing, and in it only types of scikit-learn, NumPy and SciPy, or named by the user.
"""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mlops_magics.errors import (
    MissingExtra,
    ModelError,
    ModelNotFound,
    PackageCorrupt,
    UnsupportedModel,
    UntrustedTypes,
)
from mlops_magics.store import models, packages

if TYPE_CHECKING:
    from mlops_magics.store.models import ModelRef
    from mlops_magics.store.workspace import Workspace

__all__ = ["find", "harmless", "in_notebook", "opened"]

_SAFE = 'log it with mlflow.sklearn.log_model(model, name="model", serialization_format="skops")'
_WAY_OUT = f"{_SAFE}, or {models.LOG_IT}"


def find(workspace: Workspace, text: str) -> ModelRef | Path:
    """Find a model by what `mlops_magics.store.models.resolve` takes, or a file's path.

    Raises
    ------
    ModelNotFound
        There is none.
    UnsupportedModel
        A file that is no ``.skops`` file.
    """
    path = Path(text).expanduser()
    if path.suffix == ".skops":
        if not path.is_file():
            raise ModelNotFound(f"there is no file {path}")
        return path
    if path.suffix in {".pkl", ".pickle", ".joblib", ".cloudpickle"}:
        raise UnsupportedModel(
            f"{path} is a pickle by its name: loading one runs whatever code is in it",
            hint="write it anew where it was trained: skops.io.dump(model, 'model.skops'), "
            f"or {models.LOG_IT}",
        )
    return models.resolve(workspace, text)


@contextmanager
def opened(
    workspace: Workspace, found: ModelRef | Path, trust: Sequence[str] = ()
) -> Iterator[Any]:
    """Load a model that is no package of ours, from a private copy that is there for the block.

    Parameters
    ----------
    workspace : Workspace
        Whose MLflow has it.
    found : ModelRef or Path
        As `find` gives.
    trust : sequence of str
        Types that it may construct beyond scikit-learn's, NumPy's and SciPy's own.

    Yields
    ------
    object
        The estimator or booster, as the script had it.

    Raises
    ------
    UnsupportedModel
        It can be loaded by executing code only.
    UntrustedTypes
        It holds types that ``trust`` does not name.
    """
    if isinstance(found, Path):
        yield _load_skops(found, str(found), trust, found.resolve().parent)
        return
    private = Path(tempfile.mkdtemp(dir=workspace.directory("packages"), prefix=".foreign-"))
    try:
        folder = models.download(workspace, found, private / "model")
        packages.files_of(folder)  # a server's files may hold links too
        yield _load_logged(folder, f"model {found.name!r} of run {found.run_id[:12]}", trust)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def harmless(name: str) -> bool:
    """Tell whether a type is trusted without asking.

    Classes of scikit-learn, NumPy and SciPy are what estimators are made of; functions are so only
    in scikit-learn, whose functions run nothing that they are given as text.

    Examples
    --------
    >>> harmless("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor")
    True
    >>> harmless("numpy.load"), harmless("os.system")
    (False, False)
    """
    module, _, attribute = name.rpartition(".")
    top = module.partition(".")[0]
    if top not in {"sklearn", "numpy", "scipy"} or ".tests" in module:
        return False
    if module.startswith("sklearn.datasets"):
        return False
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return False
    return isinstance(found, type) or (top == "sklearn" and callable(found))


def in_notebook(names: Sequence[str]) -> str | None:
    """Return the first type that only the process that made it has: a lambda, a cell's function."""
    return next(
        (name for name in names if name.startswith("__main__.") or "<l" in name),
        None,
    )


def _load_logged(folder: Path, title: str, trust: Sequence[str]) -> Any:
    description = folder / "MLmodel"
    if not description.is_file():
        raise ModelError(f"{title} has no MLmodel file: its logging did not end")
    try:
        flavors: Mapping[str, Any] = dict(yaml.safe_load(description.read_text("utf-8"))["flavors"])
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as exc:
        raise PackageCorrupt(f"{title}: its MLmodel file cannot be read: {exc}") from exc
    if "sklearn" in flavors:
        section = flavors["sklearn"]
        kind = str(section.get("serialization_format") or "pickle")
        if kind != "skops":
            raise UnsupportedModel(
                f"{title} is written with {kind}: loading it runs whatever code is in it",
                hint=_WAY_OUT,
            )
        file = _inside(folder, section.get("pickled_model"))
        return _load_skops(file, title, trust, _inside(folder, section.get("code") or "code"))
    if "xgboost" in flavors:
        return _load_xgboost(folder, flavors["xgboost"], title)
    known = ", ".join(name for name in flavors if name != "python_function") or "python_function"
    raise UnsupportedModel(
        f"{title} is of MLflow's flavour {known}, which is loaded by executing code only",
        hint=models.LOG_IT,
    )


def _inside(folder: Path, name: Any) -> Path:
    path = folder / str(name)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise PackageCorrupt(f"the model's file {name!r} leaves its folder")
    return path


def _load_skops(file: Path, title: str, trust: Sequence[str], code: Path) -> Any:
    import skops.io

    data = file.read_bytes()
    try:
        named = skops.io.get_untrusted_types(data=data)
    except Exception as exc:  # whatever a file that is none makes its reader raise
        raise ModelError(f"{title} cannot be read as skops: {exc}") from exc
    local = in_notebook(named)
    if local is not None:
        raise UnsupportedModel(
            f"{title} uses {local.removeprefix('__main__.')}, which is defined in the script or "
            "notebook that made it, where nothing else can import it",
            hint="move it to a .py file beside it and import it from there",
        )
    unknown = [name for name in named if name not in trust and not harmless(name)]
    if unknown:
        raise UntrustedTypes(
            f"{title} holds types that nobody has trusted yet: {', '.join(unknown)}",
            hint="if you know them, package it and trust them: "
            + " ".join(f"--trust {name}" for name in unknown),
        )
    try:
        with _importing_from(code):
            return skops.io.loads(data, trusted=named)
    except (ImportError, AttributeError) as exc:
        raise ModelError(f"{title} cannot be loaded: {exc}", hint=models.LOG_IT) from exc


@contextmanager
def _importing_from(code: Path) -> Iterator[None]:
    """Let the user's own modules be found that lie beside the file or were logged with it."""
    place = str(code)
    added = code.is_dir() and place not in sys.path
    if added:
        sys.path.append(place)
    try:
        yield
    finally:
        if added:
            sys.path.remove(place)


def _load_xgboost(folder: Path, section: Mapping[str, Any], title: str) -> Any:
    try:
        import xgboost
    except ImportError as exc:
        raise MissingExtra("xgboost", "XGBoost models") from exc
    name = str(section.get("model_class") or "").rpartition(".")[2]
    found = getattr(xgboost, name, None)
    format_ = section.get("model_format")
    if format_ not in {"ubj", "json"} or not isinstance(found, type):
        raise UnsupportedModel(
            f"{title} is a {name or 'model'} of XGBoost in the format {format_!r}",
            hint='log it with mlflow.xgboost.log_model(model, name="model", model_format="ubj")',
        )
    if not issubclass(found, (xgboost.Booster, xgboost.XGBModel)):
        raise UnsupportedModel(f"{title}: xgboost.{name} is no model class")
    model = found()
    model.load_model(_inside(folder, section.get("data")))
    return model
