"""A model folder as the exports read it: the loaded model, and the history of its training."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from epochd.artifact.predict import Model

Row = dict[str, float]
"""One epoch of the history; values that do not exist (a score without validation rows) are left out."""


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A verified model folder. ``history`` has one row per epoch, ``saved_at`` is seconds since 1970."""

    folder: Path
    model: Model
    history: list[Row]
    saved_at: float

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a model folder, or the link ``latest``. Raises what ``Model.load`` raises."""
        model = Model.load(folder)
        with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
            history = [_numbers(row) for row in csv.DictReader(file)]
        return cls(folder, model, history, (folder / "model.json").stat().st_mtime)

    @property
    def about(self) -> dict[str, Any]:
        """The content of ``model.json``."""
        return self.model.about

    @property
    def name(self) -> str:
        """The last part of its ``output_path``, which is a valid name of a file."""
        return self.model.setup.spec.artifact_folder.rpartition("/")[2]

    @property
    def options(self) -> dict[str, Any]:
        """The training options that apply and are set."""
        return {name: value for name, value in self.model.setup.spec.model_dump().items() if value is not None}

    @property
    def final_scores(self) -> dict[str, Row]:
        """The scores of the saved weights by part: train, validation, test. Only single numbers."""
        parts: dict[str, Any] = self.about.get("metrics") or self.about["scores"]
        return {part: dict(_finite(parts[part])) for part in ("train", "validation", "test") if part in parts}

    @property
    def started_at(self) -> float:
        """When the first epoch began, as ``epoch_ends`` counts it."""
        return self.epoch_ends()[0] - self.history[0].get("time_per_epoch", 0.0)

    def epoch_ends(self) -> list[float]:
        """When each epoch ended, in seconds since 1970: counted back from the time at which the model was saved by the
        length of the epochs. Pauses are not in the history, so that epochs before one seem later than they were."""
        ends, end = [], self.saved_at
        for row in reversed(self.history):
            ends.append(end)
            end -= row.get("time_per_epoch", 0.0)
        return ends[::-1]


def _numbers(row: dict[str, str]) -> Row:
    found: Row = {}
    for name, text in row.items():
        try:
            found[name] = float(text)
        except ValueError:  # an empty field, or a column of text
            continue
    return found


def _finite(scores: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in scores.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield name, float(value)
