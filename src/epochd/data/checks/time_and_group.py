"""The columns of time and group, judged: can rows be put in order, and does each side of a split get some?

Asked are the functions that will order and split the rows later, so that what they would refuse is known now.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.core.specs import TrainingSpec
from epochd.data.schema import Kind, kind_of, way_out
from epochd.data.splitting import split
from epochd.data.splitting.sort_keys import Groups, moments
from epochd.data.splitting.split import Integers, Splits, Times
from epochd.data.tables.table import View, shown

SORTED_ROWS = 5_000_000
"""The order within groups is not looked at in larger tables: it is only for a warning, and takes much memory."""


@dataclass(slots=True)
class OrderChecks:
    """What was found."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sides: Splits | None = None
    """Of a split by time or group."""


def examine(view: View, spec: TrainingSpec, *, classes: bool) -> OrderChecks:
    """Judge the columns of time and group that the spec names and the table has; ``classes``: the task has some."""
    kind = split.kind(spec, classes)
    time = spec.time_column if kind == "time" or spec.sequence_length is not None else None
    group = spec.group_column if kind == "group" or spec.sequence_length is not None else None
    found = OrderChecks(_type_problems(view, time, group), _unused(spec, time, group))
    lacking = [name for name in (time, group) if name is not None and name not in view.schema]
    if found.problems or lacking or not (time or group) or not view.rows:
        return found
    try:
        times, groups = _read(view, time, group)
        if kind in ("time", "group"):
            found.sides = split.split(spec, view.rows, times=times, groups=groups)
        if spec.sequence_length is not None:
            found.problems += _require_windows(spec, groups, found.sides or Splits.of(np.zeros(view.rows, np.uint8)))
    except DataError as error:
        found.problems += error.problems
        return found
    if time is not None and times is not None:
        found.warnings += _order_warnings(view, spec, time, times, groups if spec.sequence_length else None)
    return found


def room(view: View, spec: TrainingSpec) -> list[Problem]:
    """Whether a dataset that is not split has times that can be read, and a window in any of its groups."""
    if spec.sequence_length is None or not view.rows:
        return []
    try:
        _, groups = _read(view, spec.time_column, spec.group_column)
    except DataError as error:
        return error.problems
    longest = view.rows if groups is None else int(np.bincount(groups).max(initial=0))
    return list(_no_window(spec, longest, "validation dataset"))


def _type_problems(view: View, time: str | None, group: str | None) -> list[Problem]:
    problems = []
    for field_name, name, bad in (
        ("time_column", time, (Kind.BOOLEAN, Kind.LIST, Kind.UNSUPPORTED)),
        ("group_column", group, (Kind.LIST, Kind.UNSUPPORTED)),
    ):
        if name is not None and name in view.schema and kind_of(view.schema[name]) in bad:
            use = "order rows" if field_name == "time_column" else "tell groups apart"
            message = f"{name!r} has the type {view.schema[name]}, which cannot {use}"
            problems.append(Problem(field_name, message, way_out(view.schema[name])))
    return problems


def _unused(spec: TrainingSpec, time: str | None, group: str | None) -> list[str]:
    """Warnings about columns that are named for nothing."""
    found = []
    if spec.time_column and not time:
        found.append(f"time_column {spec.time_column!r} orders nothing: for that set split 'time', or sequence_length")
    if spec.group_column and not group:
        message = f"rows of one {spec.group_column!r} are both trained on and held out: set split 'group' against that"
        found.append(message if spec.held_out else f"group_column {spec.group_column!r} is not used")
    return found


def _read(view: View, time: str | None, group: str | None) -> tuple[Times | None, Integers | None]:
    """Both columns as numbers. Raise DataError for the first time that is missing or cannot be read."""
    times: list[Times] = []
    groups: list[Integers] = []
    number = Groups()
    for first, frame in view.batches(*dict.fromkeys(name for name in (time, group) if name)):
        if time:
            times.append(_moments(frame.get_column(time), first))
        if group:
            groups.append(number(frame.get_column(group)))
    found: Times | None = np.concatenate(times) if time else None  # type: ignore[assignment]
    return found, np.concatenate(groups) if group else None


def _moments(series: pl.Series, first: int) -> Times:
    """``timeline.moments`` of a piece of the table; errors tell the table's row number."""
    try:
        return moments(series)
    except DataError:
        row = _first_bad(series)
        value = series[row]
    what = "nothing" if value is None else f"{shown(value)}, which is no date, time or number"
    hint = "fill it in, or remove the row" if value is None else "write it like 2024-12-31 or 2024-12-31T13:45:00"
    message = f"row {first + row + 1} of {series.name!r} is {what}: it has no place in the order of time"
    raise DataError([Problem("time_column", message, hint)])


def _first_bad(series: pl.Series) -> int:
    """Where the first value is that cannot be read, found by halving."""
    low, high = 0, len(series) - 1
    while low < high:
        middle = (low + high) // 2
        try:
            moments(series[low : middle + 1])
            low = middle + 1
        except DataError:
            high = middle
    return low


def _require_windows(spec: TrainingSpec, groups: Integers | None, sides: Splits) -> list[Problem]:
    """A problem for each side without a window. A side has one where enough of its rows are of one group, because they
    then follow each other."""
    found: list[Problem] = []
    for side, rows in (("training", sides.train), ("validation", sides.validation), ("test", sides.test)):
        longest = len(rows) if groups is None else int(np.bincount(groups[rows]).max(initial=0))
        if side == "training" or len(rows):
            found += _no_window(spec, longest, f"{side} side of the split")
    return found


def _no_window(spec: TrainingSpec, longest: int, where: str) -> Iterator[Problem]:
    needed = (spec.sequence_length or 1) + spec.horizon
    if longest >= needed:
        return
    rows = f"there are {longest} rows" if spec.group_column is None else f"the longest group has {longest} rows there"
    message = (
        f"no window fits into the {where}: sequence_length {spec.sequence_length} and horizon {spec.horizon} "
        f"take {needed} rows, but {rows}"
    )
    hint = "lower sequence_length or horizon, or add rows"
    yield Problem("sequence_length", message, hint if "split" not in where else f"{hint}; or hold out other shares")


def _order_warnings(view: View, spec: TrainingSpec, name: str, times: Times, groups: Integers | None) -> list[str]:
    """Whether rows are out of order, or share their times."""
    if groups is not None and len(times) > SORTED_ROWS:
        return []
    of_group = f" of its {spec.group_column!r}" if groups is not None else ""
    found = []
    if (row := _first_unsorted(times, groups)) is not None:
        value = view.at(row + 1, name)
        found.append(
            f"the rows are not in the order of {name!r}: row {row + 1} ({shown(str(value))}) is earlier than the row "
            f"before it{of_group}; they are put in order"
        )
    if spec.sequence_length is not None and (row := _first_repeated(times, groups)) is not None:
        value = view.at(row + 1, name)
        place = "they stay in the order of the table"
        if groups is None:
            place += "; set group_column if they belong to different series"
        found.append(
            f"several rows{of_group} have the same {name!r}, such as row {row + 1} ({shown(str(value))}): {place}"
        )
    return found


def _first_unsorted(times: Times, groups: Integers | None) -> int | None:
    """The first row whose time is earlier than that of the row before it, in its group."""
    if groups is None:
        earlier = times[1:] < times[:-1]
        return int(np.argmax(earlier)) + 1 if earlier.any() else None
    order = np.argsort(groups, kind="stable")
    earlier = (times[order][1:] < times[order][:-1]) & (groups[order][1:] == groups[order][:-1])
    return int(order[1:][earlier].min()) if earlier.any() else None


def _first_repeated(times: Times, groups: Integers | None) -> int | None:
    """The first row with the time of a row before it, in its group."""
    order = np.argsort(times, kind="stable") if groups is None else np.lexsort((times, groups))
    same = times[order][1:] == times[order][:-1]
    if groups is not None:
        same &= groups[order][1:] == groups[order][:-1]
    return int(order[1:][same].min()) if same.any() else None
