"""Flavours: how each family of models is written, without executing anything on load.

To add a family, write a function that writes its files into a folder and returns `Written`, add a
`Flavor` to `FLAVORS`, and a loader of the same name to ``store/models.py``.
"""

from __future__ import annotations

import importlib
import inspect
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import FunctionType
from typing import Any

from mlops_magics.errors import InvalidArgument, UnsupportedModel, UntrustedTypes
from mlops_magics.packaging import source
from mlops_magics.packaging.environment import distribution_of
from mlops_magics.packaging.parameters import parameters_of
from mlops_magics.store import foreign

__all__ = ["FLAVORS", "Flavor", "Written", "flavor_of"]


@dataclass(frozen=True)
class Written:
    """What a flavour left in the folder, beside its files.

    Attributes
    ----------
    flavors : mapping
        Sections of MLmodel's ``flavors``; ``python_function`` is among them.
    distributions : tuple of str
        What must be installed to load it.
    manifest : mapping
        What our own loader needs: ``class``, ``trusted_types``.
    params : tuple of dict
        What requests may set, in MLflow's JSON form.
    """

    flavors: Mapping[str, Mapping[str, Any]]
    distributions: tuple[str, ...]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    params: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Flavor:
    """A family of models.

    Attributes
    ----------
    name : str
        As MLflow calls it.
    loader : str
        Key of the loader in ``store/models.py``.
    accepts : callable
        Whether an object belongs to it; must not import the family's library.
    write : callable
        ``(model, folder, predict_fn, trust) -> Written``.
    """

    name: str
    loader: str
    accepts: Callable[[Any], bool]
    write: Callable[[Any, Path, str, Sequence[str]], Written]


def flavor_of(model: Any) -> Flavor:
    """Return the flavour that can write a model.

    Raises
    ------
    UnsupportedModel
        None can; the message names the type and what would work.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> flavor_of(LinearRegression()).name
    'sklearn'
    """
    for flavor in FLAVORS:
        if flavor.accepts(model):
            return flavor
    kind = type(model)
    raise UnsupportedModel(
        f"{kind.__module__}.{kind.__qualname__} is no model that can be packaged",
        hint="what works: a fitted scikit-learn estimator or pipeline, an XGBoost model, a Python "
        "function of a DataFrame, an object of yours with predict(data)",
    )


def _bases(model: Any) -> set[str]:
    return {base.__module__.partition(".")[0] for base in type(model).__mro__}


# --- scikit-learn ---


def _write_sklearn(model: Any, folder: Path, predict_fn: str, trust: Sequence[str]) -> Written:
    import skops.io

    _callable(model, predict_fn)
    try:
        content = skops.io.dumps(model)
        named = skops.io.get_untrusted_types(data=content)
    except Exception as exc:  # skops lets through whatever a foreign object's state raises
        raise UnsupportedModel(
            f"{type(model).__name__} cannot be written without pickle: {exc}",
            hint="skops takes no lambdas, local classes or open files inside an estimator; use "
            "functions and classes of a module",
        ) from exc
    local = foreign.in_notebook(named)
    if local is not None:  # no trust makes it importable
        raise UnsupportedModel(
            f"{type(model).__name__} uses {local.removeprefix('__main__.')}, which is a lambda or "
            "is defined in this notebook or script, where no server can import it",
            hint="move it, as a def, to a .py file beside the notebook and import it from there",
        )
    unknown = [name for name in named if name not in trust and not foreign.harmless(name)]
    if unknown:
        raise UntrustedTypes(
            f"{type(model).__name__} holds types that nobody has trusted yet: {', '.join(unknown)}",
            hint="if you know them, trust them: " + " ".join(f"--trust {name}" for name in unknown),
        )
    (folder / "model.skops").write_bytes(content)
    code = _copy_local_code(named, folder)
    trusted = sorted(named)
    shared = {"code": code}
    return Written(
        flavors={
            "python_function": {
                "loader_module": "mlflow.sklearn",
                "model_path": "model.skops",
                "predict_fn": predict_fn,
                **shared,
            },
            "sklearn": {
                "pickled_model": "model.skops",
                "serialization_format": "skops",
                "sklearn_version": metadata.version("scikit-learn"),
                "skops_trusted_types": trusted,
                **shared,
            },
        },
        distributions=("scikit-learn", "skops", *_distributions(named)),
        manifest={"trusted_types": trusted},
    )


def _copy_local_code(names: Sequence[str], folder: Path) -> str | None:
    """Copy the user's own modules that an estimator's types come from."""
    modules = {name.partition(".")[0] for name in names}
    local = sorted(module for module in modules if source.is_local(module))
    for module in local:
        origin = Path(str(importlib.import_module(module).__file__))
        (folder / "code").mkdir(exist_ok=True)
        if origin.name == "__init__.py":
            compiled = shutil.ignore_patterns("__pycache__")
            shutil.copytree(origin.parent, folder / "code" / module, ignore=compiled)
        else:
            shutil.copy2(origin, folder / "code" / origin.name)
    return "code" if local else None


def _distributions(names: Sequence[str]) -> tuple[str, ...]:
    tops = {name.partition(".")[0] for name in names} - {"sklearn", "numpy", "scipy", "builtins"}
    return tuple(found for top in sorted(tops) if (found := distribution_of(top)))


# --- XGBoost ---


def _write_xgboost(model: Any, folder: Path, predict_fn: str, trust: Sequence[str]) -> Written:
    _callable(model, predict_fn)
    kind = next(base for base in type(model).__mro__ if base.__module__.startswith("xgboost"))
    model.save_model(folder / "model.ubj")
    section: dict[str, Any] = {"loader_module": "mlflow.xgboost", "data": "model.ubj"}
    if predict_fn != "predict":
        # MLflow's own wrapper calls predict only
        _write_entry(
            folder,
            f"import xgboost\n\n_model = xgboost.{kind.__name__}()\n"
            '_model.load_model(Path(__file__).with_name("model.ubj"))\n'
            f"_predict = _model.{predict_fn}",
        )
        section = dict(_ENTRY_SECTION)
    distribution = distribution_of("xgboost") or "xgboost"
    return Written(
        flavors={
            "python_function": section,
            "xgboost": {
                "data": "model.ubj",
                "model_class": f"{kind.__module__}.{kind.__qualname__}",
                "model_format": "ubj",
                "xgb_version": metadata.version(distribution),
            },
        },
        distributions=(distribution, "scikit-learn"),
        manifest={"class": kind.__name__, "trusted_types": []},
    )


# --- Python functions and objects, as code ---


def _is_own_object(model: Any) -> bool:
    if isinstance(model, type) or inspect.ismodule(model):
        return False
    own = source.is_local(type(model).__module__)
    return own and callable(getattr(model, "predict", None))


def _write_function(model: Any, folder: Path, predict_fn: str, trust: Sequence[str]) -> Written:
    if predict_fn != "predict":
        raise InvalidArgument(f"predict_fn = {predict_fn!r}: a function has no methods")
    params = parameters_of(model)
    return _write_code(folder, *source.source_of_function(model), params)


def _write_object(model: Any, folder: Path, predict_fn: str, trust: Sequence[str]) -> Written:
    _callable(model, predict_fn)
    params = parameters_of(model, predict_fn)
    return _write_code(folder, *source.source_of_object(model, predict_fn, bool(params)), params)


def _write_code(
    folder: Path, text: str, modules: set[str], params: list[dict[str, Any]]
) -> Written:
    (folder / "function.py").write_text(text, "utf-8")
    _write_entry(
        folder,
        "import importlib.util\nimport sys\n\n"
        '_spec = importlib.util.spec_from_file_location("_mlops_function", '
        'Path(__file__).with_name("function.py"))\n'
        "_module = importlib.util.module_from_spec(_spec)\n"
        "sys.modules[_spec.name] = _module\n"
        "_spec.loader.exec_module(_module)\n"
        f"_predict = _module.{source.ENTRY}",
        params=bool(params),
    )
    needed = tuple(found for name in sorted(modules) if (found := distribution_of(name)))
    return Written(
        flavors={"python_function": dict(_ENTRY_SECTION)},
        distributions=needed,
        manifest={"trusted_types": []},
        params=tuple(params),
    )


_WITHOUT = (
    "def predict(model_input: pd.DataFrame):\n"
    "    return _predict(model_input)\n\n\n"
    "set_model(predict)\n"
)
# MLflow gives parameters to classes only
_WITH_PARAMS = (
    "class Model(PythonModel):\n"
    "    def predict(self, context, model_input: pd.DataFrame, params=None):\n"
    "        return _predict(model_input, **(params or {}))\n\n\n"
    "set_model(Model())\n"
)
_ENTRY_SECTION = {"loader_module": "mlflow.pyfunc.model", "model_code_path": "model_code.py"}


def _write_entry(folder: Path, body: str, params: bool = False) -> None:
    """Write MLflow's entry to a model given as code; our own loader does not use it."""
    text = (
        '"""Entry of MLflow to this model, written by mlops_magics."""\n\n'
        "from pathlib import Path\n\n"
        "import pandas as pd\n"
        "from mlflow.models import set_model\n"
        f"{'from mlflow.pyfunc import PythonModel' + chr(10) if params else ''}"
        f"{body}\n\n\n{_WITH_PARAMS if params else _WITHOUT}"
    )
    (folder / "model_code.py").write_text(text, "utf-8")


def _callable(model: Any, predict_fn: str) -> None:
    if predict_fn.startswith("_") or not callable(getattr(model, predict_fn, None)):
        known = [
            name
            for name in ("predict", "predict_proba", "decision_function", "transform")
            if callable(getattr(model, name, None))
        ]
        raise InvalidArgument(
            f"{type(model).__name__} has no method {predict_fn!r}",
            hint=f"it has: {', '.join(known)}" if known else None,
        )


FLAVORS: tuple[Flavor, ...] = (
    # XGBoost's estimators are scikit-learn's too: the more special family comes first
    Flavor(
        "xgboost",
        "xgboost",
        lambda model: (
            type(model).__module__.startswith("xgboost.")
            and callable(getattr(model, "save_model", None))
            and callable(getattr(model, "predict", None))
        ),
        _write_xgboost,
    ),
    Flavor(
        "sklearn",
        "skops",
        lambda model: (
            not isinstance(model, type)
            and "sklearn" in _bases(model)
            and callable(getattr(model, "fit", None))
        ),
        _write_sklearn,
    ),
    Flavor(
        "python_function",
        "python",
        lambda model: isinstance(model, FunctionType),
        _write_function,
    ),
    Flavor("python_function", "python", _is_own_object, _write_object),
)
