"""Packages with an ONNX model: proven equal on all reference rows, or native with the reason."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)

import mlops_magics as mlops
from mlops_magics.errors import InvalidArgument, MissingExtra, PackageCorrupt
from mlops_magics.store import predictors

TEXTS = ["carrier", "origin"]
NUMBERS = ["hour", "wind", "distance"]


def rows_of(count: int = 900) -> pd.DataFrame:
    """Mixed columns: integers, truth values, numbers and text with missing values."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "hour": random.integers(0, 24, count),
            "carrier": random.choice(
                ["UA", "DL", "Ünïted", "rare"], count, p=[0.5, 0.3, 0.19, 0.01]
            ),
            "wind": random.normal(10, 4, count),
            "distance": random.normal(900, 300, count),
            "origin": random.choice(["EWR", "JFK"], count),
            "weekend": random.random(count) < 0.3,
        }
    )
    rows.loc[::7, "wind"] = np.nan
    rows.loc[::11, "origin"] = None
    return rows


def late(rows: pd.DataFrame) -> pd.Series:
    noise = np.random.default_rng(1).normal(0, 3, len(rows))
    return (rows["hour"] + 6 * (rows["carrier"] == "UA") + noise > 14).astype(int)


def encoded(texts, numbers="passthrough"):
    return make_column_transformer((texts, TEXTS), (numbers, NUMBERS), ("passthrough", ["weekend"]))


def filled(encoder):
    return make_pipeline(SimpleImputer(strategy="most_frequent"), encoder)


MODELS = {
    "logistic regression on rare categories": lambda: make_pipeline(
        encoded(
            OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=50),
            make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()),
        ),
        LogisticRegression(max_iter=500),
    ),
    "forest on imputed text": lambda: make_pipeline(
        encoded(filled(OneHotEncoder(drop="first")), SimpleImputer()),
        RandomForestClassifier(30, random_state=0),
    ),
    "boosting on missing values": lambda: make_pipeline(
        encoded(
            OrdinalEncoder(
                handle_unknown="use_encoded_value",
                unknown_value=float("nan"),
                encoded_missing_value=float("nan"),
            )
        ),
        HistGradientBoostingClassifier(max_iter=30),
    ),
    "boosting on target encodings": lambda: make_pipeline(
        encoded(TargetEncoder(random_state=0), SimpleImputer()),
        GradientBoostingClassifier(n_estimators=20),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_classifier_on_mixed_columns_is_equal_on_all_reference_rows(workspace, name):
    rows = rows_of()
    model = MODELS[name]().fit(rows, late(rows))
    packed = mlops.package(
        model, name="m", data=rows, predict_fn="predict_proba", runtime="onnx", workspace=workspace
    )
    assert packed.onnx.get("reason") is None
    assert packed.onnx["verdict"] == "equal"
    assert packed.onnx["rows"] == len(rows)
    assert packed.onnx["methods"] == ["predict", "predict_proba"]
    assert packed.onnx["label_disagreements"] == packed.onnx["rows_that_differ"] == 0
    assert packed.onnx["greatest_difference"] < 1e-12  # computed in double precision
    assert packed.runtime == "onnx"
    assert "equal on all 900 reference rows" in packed.card().text()


@pytest.mark.parametrize(
    "model",
    [
        LinearRegression(),
        RandomForestRegressor(10, random_state=0),
        ExtraTreesRegressor(10, max_depth=4, random_state=0),
        HistGradientBoostingRegressor(loss="poisson", max_iter=20),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_regression_on_numbers_takes_one_matrix(workspace, model):
    rows = rows_of().drop(columns=[*TEXTS, "wind"])
    model.fit(rows, rows["distance"].abs() + 10 * rows["hour"])
    packed = mlops.package(model, name="m", data=rows, runtime="onnx", workspace=workspace)
    assert packed.onnx["verdict"] == "equal"
    assert [one["columns"] for one in packed.onnx["inputs"]] == [list(rows.columns)]
    native = predictors.load(packed.path).predict(rows)
    computed = predictors.load(packed.path, runtime="onnx").predict(rows)
    assert computed.dtype == native.dtype
    np.testing.assert_allclose(computed, native, rtol=1e-12)


@pytest.mark.parametrize("names", [["a", "b", "c"], [3, 5, 8], [False, True]], ids=str)
def test_labels_keep_their_type(workspace, names):
    rows = rows_of()[["hour", "distance"]]
    target = np.array(names)[(rows["hour"] % len(names)).to_numpy()]
    model = RandomForestClassifier(5, random_state=0).fit(rows, target)
    packed = mlops.package(model, name="m", data=rows, runtime="onnx", workspace=workspace)
    assert packed.runtime == "onnx"
    computed = predictors.load(packed.path, runtime="onnx").predict(rows)
    assert computed.tolist() == model.predict(rows).tolist()


def test_unknown_and_missing_categories_are_as_the_encoder_has_them(workspace):
    rows = rows_of()
    model = MODELS["logistic regression on rare categories"]().fit(rows, late(rows))
    packed = mlops.package(
        model, name="m", data=rows, predict_fn="predict_proba", runtime="onnx", workspace=workspace
    )
    strange = rows.head(6).copy()
    strange["carrier"] = ["never seen", None, "", "rare", "UA", "ua"]
    strange["origin"] = ["XXX", None, "", "EWR", None, "ewr"]
    strange["wind"] = [np.nan, np.inf, -1e300, 5e-324, 0.0, -0.0]
    strange = strange.drop(index=1)  # no logistic regression takes an infinity
    computed = predictors.load(packed.path, runtime="onnx").predict(strange)
    np.testing.assert_allclose(computed, model.predict_proba(strange), atol=1e-12)


def test_an_unknown_category_fails_where_the_native_model_fails(workspace):
    rows = rows_of()[["carrier", "hour"]]
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["carrier"]), remainder="passthrough"),
        LogisticRegression(),
    ).fit(rows, late(rows))
    packed = mlops.package(model, name="m", data=rows, runtime="onnx", workspace=workspace)
    assert packed.runtime == "onnx"
    unknown = rows.head(1).assign(carrier="never seen")
    with pytest.raises(ValueError):
        model.predict(unknown)
    with pytest.raises(Exception, match="out of data bounds"):
        predictors.load(packed.path, runtime="onnx").predict(unknown)


def test_a_split_between_two_neighbours_in_single_precision_does_not_flip(workspace):
    # the reason why thresholds are kept in double precision
    near = 0.1 + np.arange(8) * 1e-12
    assert len(set(near.astype("float32"))) == 1
    rows = pd.DataFrame({"x": np.tile(near, 40)})
    target = (rows["x"] > near[3]).astype(int)
    model = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5).fit(rows, target)
    assert (model.predict(rows) == target).all()
    packed = mlops.package(model, name="m", data=rows, runtime="onnx", workspace=workspace)
    assert packed.onnx["verdict"] == "equal"


def test_a_model_whose_answers_differ_is_served_natively_and_the_rows_are_shown(workspace):
    # polynomial features are converted in single precision, in which these neighbours are equal
    near = 0.1 + np.arange(8) * 1e-12
    rows = pd.DataFrame({"x": np.tile(near, 40), "y": np.repeat([1.0, 2.0], 160)})
    target = (rows["x"] > near[3]).astype(int)
    model = make_pipeline(PolynomialFeatures(), KNeighborsClassifier()).fit(rows, target)
    packed = mlops.package(
        model, name="m", data=rows, predict_fn="predict_proba", runtime="onnx", workspace=workspace
    )
    assert packed.onnx["verdict"] == "differs"
    assert packed.onnx["label_disagreements"] > 0
    assert packed.runtime == "native"
    assert not (packed.path / "model.onnx").exists()
    shown = packed.onnx["differences"][0]
    place = int(shown["row"])
    assert shown["inputs"] == rows.iloc[place].tolist()
    assert shown["native"]["predict"] == model.predict(rows)[place]
    assert shown["onnx"]["predict_proba"] != shown["native"]["predict_proba"]
    text = packed.card().text()
    assert "answers otherwise" in text
    assert str(place) in text


class Hour(BaseEstimator, TransformerMixin):
    """A step of one's own."""

    def fit(self, rows, target=None):
        return self

    def transform(self, rows):
        return rows * 2


@pytest.mark.parametrize(
    ("step", "said"),
    [(FunctionTransformer(np.cbrt), "FunctionTransformer"), (Hour(), "Hour")],
    ids=["function", "own"],
)
def test_a_model_that_cannot_be_converted_says_which_step_and_is_served_natively(
    workspace, step, said
):
    rows = rows_of()[["hour", "distance"]]
    model = make_pipeline(step, LinearRegression()).fit(rows, rows["hour"])
    from mlops_magics.packaging import onnx

    content = {
        "signature": {
            "inputs": [
                {"name": "hour", "type": "long", "required": True},
                {"name": "distance", "type": "double", "required": True},
            ],
            "outputs": [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}],
        },
        "categories": {},
    }
    outcome = onnx.write(workspace.path, model, rows, "predict", content)
    assert outcome.runtime == "native"
    assert outcome.record["verdict"] == "not converted"
    assert said in outcome.record["reason"]


def test_the_card_says_why_there_is_no_onnx_model(workspace):
    rows = rows_of()[["hour", "distance"]]

    def double(data: pd.DataFrame):
        return data["hour"] * 2

    packed = mlops.package(double, name="m", data=rows, runtime="onnx", workspace=workspace)
    assert (packed.runtime, packed.onnx["verdict"]) == ("native", "not converted")
    assert "is served as it is" in packed.card().text()
    assert predictors.load(packed.path).predict(rows).tolist() == (rows["hour"] * 2).tolist()
    with pytest.raises(PackageCorrupt, match="no ONNX model"):
        predictors.load(packed.path, runtime="onnx")
    with pytest.raises(InvalidArgument, match="no ONNX model"):
        mlops.deploy(packed, "m", runtime="onnx", workspace=workspace)


@pytest.fixture
def packed(workspace, pipeline, flights):
    return mlops.package(
        pipeline,
        name="flights",
        data=flights,
        target="late",
        predict_fn="predict_proba",
        runtime="onnx",
        workspace=workspace,
    )


def test_the_model_predicts_in_a_process_that_has_only_numpy_and_onnx_runtime(packed):
    program = packed.path / "mlops" / "predict_onnx.py"
    blocked = ["mlops_magics", "sklearn", "skl2onnx", "mlflow", "pandas", "pyarrow", "skops"]
    script = (
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({blocked!r}))\n"
        f"runpy.run_path({str(program)!r}, run_name='__main__')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, cwd="/", check=True
    )
    found = json.loads(ended.stdout)
    golden = json.loads((packed.path / "mlops" / "golden.json").read_text())
    assert found["same"] is True
    np.testing.assert_allclose(found["answers"], golden["outputs"], atol=1e-12)


def test_the_package_is_a_model_of_mlflow_in_both_flavours(packed, pipeline, flights):
    import mlflow.onnx
    import mlflow.pyfunc

    folder = str(packed.path)
    graph = mlflow.onnx.load_model(folder)
    assert [each.name for each in graph.graph.input] == ["hour", "distance", "origin", "wind"]
    features = flights.drop(columns="late")
    native = mlflow.pyfunc.load_model(folder).predict(features)
    np.testing.assert_allclose(native, pipeline.predict_proba(features))
    requirements = (packed.path / "requirements.txt").read_text()
    assert "onnxruntime==" in requirements


def test_a_changed_onnx_model_is_refused(packed):
    file = packed.path / "model.onnx"
    file.write_bytes(file.read_bytes().replace(b"LabelEncoder", b"LabelDecoder", 1))
    with pytest.raises(PackageCorrupt, match=r"model\.onnx does not match"):
        predictors.load(packed.path, runtime="onnx")


def test_what_is_a_package_already_is_converted_when_it_is_asked_for(workspace, pipeline, flights):
    first = mlops.package(
        pipeline, name="flights", data=flights, target="late", workspace=workspace
    )
    assert (first.runtime, first.onnx) == ("native", None)
    second = mlops.package(first, data=flights, target="late", runtime="onnx", workspace=workspace)
    assert second.runtime == "onnx"
    assert second.digest != first.digest
    third = mlops.package(second, runtime="onnx", workspace=workspace)
    assert (third.digest, third.found) == (second.digest, True)


def test_without_the_extra_the_pip_line_is_named(workspace, pipeline, flights, monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(MissingExtra) as caught:
        mlops.package(pipeline, data=flights, target="late", runtime="onnx", workspace=workspace)
    assert caught.value.hint == 'pip install "mlops-magics[onnx]"'


def test_a_runtime_that_does_not_exist_is_refused(workspace, pipeline, flights):
    with pytest.raises(InvalidArgument, match="'tvm'"):
        mlops.package(pipeline, data=flights, target="late", runtime="tvm", workspace=workspace)


def test_nothing_of_onnx_is_imported_before_it_is_asked_for():
    script = (
        "import sys, mlops_magics as mlops\n"
        "mlops.package, mlops.deploy, mlops.register\n"
        "from mlops_magics.packaging import package\n"
        "print([name for name in ('onnx', 'onnxruntime', 'skl2onnx') if name in sys.modules])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"
