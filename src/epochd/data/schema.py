"""The kinds of columns, and the selection of a table's columns by a config: checks and encoders must agree on both."""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from fnmatch import fnmatchcase

import polars as pl
import polars.selectors as cs

from epochd.core.errors import Problem, similar_names
from epochd.core.spec_checks import WILDCARDS, is_pattern
from epochd.core.specs import TrainingSpec
from epochd.core.text import cut, shown

MAX_LISTED = 20
"""Problems or warnings of one kind that are listed individually."""


def feature_columns(spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    """The existing columns that the spec selects as features, in its order; those of one pattern in the order of the
    table. The checks may leave some of them out (``checks.selection``): what is learned from is ``features`` of their
    report.

    A column of pictures is the only one unless the spec lists others. The target is a feature only if the spec lists it
    and windows end before it. Columns that are known in advance are features, after the others if they are not listed.
    """
    found = remaining = _remaining(spec, schema)
    if spec.feature_columns is None and spec.image_column in schema:
        return [spec.image_column] if spec.image_column is not None else []
    if spec.feature_columns is not None:
        found = [name for requested in spec.feature_columns for name in _matches(requested, remaining, schema)]
    known = [name for name in spec.known_in_advance or () if name in schema] if spec.sequence_length else []
    found = [name for name in dict.fromkeys([*found, *known]) if name != spec.target_column or spec.forecasts]
    excluded = {name for requested in spec.exclude_columns or () for name in _matches(requested, found, schema)}
    return [name for name in found if name not in excluded]


def required_columns(spec: TrainingSpec, schema: pl.Schema, features: Sequence[str]) -> list[str]:
    """The columns that a training on these features uses and the table has: features, time, group, weight, and
    the target last."""
    names = [*features, spec.time_column, spec.group_column, spec.weight_column, spec.target_column]
    return [name for name in dict.fromkeys(names) if name is not None and name in schema]


def selection_problems(spec: TrainingSpec, schema: pl.Schema, caveat: str = "") -> list[Problem]:
    """A problem for each name that the table lacks, and each pattern without a match; ``caveat`` as in
    ``missing_columns``."""
    remaining = _remaining(spec, schema)
    requested = [name for name in spec.feature_columns or () if not _matches(name, remaining, schema)]
    found = missing_columns(requested, "feature_columns", schema, "the dataset", caveat)
    unknown = [name for name in spec.exclude_columns or () if not _matches(name, list(schema), schema)]
    found += missing_columns(unknown, "exclude_columns", schema, "the dataset", caveat)
    known = [name for name in spec.known_in_advance or () if name not in schema]
    found += missing_columns(known, "known_in_advance", schema, "the dataset", caveat)
    for field in ("target_column", "time_column", "group_column", "weight_column"):
        name = getattr(spec, field)
        if name is not None and name not in schema:
            found += missing_columns([name], field, schema, "the dataset", caveat)
    if feature_columns(spec, schema) or requested:
        return found
    if spec.exclude_columns and (spec.feature_columns is not None or remaining):
        message = "exclude_columns leaves no feature to learn from"
        found.append(Problem("exclude_columns", message, "exclude fewer columns"))
    elif spec.feature_columns is None:
        message = "the dataset has no column besides the target to learn from"
        found.append(Problem("dataset", message, "add columns that help to predict the target"))
    return found


def missing_columns(
    names: Sequence[str], field: str, schema: Iterable[str], where: str, caveat: str = ""
) -> list[Problem]:
    """A problem of ``field`` for each of these names, which are missing in the table described by ``where``. ``caveat``
    says why the table may have more columns than ``schema``."""
    columns, found = list(schema), []
    listed = shorten(columns, MAX_LISTED) + (f"; {caveat}" if caveat else "")
    for name in names[:MAX_LISTED]:
        nearest = _nearest(name, columns)
        hint = f"did you mean {' or '.join(map(shown, nearest))}? " if nearest else ""
        lacks = f"no column that matches {shown(name)}" if is_pattern(name) else f"no column {shown(name)}"
        found.append(Problem(field, f"{where} has {lacks}", f"{hint}its columns are: {listed}"))
    if len(names) > MAX_LISTED:
        found.append(Problem(field, f"{len(names) - MAX_LISTED} more columns do not exist", "correct the first ones"))
    return found


def shorten(items: Sequence[object], most: int) -> str:
    """The first ``most`` items, and how many there are besides."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(cut(str(item)) for item in items[:most]) + more


def _matches(requested: str, remaining: Sequence[str], schema: pl.Schema) -> list[str]:
    """The columns that a name or pattern selects; an exact name takes precedence over a pattern."""
    if requested in schema:
        return [requested]
    return [name for name in remaining if fnmatchcase(name, requested)] if is_pattern(requested) else []


def _remaining(spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    reserved = {spec.target_column, spec.time_column, spec.group_column, spec.weight_column}
    return [name for name in schema if name not in reserved]


def _nearest(name: str, columns: list[str]) -> list[str]:
    """The columns with names similar to this one; for a pattern, those with a similar beginning."""
    if not is_pattern(name):
        return similar_names(name, columns, 2)
    stem = name[: min(place for sign in WILDCARDS if (place := name.find(sign)) >= 0)]
    by_beginning = {column[: len(stem)]: column for column in reversed(columns)}
    return [by_beginning[beginning] for beginning in similar_names(stem, by_beginning, 2)] if stem else []


class Kind(Enum):
    """The kinds of columns. Each has its own encoding."""

    NUMBER = "number"  # integers, decimals, floats, durations (in seconds): scaled
    BOOLEAN = "boolean"  # false and true: -1 and 1
    CATEGORY = "category"  # text, categoricals, enums: a column for each distinct value, or one of codes to embed
    DATE = "date"  # dates, times, and both: calendar parts
    IMAGE = "image"  # pictures, which a config names: pixels of channels that are scaled
    LIST = "list"  # lists and arrays of numbers: a channel of a sequence
    UNSUPPORTED = "unsupported"  # lists of anything else, structs, binary


INTERCHANGEABLE = {Kind.NUMBER, Kind.BOOLEAN}
"""Kinds that can be read as each other."""


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
    if isinstance(dtype, pl.List) or (isinstance(dtype, pl.Array) and len(dtype.shape) == 1):
        inner: pl.DataType = dtype.inner  # type: ignore[assignment]
        return Kind.LIST if kind_of(inner) in INTERCHANGEABLE else Kind.UNSUPPORTED
    return Kind.UNSUPPORTED


def type_advice(dtype: pl.DataType) -> str:
    """The hint for a column whose type cannot be used."""
    if dtype.is_temporal():
        return "convert it to numbers, such as year, month and weekday, or days since a fixed date"
    if dtype.is_nested():
        return "convert it to several plain columns"
    return "convert it to numbers or text"


def col(name: str) -> pl.Expr:
    """The column of exactly this name (``pl.col`` would read ``*`` and ``^…$`` as patterns)."""
    return cs.by_name(name).as_expr()


def can_embed(spec: TrainingSpec, *, has_lists: bool) -> bool:
    """Whether the network has an input per column, so that a column can contain category codes for an embedding."""
    return (spec.model_type == "mlp" or spec.sequence_length is not None) and not has_lists


def reads_columns_as_steps(spec: TrainingSpec, *, has_lists: bool) -> bool:
    """Whether the network reads the encoded columns of a row as a sequence or an image."""
    return spec.model_type != "mlp" and spec.sequence_length is None and not has_lists


def kinds_of(schema: Mapping[str, pl.DataType]) -> dict[str, Kind]:
    """The kinds of a table's columns."""
    return {name: kind_of(dtype) for name, dtype in schema.items()}
