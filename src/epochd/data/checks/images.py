"""Datasets of pictures: options that do not suit them, and pictures that cannot be read."""

from collections.abc import Iterator

import polars as pl

from epochd.core import spec_checks
from epochd.core.errors import Problem
from epochd.core.spec_fields import IMAGE_OPTIONS
from epochd.core.specs import TrainingSpec
from epochd.core.text import shown
from epochd.data.formats.picture import CHANNELS
from epochd.data.schema import col, missing_columns
from epochd.data.tables import pictures
from epochd.data.tables.pictures import MAX_CHECKED, Pictures
from epochd.data.tables.source import Source


def shape(spec: TrainingSpec) -> tuple[int, int, int]:
    """The shape of an encoded picture."""
    height, width = spec.image_size
    return height, width, CHANNELS[spec.image_mode]


def problems(
    table: pl.LazyFrame, schema: pl.Schema, spec: TrainingSpec, source: Source, field: str = ""
) -> list[Problem]:
    """Everything that is wrong with the column of pictures in this table, and with options of pictures where there are
    none. ``field`` replaces the field of problems of the table."""
    if spec.image_column is None:
        return list(_without_pictures(spec))
    name, found = spec.image_column, pictures.of(source)
    if name not in schema:
        return missing_columns([name], field or "image_column", schema, f"{source.name!r}")
    if schema[name] not in (pl.String, pl.Binary):
        message = f"{name!r} has the type {schema[name]}, but pictures are paths, base64 text or bytes"
        return [Problem(field or "image_column", message, "name the column of pictures")]
    assert found is not None  # the source was opened with this spec
    unreadable = _unreadable(table, found)
    return [Problem(field or "image_column", one.message, one.hint) for one in unreadable]


def option_problems(spec: TrainingSpec) -> list[Problem]:
    """Options that do not suit a folder of pictures, whose column of pictures the spec need not name."""
    return list(spec_checks.image_problems(spec))


def warnings(spec: TrainingSpec, schema: pl.Schema, rows: int) -> Iterator[str]:
    """What a user may not expect of a table with pictures."""
    if spec.image_column is None:
        return
    used = {spec.image_column, spec.target_column, spec.time_column, spec.group_column}
    if spec.feature_columns is None and (others := [name for name in schema if name not in used]):
        listed = ", ".join(map(shown, others[:5])) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        yield f"only the pictures in {shown(spec.image_column)} are features; these columns are not used: {listed}"
    if rows > MAX_CHECKED:
        yield f"the first {MAX_CHECKED:,} of {rows:,} pictures were looked at; the others are read by the training"


def _unreadable(table: pl.LazyFrame, found: Pictures) -> list[Problem]:
    first = table.select(col(found.column)).head(MAX_CHECKED).collect(engine="streaming").to_series()
    return found.problems(first)


def _without_pictures(spec: TrainingSpec) -> Iterator[Problem]:
    for name in IMAGE_OPTIONS:
        if getattr(spec, name) != type(spec).model_fields[name].default:
            message = (
                f"{name} is an option of pictures, but image_column is not set and the dataset is no folder of them"
            )
            yield Problem(name, message, "set image_column to the column of pictures, or omit it")
    if spec.augmentation and not (spec.model_type == "cnn" and spec.input_shape is not None):
        message = "augmentation changes images, but the rows of this dataset are not images"
        yield Problem("augmentation", message, "set image_column, or model_type 'cnn' with input_shape, or omit it")
