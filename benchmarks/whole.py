"""The whole time of a training: from the request to a running server until the model is saved, compared with scripts.

Run it with ``make bench-whole``. A training of epochd is timed from POST to its last event; the server runs already, as
it does for its users, and its start is printed beside. The others are scripts as their documentation would have them
(``scripts.py``), timed from the start of the process to its end: imports, reading the table, split, scaling, training
with a validation in each epoch, saving the model. epochd also exports an ONNX graph, verifies the saved files and
measures final metrics; its HTML report, which the others do not write, is left out unless ``--report`` is given.

Sides take turns within a round. epochd trains twice in its turn: right after another engine has trained, which is shown
apart, and again. Figures are medians over the rounds. A sweep is 64 variants of one training: epochd gets them all at
once, and trains as many at a time as it has slots; of Lightning three variants are run one after another, and their
mean is multiplied by 64.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
from cases import Case
from latency import server
from rich.console import Console
from rich.table import Table

from epochd.client import Client

HERE = Path(__file__).parent
ENGINES = ("pytorch", "tensorflow", "jax")
OURS = ("epochd/auto", *(f"epochd/{engine}" for engine in ENGINES))
SCRIPTS = ("lightning", "keras-jax", "keras-tensorflow", "skorch", "scikit-learn")
VARIANTS, MEASURED_VARIANTS = 64, 3
HELD_OUT = 0.2


@dataclass(frozen=True)
class Whole:
    """A training: its network (``case``), the dataset, and the options of training that go with it."""

    case: Case
    dataset: str
    epochs: int
    patience: int | None = None
    min_delta: float = 0.001
    step_size: int | None = None
    columns: tuple[str, ...] | None = None
    learning_rate: float = 0.001
    dropout: float = 0.2
    seed: int = 0

    @property
    def config(self) -> dict[str, Any]:
        """For epochd."""
        case, recurrent = self.case, len(self.case.inputs) > 1
        schedule = {"learning_rate_scheduler": "step", "step_size": self.step_size, "gamma": 0.1}
        return {
            "dataset": self.dataset,
            "target_column": "target",
            "model_type": case.model_type,
            "hidden_units": list(case.hidden_units),
            "batch_size": case.batch_size,
            "dropout_rate": self.dropout,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
            "epochs": self.epochs,
            "early_stopping_patience": self.patience,
            "min_delta": self.min_delta,
            "validation_split": HELD_OUT,
            "output_path": "/models/whole",
            **({"feature_columns": list(self.columns)} if self.columns else {}),
            **(schedule if self.step_size else {}),
            **({"input_shape": list(case.inputs)} if recurrent else {}),
        }

    def for_script(self, tables: Path) -> dict[str, Any]:
        """For ``scripts.py``; tables that are not built in are those of ``write_tables``."""
        built_in = Path(str(files("epochd.data"))) / "builtin" / f"{self.dataset}.parquet"
        path = built_in if built_in.exists() else tables / self.dataset
        options = {name: value for name, value in vars(self).items() if name not in ("case", "dataset")}
        return vars(self.case) | options | {"path": str(path), "held_out": HELD_OUT}


CASES = {
    "cancer": Whole(Case("breast_cancer, 50 epochs", 455, (30,), "mlp", (64, 32), 32), "breast_cancer", 50),
    "guide": Whole(
        Case("the guide's config, up to 100 epochs", 455, (3,), "mlp", (128, 64, 32), 32),
        "sample", 100, 10, step_size=30, columns=("feature1", "feature2", "feature3"),
    ),
    "large": Whole(Case("100,000 x 50, 20 epochs", 80_000, (50,), "mlp", (256, 128, 64, 32), 256), "large.parquet", 20),
    "gru": Whole(Case("2,000 x 50 x 8, gru 64-32, 10 epochs", 1_600, (50, 8), "gru", (64, 32), 32), "gru.parquet", 10),
}  # fmt: skip
SWEEP = "sweep"


def variants() -> list[Whole]:
    """Those of the sweep: learning rate, dropout and seed of ``cancer``."""
    rates, dropouts = (0.0003, 0.001, 0.003, 0.01), (0.0, 0.1, 0.2, 0.4)
    made = [(rate, dropout, seed) for rate in rates for dropout in dropouts for seed in range(4)]
    return [replace(CASES["cancer"], learning_rate=rate, dropout=drop, seed=seed) for rate, drop, seed in made]


def main() -> None:
    options = parse()
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs")
    with tempfile.TemporaryDirectory() as folder:
        tables = Path(folder) / "data" / "datasets"
        write_tables(tables)
        os.environ["EPOCHD_REPORT"] = str(options.report).lower()
        began = perf_counter()
        with server(HERE.parent / "src", Path(folder) / "data") as url, Client(url) as client:
            client.health()
            print(f"the server started in {perf_counter() - began:.2f} s")
            found = {name: Measurement(name, client, tables, options).run() for name in options.case}
            second = {engine: first_epoch(client, engine) for engine in ENGINES if f"epochd/{engine}" in options.sides}
    for engine, seconds in second.items():
        print(f"second job of a shape: first epoch after POST in {seconds:.2f} s ({engine})")
    if options.json:
        options.json.write_text(json.dumps({"cases": found, "second_job": second}, indent=1))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=[*CASES, SWEEP], default=[*CASES, SWEEP])
    parser.add_argument("--sides", nargs="+", choices=[*OURS, *SCRIPTS], default=[*OURS, *SCRIPTS])
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--variants", type=int, default=VARIANTS, help="of the sweep")
    parser.add_argument("--report", action="store_true", help="epochd also writes its report")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def write_tables(folder: Path) -> None:
    """The tables that are not built in: numbers of a fixed seed, whose sum decides the target."""
    folder.mkdir(parents=True)
    for name, rows in (("large", 100_000), ("gru", 2_000)):
        width = int(np.prod(CASES[name].case.inputs))
        x = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
        table = pl.DataFrame({f"x{i}": x[:, i] for i in range(width)} | {"target": (x.sum(1) > 0).astype(np.int64)})
        table.write_parquet(folder / f"{name}.parquet")


@dataclass(frozen=True)
class Measurement:
    """One case, measured for all its sides."""

    name: str
    client: Client
    tables: Path
    options: argparse.Namespace

    def run(self) -> dict[str, dict[str, list[float]]]:
        """Side → ``seconds`` and ``epochs`` of its turns, and of epochd seconds ``after another`` engine; as shown."""
        times: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for turn in range(1 if self.name == SWEEP else self.options.rounds):
            for side in filter(self.is_possible, self.options.sides):
                print(f"{self.name}, round {turn + 1}: {side}", file=sys.stderr)
                try:
                    for what, measured in self.turn(side).items():
                        times[side][what].append(measured)
                except RuntimeError as error:
                    print(f"  left out: {error}", file=sys.stderr)
        show(self.name, times)
        return {side: dict(found) for side, found in times.items()}

    def is_possible(self, side: str) -> bool:
        """scikit-learn has perceptrons only; a sweep is compared with Lightning."""
        if self.name == SWEEP:
            return side == "lightning" or side.startswith("epochd/")
        return side != "scikit-learn" or CASES[self.name].case.model_type == "mlp"

    def turn(self, side: str) -> dict[str, float]:
        """Seconds of one turn."""
        chosen = variants()[: self.options.variants] if self.name == SWEEP else [CASES[self.name]]
        if not side.startswith("epochd/"):
            ended = [script(side, one.for_script(self.tables)) for one in chosen[:MEASURED_VARIANTS]]
            seconds, epochs = (len(chosen) * mean(values) for values in zip(*ended, strict=True))
            return {"seconds": seconds, "epochs": epochs}
        before = {} if self.name == SWEEP else {"after another": ours(self.client, side, chosen)[0]}
        seconds, epochs = ours(self.client, side, chosen)
        return {"seconds": seconds, "epochs": epochs} | before


def ours(client: Client, side: str, trainings: list[Whole]) -> tuple[float, int]:
    """Seconds from the first POST to the last event of all trainings, which are submitted at once; and their epochs."""
    framework, began = side.removeprefix("epochd/"), perf_counter()
    submitted = [client.start(one.config | {"framework": framework})["task_id"] for one in trainings]
    for task_id in submitted:
        last = [event["type"] for event in client.stream(task_id)][-1]
        if last != "complete":
            raise RuntimeError(f"{task_id} ended with {last}: {(client.task(task_id)['error'] or {}).get('message')}")
    seconds = perf_counter() - began
    return seconds, sum(client.task(task_id)["current_epoch"] for task_id in submitted)


def script(side: str, training: dict[str, Any]) -> tuple[float, int]:
    """Seconds of the side's process, from its start to its end; and the epochs that it has trained."""
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if side.startswith("keras-"):
        env["KERAS_BACKEND"] = side.removeprefix("keras-")
    command = [sys.executable, str(HERE / "scripts.py"), side, json.dumps(training)]
    with tempfile.TemporaryDirectory() as folder:
        began = perf_counter()
        ended = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True)
        seconds = perf_counter() - began
        if ended.returncode or not any(Path(folder).iterdir()):
            raise RuntimeError((ended.stderr.strip().splitlines() or ["it saved no model"])[-1])
    return seconds, int(ended.stdout.splitlines()[-1])


def first_epoch(client: Client, engine: str) -> float:
    """Seconds from the POST of a training to its first epoch, if one of the same shape was trained before."""
    config = CASES["cancer"].config | {"framework": engine, "epochs": 3}
    for _ in range(2):
        began, took = perf_counter(), 0.0
        for event in client.stream(client.start(config)["task_id"]):
            if event["type"] == "progress" and not took:
                took = perf_counter() - began
    return took


def show(name: str, times: Mapping[str, Mapping[str, list[float]]]) -> None:
    """A table of the medians, each beside the fastest side of the others."""
    found = {side: median(turns["seconds"]) for side, turns in times.items() if turns.get("seconds")}
    rival = min((seconds for side, seconds in found.items() if not side.startswith("epochd/")), default=None)
    title = "variants of breast_cancer, 50 epochs each" if name == SWEEP else CASES[name].case.title
    table = Table(title=title, caption="Lightning: three variants, scaled" if name == SWEEP else None)
    for column in ("side", "s", "of the fastest other", "after another engine, s", "epochs", "turns"):
        table.add_column(column, justify="left" if column == "side" else "right")
    for side in sorted(found, key=found.__getitem__):
        ratio = "" if rival is None else f"{found[side] / rival:.2f}"
        after = times[side].get("after another")
        epochs, turns = f"{mean(times[side]['epochs']):.0f}", str(len(times[side]["seconds"]))
        table.add_row(side, f"{found[side]:.2f}", ratio, f"{median(after):.2f}" if after else "", epochs, turns)
    Console().print(table)


if __name__ == "__main__":
    main()
