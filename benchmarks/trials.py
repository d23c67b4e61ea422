"""What is learned for the comparison of quality: real datasets, each with a network and a seed.

The tables come with epochd. The time series is the highest temperature of each day in Seattle, 2012 to 2015 (NOAA,
from the package vega-datasets): the next day from the last twelve, as columns that lstm and gru read as steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from epochd.core.specs import TrainingSpec
from epochd.core.tickets import Ticket
from epochd.data import prepare
from epochd.loop.members import FitConfig
from epochd.worker.execute import Training

SEEDS = (0, 1, 2)
SERIES = "seattle_temperatures.parquet"
LAGS = 12


@dataclass(frozen=True)
class Trial:
    """One dataset and one network; ``options`` complete the config."""

    name: str
    dataset: str
    model: str
    units: tuple[int, ...] = (64, 32)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def needs_series(self) -> bool:
        return self.dataset == SERIES

    def spec(self, seed: int, epochs: int) -> TrainingSpec:
        """Best epoch and patience as Keras knows them: any improvement counts."""
        config = {
            "dataset": self.dataset,
            "target_column": "target",
            "model_type": self.model,
            "hidden_units": list(self.units),
            "epochs": epochs,
            "seed": seed,
            "learning_rate_scheduler": "none",
            "early_stopping_patience": 10,
            "min_delta": 0.0,
        }
        return TrainingSpec.model_validate(config | self.options)


TRIALS = (
    Trial("breast_cancer mlp", "breast_cancer", "mlp"),
    Trial("digits mlp", "digits", "mlp"),
    Trial("digits cnn", "digits", "cnn", (32, 16), {"input_shape": [8, 8]}),
    Trial("wine mlp", "wine", "mlp"),
    Trial("diabetes mlp", "diabetes", "mlp"),
    Trial("temperature lstm", SERIES, "lstm", (32, 16)),
    Trial("temperature gru", SERIES, "gru", (32, 16)),
)


def trainings(folder: Path, epochs: int, names: list[str]) -> Iterator[tuple[Trial, int, Training]]:
    """Every trial with every seed, its data split and encoded as a worker would; ``folder`` holds the series."""
    for trial in TRIALS:
        for seed in SEEDS if trial.name in names else ():
            spec = trial.spec(seed, epochs)
            ticket = Ticket(
                task_id="quality",
                attempt=1,
                token="none",
                server_url="http://localhost",
                spec=spec,
                data_dir=folder,
                dataset_roots=[folder],
            )
            yield trial, seed, Training(ticket, prepare.prepare(spec, [folder]))


def write_series(folder: Path) -> bool:
    """The time series as a table of lags; False if its package is not installed. (Importing it would need pandas.)"""
    package = find_spec("vega_datasets")
    if package is None or package.origin is None:
        return False
    daily = pl.read_csv(Path(package.origin).parent / "_data" / "seattle-weather.csv").get_column("temp_max")
    lags = [daily.shift(LAGS - i).alias(f"lag{LAGS - i}") for i in range(LAGS)]
    pl.DataFrame([*lags, daily.alias("target")]).drop_nulls().write_parquet(folder / SERIES)
    return True


def held_out(training: Training) -> tuple[FitConfig, str]:
    """The config, which has validation rows, and the name of its score."""
    config = training.config
    assert config.validation is not None
    return config, "val_r2" if config.task == "regression" else "val_accuracy"
