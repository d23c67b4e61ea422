"""The predictions of a request as values, as a table, and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from epochd.core.arrays import IntArray
from epochd.data.encoding.encoder import PREDICTION
from epochd.data.encoding.labels import Label, label_column
from epochd.data.encoding.values import Float64
from epochd.data.tables.table import json_values
from epochd.serving.inputs import PROBABILITY

PROBABILITIES, FORECAST_TIME = "probabilities", "forecast_time"
GIVEN = "_input"
"""Appended to the name of a column of the request that has the name of a column of the answer."""


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A value that cannot be scored. ``row`` is counted from 1 in the request; ``value`` is shortened."""

    row: int
    column: str
    value: str
    message: str
    hint: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Predictions:
    """One prediction for each of ``rows`` (row numbers of the request from 0; None: every row, in order).

    ``labels`` are classes, or values in the unit of the target; None where a row could not be scored, or where no
    window ends. ``probabilities`` is float64 (predictions, classes), None for regression; NaN where there is no label.
    ``times`` are the times that forecasts are for, where the rows are evenly spaced. ``warnings`` are about values that
    were not read as they are. With several horizons ``values`` (float64, (predictions, horizons), NaN where there is no
    prediction) are those of the columns ``names``, and ``labels`` those of the first one.
    """

    labels: Sequence[Label | None]
    probabilities: Float64 | None
    classes: Sequence[Label] | None
    problems: Sequence[RowProblem] = ()
    rows: IntArray | None = None
    times: pl.DataFrame | None = None
    warnings: Sequence[str] = ()
    values: Float64 | None = None
    names: Sequence[str] = (PREDICTION,)

    def frame(self, given: pl.DataFrame | None = None, *, probabilities: bool = True) -> pl.DataFrame:
        """A table of the predictions, after these columns of the request if there are any, in which each prediction is
        beside its row. A column of the request that has the name of a column of the answer gets another one."""
        columns = [] if self.times is None else self.times.get_columns()
        if self.values is None:
            columns.append(label_column(PREDICTION, self.labels, self.classes))
        else:
            columns += [
                pl.Series(n, values).fill_nan(None) for n, values in zip(self.names, self.values.T, strict=True)
            ]
        if probabilities and self.probabilities is not None:
            found = enumerate(self.classes or ())
            columns += [pl.Series(f"{PROBABILITY}{c}", self.probabilities[:, i]).fill_nan(None) for i, c in found]
        if given is None:
            return pl.DataFrame(columns)
        chosen = given if self.rows is None else given[self.rows]
        names = renamed(chosen.columns, [column.name for column in columns])
        return pl.DataFrame([chosen[old].alias(new) for old, new in names.items()] + columns)

    def records(
        self, given: Mapping[str, Sequence[Any]] | None = None, *, probabilities: bool = True
    ) -> Iterator[dict[str, Any]]:
        """``frame`` as JSON objects, in which ``probabilities`` is an object of labels and numbers."""
        times = {} if self.times is None else json_columns(self.times)
        names = renamed(list(given or ()), [*self.names, PROBABILITIES, *times])
        labels = [str(label) for label in self.classes or ()]
        found = self.probabilities.tolist() if probabilities and self.probabilities is not None else None
        for i, label in enumerate(self.labels):
            row = i if self.rows is None else int(self.rows[i])
            record = {new: given[old][row] for old, new in names.items()} if given else {}
            for name, moments in times.items():
                record[name] = moments[i]
            if self.values is None:
                record[PREDICTION] = label
            else:
                is_known = label is not None
                record |= {n: float(v) if is_known else None for n, v in zip(self.names, self.values[i], strict=True)}
            if found is not None:
                record[PROBABILITIES] = None if label is None else dict(zip(labels, found[i], strict=True))
            yield record


def renamed(given: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """Old name → new name of the columns of a request, so that none is among those of the answer, or twice."""
    used, found = {*taken, *(name for name in given if name not in taken)}, {}
    for name in given:
        new = name
        while name in taken and new in used:
            new += GIVEN
        used.add(new)
        found[name] = new
    return found


def json_columns(frame: pl.DataFrame) -> dict[str, list[Any]]:
    """The values of a table as JSON types."""
    return {series.name: json_values(series) for series in frame}
