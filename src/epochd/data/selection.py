"""Which columns of a table a config means: by name, by pattern, or all that are left."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import polars as pl

from epochd.core import spelling
from epochd.core.errors import Problem
from epochd.core.specs import TrainingSpec

MAX_TOLD = 20
"""How many problems, or warnings, of one kind are told one by one."""
WILD = "*?["


def features(spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    """The feature columns that exist, in the order of the spec; those of one pattern in the table's order.

    The target is one only where windows end before it and the spec names it.
    """
    if spec.feature_columns is None:
        return _left(spec, schema)
    found = [name for asked in spec.feature_columns for name in _meant(asked, spec, schema)]
    return [name for name in dict.fromkeys(found) if name != spec.target_column or spec.forecasts]


def ordering(spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    """The columns of time and of groups, those that the spec names and the table has."""
    return [name for name in (spec.time_column, spec.group_column) if name is not None and name in schema]


def needed(spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    """The columns that the spec uses and the table has: features, time and groups, the target last."""
    before = [*features(spec, schema), *ordering(spec, schema)]
    if spec.target_column in before or spec.target_column not in schema:
        return list(dict.fromkeys(before))
    return [*dict.fromkeys(before), spec.target_column]


def problems(spec: TrainingSpec, schema: pl.Schema, unseen: str = "") -> list[Problem]:
    """A problem for each name that the table lacks, and each pattern that matches nothing; ``unseen`` is as in
    ``absent``."""
    asked = [name for name in spec.feature_columns or () if not _meant(name, spec, schema)]
    found = absent(asked, "feature_columns", schema, "the dataset", unseen)
    for field in ("target_column", "time_column", "group_column"):
        name = getattr(spec, field)
        if name is not None and name not in schema:
            found += absent([name], field, schema, "the dataset", unseen)
    if spec.feature_columns is None and not features(spec, schema):
        message = "the dataset has no column besides the target to learn from"
        found.append(Problem("dataset", message, "add columns that say something about the target"))
    return found


def absent(names: Sequence[str], field: str, schema: pl.Schema, where: str, unseen: str = "") -> list[Problem]:
    """A problem of ``field`` for each of the names, which the table that ``where`` speaks of lacks; ``unseen`` says why
    it may have more columns than ``schema``."""
    columns = list(schema)
    found = []
    for name in names[:MAX_TOLD]:
        nearest = _nearest(name, columns)
        hint = f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
        listed = ", ".join(columns[:MAX_TOLD]) + (f" and {len(columns) - MAX_TOLD} more" * (len(columns) > MAX_TOLD))
        listed += f"; {unseen}" if unseen else ""
        lacks = f"no column that matches {name!r}" if _is_pattern(name) else f"no column {name!r}"
        found.append(Problem(field, f"{where} has {lacks}", f"{hint}its columns are: {listed}"))
    if len(names) > MAX_TOLD:
        found.append(Problem(field, f"{len(names) - MAX_TOLD} more columns do not exist", "correct the first ones"))
    return found


def _meant(asked: str, spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    """The columns that a name or pattern stands for; an exact name comes before all patterns."""
    if asked in schema:
        return [asked]
    return [name for name in _left(spec, schema) if fnmatchcase(name, asked)] if _is_pattern(asked) else []


def _left(spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    taken = {spec.target_column, spec.time_column, spec.group_column}
    return [name for name in schema if name not in taken]


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in WILD)


def _nearest(name: str, columns: list[str]) -> list[str]:
    """The columns whose names resemble this one; those of a pattern begin like it."""
    if not _is_pattern(name):
        return spelling.nearest(name, columns, 2)
    stem = name[: min(place for sign in WILD if (place := name.find(sign)) >= 0)]
    return list(_beginning_like(stem, columns)) if stem else []


def _beginning_like(stem: str, columns: list[str]) -> Iterator[str]:
    by_beginning = {column[: len(stem)]: column for column in reversed(columns)}
    for beginning in spelling.nearest(stem, by_beginning, 2):
        yield by_beginning[beginning]
