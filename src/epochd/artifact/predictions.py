"""The predictions of a dataset on disk: parts while they are computed, then one file.

A part has the predictions of the next rows. It is a durable folder (``files``), so that after the death of the process
the complete parts are those that exist. Parts are Parquet whatever the format of the file is: values keep their types,
and the file does not depend on where a prediction was paused.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from epochd.artifact import files
from epochd.core.errors import CorruptFile, DataChanged, InternalError, Problem
from epochd.core.prediction_specs import OutputFormat

HEADER, ROWS, ABOUT = "header.json", "rows.parquet", "about.json"
SUMMARY = "prediction.json"
ROW_GROUP_ROWS = 65_536
MAX_NAMED = 20
"""Rows that cannot be scored that are named; all are counted."""


def missing_in_csv(columns: int) -> str:
    """What stands for a missing value in CSV with this number of columns: nothing, but quotes where a line would be
    empty. Readers skip an empty line, and all rows after it would be shifted."""
    return "" if columns > 1 else '""'


@dataclass(frozen=True, slots=True)
class Part:
    """The predictions of the next ``rows`` rows of a dataset; of windows there are fewer lines. ``skipped`` rows have
    no prediction; ``problems`` name the first of them."""

    lines: pl.DataFrame
    rows: int
    skipped: int = 0
    problems: list[Problem] = field(default_factory=list)


class Parts:
    """The complete parts in a folder: ``rows`` rows of the dataset in ``lines`` lines, ``skipped`` of them without a
    prediction; ``problems`` are the first ones as JSON."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = self.lines = self.skipped = 0
        self.problems: list[dict[str, str]] = []
        self._paths: list[Path] = []

    @classmethod
    def open(cls, folder: Path, header: dict[str, Any]) -> "Parts":
        """The parts in a folder that were made with the same ``header``: what the predictions depend on, as JSON.

        Raise DataChanged if there are parts for another ``fingerprint`` of the data or another ``model``; where
        anything else differs, they are deleted. A damaged part is deleted, and those after it.
        """
        parts = cls(folder)
        files.remove_temporary(folder)
        found = _read(folder / HEADER)
        if found != header:
            if found is not None and (folder / _name(0)).is_dir():
                _check_same(found, header)
            parts.remove()
            with _written(folder):
                folder.mkdir(parents=True, mode=0o700)
                files.write_json(folder / HEADER, header)
                for path in (folder / HEADER, folder):
                    files.flush(path)
        parts._read_complete()
        return parts

    def add(self, part: Part) -> Path:
        """Save the next part durably; its folder. Raise OutOfSpace when the disk is full."""
        problems = [problem.as_json() for problem in part.problems[:MAX_NAMED]]
        about = {"rows": part.rows, "lines": part.lines.height, "skipped": part.skipped, "problems": problems}
        path = self.folder / _name(len(self._paths))
        with _written(self.folder, int(part.lines.estimated_size())), files.durable_folder(path) as temporary:
            part.lines.write_parquet(temporary / ROWS, compression="lz4")
            files.write_json(temporary / ABOUT, about)
        self._count(path, about)
        return path

    def assemble(self, temporary: Path, output_format: OutputFormat, *, bom: bool) -> Path:
        """Write all parts, in order, as one file into this folder, without holding them. Raise OutOfSpace."""
        table = pl.scan_parquet([path / ROWS for path in self._paths], glob=False)
        file = temporary / f"predictions.{output_format}"
        with _written(temporary, self.bytes):
            if output_format == "csv":
                null = missing_in_csv(len(table.collect_schema()))
                table.sink_csv(file, include_bom=bom, null_value=null)
            else:
                table.sink_parquet(file, compression="zstd", row_group_size=ROW_GROUP_ROWS)
        return file

    @property
    def bytes(self) -> int:
        """Bytes of all parts."""
        return sum((path / ROWS).stat().st_size for path in self._paths)

    def remove(self) -> None:
        """Delete all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read_complete(self) -> None:
        while (path := self.folder / _name(len(self._paths))).is_dir():
            try:
                files.verify(path)
                self._count(path, json.loads((path / ABOUT).read_text(encoding="utf-8")))
            except CorruptFile:
                for later in self.folder.glob("[0-9]*"):
                    if later.name >= path.name:
                        shutil.rmtree(later, ignore_errors=True)
                return

    def _count(self, path: Path, about: dict[str, Any]) -> None:
        self._paths.append(path)
        self.rows += about["rows"]
        self.lines += about["lines"]
        self.skipped += about["skipped"]
        self.problems = (self.problems + about["problems"])[:MAX_NAMED]


def read_summary(folder: Path) -> dict[str, Any] | None:
    """What was written beside a complete file of predictions; None if there is none, or if it is damaged."""
    with suppress(CorruptFile):
        files.verify(folder)
        return _read(folder / SUMMARY)
    return None


def _name(number: int) -> str:
    return f"{number:06d}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _check_same(found: dict[str, Any], header: dict[str, Any]) -> None:
    for name, what in (("fingerprint", "dataset"), ("model", "model")):
        if found.get(name) != header[name]:
            message = f"the {what} has changed since this prediction was paused; to continue would mix two of them"
            raise DataChanged(message, [Problem(what, message, "bring the old one back, or start a new prediction")])


@contextmanager
def _written(folder: Path, needed: int = 0) -> Iterator[None]:
    """Turn an error of writing into one that says what to do."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        if files.is_full(error):
            raise files.out_of_space("the file of predictions", needed, folder.parent) from None
        raise InternalError(f"the predictions cannot be written in {folder}: {error}") from error
