"""The columns of time and group: can rows be put in order, and does each side of a split have rows and windows?

The checks call the functions that will order and split the rows later, so what those would refuse is known now.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl

from epochd.core.arrays import IntArray
from epochd.core.durations import Duration
from epochd.core.errors import DataError, Problem
from epochd.core.specs import Split, TrainingSpec
from epochd.data.checks.issue import Issue, problem, shown, warning
from epochd.data.checks.statistics import Statistics
from epochd.data.encoding.values import Float64
from epochd.data.schema import Kind, kind_of, type_advice
from epochd.data.splitting import sliding_windows, split
from epochd.data.splitting.folds import check_groups
from epochd.data.splitting.gaps import Holes, natural_unit, positions, unevenness
from epochd.data.splitting.sliding_windows import SIDE_NAMES, window_problem
from epochd.data.splitting.sort_keys import GroupNumbers, readable, time_keys
from epochd.data.splitting.split import SIDES, Integers, Splits, Times

BY_ORDER = ("time", "group")
SORTED_ROWS = 5_000_000
"""The order within groups is not checked in larger tables: it is only for a warning, and takes much memory."""


def columns_by_row(spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    """The columns of time and group that are used, that the table has, and that can be read; for a split by them the
    target, too."""
    kind, time, group = _used(spec)
    names = [name for name in (time, group) if name is not None and name in schema]
    if not names or any(_type_problems(time, group, schema)):
        return []
    if kind in BY_ORDER and spec.target_column in schema:
        names.append(spec.target_column)
    return list(dict.fromkeys(names))


def _used(spec: TrainingSpec) -> tuple[Split, str | None, str | None]:
    """The kind of split, and the columns of time and group; None where it is unused, although the spec may name it."""
    kind, windows = split.split_kind(spec, classes=False), spec.sequence_length is not None
    time = spec.time_column if kind == "time" or windows else None
    return kind, time, spec.group_column if kind == "group" or windows else None


def check(statistics: Statistics, schema: pl.Schema, spec: TrainingSpec) -> tuple[list[Issue], Splits | None]:
    """The issues of both columns of a table with this schema, and the sides of a split by time or group."""
    kind, time, group = _used(spec)
    issues = [*_type_problems(time, group, schema), *_unused(spec, time, group)]
    names = [name for name in (time, group) if name is not None]
    if not names or not statistics.rows or any(name not in statistics.by_row for name in names):
        return issues, None
    sides = None
    try:
        times, groups = _read(statistics, time, group)
        if kind in BY_ORDER:
            sides = split.split(spec, statistics.rows, times=times, groups=groups)
            check_groups(spec, sides, groups)
        if spec.sequence_length is not None and times is not None and time is not None:
            issues += _window_issues(statistics.by_row[time], spec, times, groups, sides)
    except DataError as error:
        return [*issues, *(problem(p.field, p.message, p.hint) for p in error.problems)], sides
    if time is not None and times is not None:
        issues += _order_warnings(statistics.by_row[time], spec, times, groups if spec.sequence_length else None)
    return issues, sides


def window_problems(statistics: Statistics, spec: TrainingSpec) -> list[Problem]:
    """Whether a dataset that is not split has times that can be read, and a window in any of its groups."""
    if spec.sequence_length is None or not statistics.rows:
        return []
    try:
        times, groups = _read(statistics, spec.time_column, spec.group_column)
        if (holes := Holes.of(spec)) is not None and times is not None and spec.time_column is not None:
            positions = holes.positions(statistics.by_row[spec.time_column])
            groups = holes.segments(sliding_windows.order(times, groups), positions, groups)
    except DataError as error:
        return error.problems
    fault = window_problem(spec, "the validation dataset", groups, np.arange(statistics.rows))
    return [fault] if fault else []


def _type_problems(time: str | None, group: str | None, schema: pl.Schema) -> Iterator[Issue]:
    for field, name, refused, use in (
        ("time_column", time, (Kind.BOOLEAN, Kind.LIST, Kind.UNSUPPORTED), "order rows"),
        ("group_column", group, (Kind.LIST, Kind.UNSUPPORTED), "tell groups apart"),
    ):
        if name is not None and name in schema and kind_of(schema[name]) in refused:
            message = f"{name!r} has the type {schema[name]}, which cannot {use}"
            yield problem(field, message, type_advice(schema[name]))


def _unused(spec: TrainingSpec, time: str | None, group: str | None) -> Iterator[Issue]:
    """Warnings about columns that are named but not used."""
    if spec.time_column and not time:
        use = "it orders rows only with split 'time' or sequence_length"
        yield warning(f"time_column {spec.time_column!r} is not used: {use}")
    if spec.group_column and not group:
        both = f"rows of one {spec.group_column!r} are both trained on and held out: set split 'group' to prevent it"
        yield warning(both if spec.held_out or spec.folds else f"group_column {spec.group_column!r} is not used")


def _read(statistics: Statistics, time: str | None, group: str | None) -> tuple[Times | None, Integers | None]:
    """Both columns as numbers. Raise DataError for the first time that is missing or cannot be read."""
    times = None
    if time is not None:
        series = statistics.by_row[time]
        try:
            times = time_keys(series)
        except DataError:
            row = _first_bad(series)
            value = series[row]
            what = "missing" if value is None else f"{shown(value)}, which is no date, time or number"
            hint = "fill it in" if value is None else "write it like 2024-12-31 or 2024-12-31T13:45:00"
            message = f"row {row + 1} of {series.name!r} is {what}: the row cannot be put in order"
            raise DataError([Problem("time_column", message, hint)]) from None
    return times, None if group is None else GroupNumbers()(statistics.by_row[group])


def _first_bad(series: pl.Series) -> int:
    """Where the first value is that cannot be read, found by bisection."""
    low, high = 0, len(series) - 1
    while low < high:
        middle = (low + high) // 2
        try:
            time_keys(series[low : middle + 1])
            low = middle + 1
        except DataError:
            high = middle
    return low


def _window_issues(
    raw: pl.Series, spec: TrainingSpec, times: Times, groups: Integers | None, sides: Splits | None
) -> Iterator[Issue]:
    """A problem for each side without a window, and warnings about holes in time. A side has a window where enough of
    its rows are of one group, or of one segment between holes, because they then follow each other. Raise DataError for
    times that are not of the unit of the config."""
    sides, parts, holes = sides or Splits.of(np.zeros(len(raw), np.uint8)), groups, Holes.of(spec)
    warnings: Iterable[Issue] = ()
    if holes is not None:
        order, positions = sliding_windows.order(times, groups), holes.positions(raw)
        parts = holes.segments(order, positions, groups)
        warnings = _left_out(raw, spec, holes, order, positions, parts, groups)
    elif len(times) <= SORTED_ROWS:
        warnings = _uneven(raw, spec, times, groups)
    faults = []
    for side in SIDES:
        rows = getattr(sides, side)
        fault = window_problem(spec, SIDE_NAMES[side], parts, rows) if side == "train" or len(rows) else None
        if fault:
            faults.append(problem(fault.field, fault.message, fault.hint))
    yield from faults
    yield from () if faults else warnings


def _uneven(raw: pl.Series, spec: TrainingSpec, times: Times, groups: Integers | None) -> Iterator[Issue]:
    """A warning about the first step in time that differs from the usual one, where the config has no rule for it."""
    order, unit = sliding_windows.order(times, groups), natural_unit(readable(raw).dtype)
    found = unevenness(order, positions(raw, unit, "time_column"), groups)
    if found is None:
        return
    usual, step = (Duration(length, unit).shown() for length in (found.usual, found.step))
    of_group = f" of its {spec.group_column!r}" if groups is not None else ""
    others = found.longer + found.shorter - 1
    count = f"there are {others:,} more such steps" if others else "it is the only such step"
    place = (
        f"the steps of {raw.name!r} are uneven: row {found.row + 1} ({shown(str(raw[found.row]))}) is {step} after the "
        f"row before it{of_group}, where {usual} is usual, and {count}"
    )
    if found.longer:
        written = usual if unit == "numbers" else f"'{_frequency(found.usual, usual)}'"
        yield warning(
            f"{place}; windows cross such steps as if they were usual ones: set frequency to {written} to leave these "
            "windows out, and max_gap to the longest step that they may cross"
        )
    else:
        yield warning(f"{place}; windows count rows, not time: bring the rows to one distance, or set group_column")


def _frequency(seconds: float, shown: str) -> str:
    """The frequency whose usual step is this long: of the calendar where its months, quarters or years are so long."""
    days = seconds / 86_400
    calendar = {"1mo": (28, 31), "1q": (90, 92), "1y": (365, 366)}
    return next((name for name, (low, high) in calendar.items() if low <= days <= high), shown)


def _left_out(
    raw: pl.Series,
    spec: TrainingSpec,
    holes: Holes,
    order: IntArray,
    positions: Float64,
    segments: IntArray,
    groups: Integers | None,
) -> Iterator[Issue]:
    """A warning that names the first hole in the table and how many windows are left out because of holes."""
    inside = np.ones(len(order) - 1, np.bool_) if groups is None else groups[order][1:] == groups[order][:-1]
    cut = inside & (segments[order][1:] != segments[order][:-1])
    if not cut.any():
        return
    row = int(order[1:][cut].min())
    step = Duration(float(np.diff(positions[order])[cut][np.argmin(order[1:][cut])]), holes.limit.unit).shown()
    ahead = (spec.sequence_length or 1) - 1 + spec.furthest
    kept, all_windows = (len(sliding_windows.starts(order, ahead, parts)) for parts in (segments, groups))
    holes_found = "1 hole" if cut.sum() == 1 else f"{int(cut.sum()):,} holes"
    yield warning(
        f"{raw.name!r} has {holes_found}, the first before row {row + 1} ({shown(str(raw[row]))}), a step "
        f"of {step}: the {all_windows - kept:,} of {all_windows:,} windows that would cross a hole are left out"
    )


def _order_warnings(raw: pl.Series, spec: TrainingSpec, times: Times, groups: Integers | None) -> Iterator[Issue]:
    """Whether rows are out of order, or share their times."""
    if groups is not None and len(times) > SORTED_ROWS:
        return
    of_group = f" of its {spec.group_column!r}" if groups is not None else ""
    if (row := _first_unsorted(times, groups)) is not None:
        yield warning(
            f"the rows are not in the order of {raw.name!r}: row {row + 1} ({shown(str(raw[row]))}) is earlier than "
            f"the row before it{of_group}; they are sorted before training"
        )
    if spec.sequence_length is not None and (row := _first_repeated(times, groups)) is not None:
        place = "they stay in the order of the table"
        if groups is None:
            place += "; set group_column if they belong to different series"
        example = f"row {row + 1} ({shown(str(raw[row]))})"
        yield warning(f"several rows{of_group} have the same {raw.name!r}, such as {example}: {place}")


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
