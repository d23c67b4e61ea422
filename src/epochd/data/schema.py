"""Columns: the kinds that their types are of, and which of a table's columns a config means.

Checks and encoders must agree about both, so both ask here.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from fnmatch import fnmatchcase

import polars as pl
import polars.selectors as cs

from epochd.core.errors import Problem, similar_names
from epochd.core.specs import TrainingSpec

MAX_LISTED = 20
"""How many problems, or warnings, of one kind are listed one by one."""
WILD = "*?["


def feature_columns(spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    """The feature columns that exist, in the order of the spec; those of one pattern in the table's order.

    The target is one only where windows end before it and the spec names it.
    """
    if spec.feature_columns is None:
        return _remaining(spec, schema)
    found = [name for asked in spec.feature_columns for name in _matches(asked, spec, schema)]
    return [name for name in dict.fromkeys(found) if name != spec.target_column or spec.forecasts]


def order_columns(spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    """The columns of time and of groups, those that the spec names and the table has."""
    return [name for name in (spec.time_column, spec.group_column) if name is not None and name in schema]


def required_columns(spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    """The columns that the spec uses and the table has: features, time and groups, the target last."""
    before = [*feature_columns(spec, schema), *order_columns(spec, schema)]
    if spec.target_column in before or spec.target_column not in schema:
        return list(dict.fromkeys(before))
    return [*dict.fromkeys(before), spec.target_column]


def selection_problems(spec: TrainingSpec, schema: pl.Schema, unseen: str = "") -> list[Problem]:
    """A problem for each name that the table lacks, and each pattern that matches nothing; ``unseen`` is as in
    ``absent_columns``."""
    asked = [name for name in spec.feature_columns or () if not _matches(name, spec, schema)]
    found = absent_columns(asked, "feature_columns", schema, "the dataset", unseen)
    for field in ("target_column", "time_column", "group_column"):
        name = getattr(spec, field)
        if name is not None and name not in schema:
            found += absent_columns([name], field, schema, "the dataset", unseen)
    if spec.feature_columns is None and not feature_columns(spec, schema):
        message = "the dataset has no column besides the target to learn from"
        found.append(Problem("dataset", message, "add columns that say something about the target"))
    return found


def absent_columns(names: Sequence[str], field: str, schema: pl.Schema, where: str, unseen: str = "") -> list[Problem]:
    """A problem of ``field`` for each of the names, which the table that ``where`` speaks of lacks; ``unseen`` says why
    it may have more columns than ``schema``."""
    columns = list(schema)
    found = []
    for name in names[:MAX_LISTED]:
        nearest = _nearest(name, columns)
        hint = f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
        listed = ", ".join(columns[:MAX_LISTED]) + (
            f" and {len(columns) - MAX_LISTED} more" * (len(columns) > MAX_LISTED)
        )
        listed += f"; {unseen}" if unseen else ""
        lacks = f"no column that matches {name!r}" if _is_pattern(name) else f"no column {name!r}"
        found.append(Problem(field, f"{where} has {lacks}", f"{hint}its columns are: {listed}"))
    if len(names) > MAX_LISTED:
        found.append(Problem(field, f"{len(names) - MAX_LISTED} more columns do not exist", "correct the first ones"))
    return found


def _matches(asked: str, spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    """The columns that a name or pattern stands for; an exact name comes before all patterns."""
    if asked in schema:
        return [asked]
    return [name for name in _remaining(spec, schema) if fnmatchcase(name, asked)] if _is_pattern(asked) else []


def _remaining(spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    taken = {spec.target_column, spec.time_column, spec.group_column}
    return [name for name in schema if name not in taken]


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in WILD)


def _nearest(name: str, columns: list[str]) -> list[str]:
    """The columns whose names resemble this one; those of a pattern begin like it."""
    if not _is_pattern(name):
        return similar_names(name, columns, 2)
    stem = name[: min(place for sign in WILD if (place := name.find(sign)) >= 0)]
    return list(_with_similar_prefix(stem, columns)) if stem else []


def _with_similar_prefix(stem: str, columns: list[str]) -> Iterator[str]:
    by_beginning = {column[: len(stem)]: column for column in reversed(columns)}
    for beginning in similar_names(stem, by_beginning, 2):
        yield by_beginning[beginning]


class Kind(Enum):
    NUMBER = "number"
    """Integers, decimals, floats, durations (in seconds): scaled."""
    BOOLEAN = "boolean"
    """False and true: -1 and 1."""
    CATEGORY = "category"
    """Text, categoricals, enums: one column for each distinct value, or one column of codes to learn vectors for."""
    DATE = "date"
    """Dates, times, and both: calendar parts."""
    LIST = "list"
    """Lists and arrays of numbers: a channel of a sequence."""
    UNSUPPORTED = "unsupported"
    """Lists of anything else, structs, binary."""


ALIKE = {Kind.NUMBER, Kind.BOOLEAN}
"""Kinds that are read as each other."""


def kind_of(dtype: pl.DataType) -> Kind:
    """The kind of a column; one without any value (Polars' Null type) counts as a number."""
    if dtype.is_numeric() or dtype in (pl.Duration, pl.Null):
        return Kind.NUMBER
    if dtype == pl.Boolean:
        return Kind.BOOLEAN
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return Kind.CATEGORY
    if dtype in (pl.Date, pl.Datetime, pl.Time):
        return Kind.DATE
    return Kind.LIST if _is_sequence(dtype) else Kind.UNSUPPORTED


def type_advice(dtype: pl.DataType) -> str:
    """What to do about a column whose type cannot be used as asked."""
    if dtype.is_temporal():
        return "turn it into numbers first, such as year, month and weekday, or days since a fixed date"
    if dtype.is_nested():
        return "spread it over several plain columns first"
    return "turn it into numbers or text first"


def col(name: str) -> pl.Expr:
    """The column of exactly this name (``pl.col`` would read ``*`` and ``^…$`` as patterns)."""
    return cs.by_name(name).as_expr()


def can_embed(spec: TrainingSpec, *, has_lists: bool) -> bool:
    """Whether the network keeps the columns apart, so that one of them can hold category codes."""
    return (spec.model_type == "mlp" or spec.sequence_length is not None) and not has_lists


def kinds_of(schema: Mapping[str, pl.DataType]) -> dict[str, Kind]:
    """The kinds of a table's columns."""
    return {name: kind_of(dtype) for name, dtype in schema.items()}


def _is_sequence(dtype: pl.DataType) -> bool:
    """Whether each value is a plain list of numbers (or of nothing but missing ones)."""
    if not isinstance(dtype, pl.List | pl.Array) or (isinstance(dtype, pl.Array) and len(dtype.shape) > 1):
        return False
    inner: pl.DataType = dtype.inner  # type: ignore[assignment]
    return kind_of(inner) in (Kind.NUMBER, Kind.BOOLEAN)
