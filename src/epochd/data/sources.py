"""Where a dataset's name leads: a built-in table, or a file under one of the server's dataset folders.

A name comes from whoever may post a config, so it is resolved here, once, and never leaves the allowed
folders: ``..`` and NUL are refused, symbolic links are followed before the check, and the answer for a
file elsewhere is the same whether it exists or not. Reading is Polars; what goes wrong in a file is told
as a DataError that names the line where that can be found out.
"""

import csv
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path, PurePath
from typing import TypeVar

import polars as pl
import polars.selectors as cs

from epochd.core.errors import DataError, Problem

T = TypeVar("T")

BUILTIN_DIR = Path(__file__).parent / "builtin"
BUILTIN = ("breast_cancer", "diabetes", "digits", "iris", "sample", "wine")
"""Tables that come with epochd. ``sample`` is ``breast_cancer`` cut to the three columns that its description
names as most predictive together (worst area, worst smoothness, mean texture) and mean concave points, renamed to
feature1 … feature4."""

SEPARATORS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*SEPARATORS, ".parquet")

MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None"]
"""What stands for a missing value in text."""

INFER_ROWS = 10_000
"""Rows of a text file that its column types are first guessed from."""

MAX_LISTED_FILES = 2_000
"""How many files of the dataset folders are looked through for a hint."""


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset that exists. ``name`` is what was asked for, ``path`` its file with links resolved."""

    name: str
    path: Path

    def scan(self, infer_rows: int | None = INFER_ROWS) -> pl.LazyFrame:
        """The table, not yet read; a float NaN counts as missing. ``infer_rows`` None guesses types from every row."""
        suffix = self.path.suffix.lower()
        if suffix == ".parquet":
            table = pl.scan_parquet(self.path, glob=False, hive_partitioning=False)
        else:
            table = pl.scan_csv(
                self.path,
                separator=SEPARATORS[suffix],
                null_values=MISSING,
                infer_schema_length=infer_rows,
                glob=False,
            )
        return table.with_columns(cs.float().fill_nan(None))

    def apply(self, work: Callable[[pl.LazyFrame], T]) -> T:
        """``work`` done on the table; raise DataError if the file cannot be read.

        A text file whose later rows contradict the types guessed from the first ones is read again with
        types guessed from all rows.
        """
        try:
            try:
                return work(self.scan())
            except pl.exceptions.ComputeError:
                if self.path.suffix.lower() not in SEPARATORS:
                    raise
                return work(self.scan(infer_rows=None))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise DataError([self._unreadable(error)]) from None

    def read(self) -> pl.DataFrame:
        """The whole table in memory; raise DataError if the file cannot be read."""
        return self.apply(lambda table: table.collect())

    def fingerprint(self) -> str:
        """SHA-256 of the file's bytes, in hexadecimal; the file is streamed. Raise DataError if it cannot be read."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError([self._unreadable(error)]) from None

    def _unreadable(self, error: BaseException) -> Problem:
        kind = self.path.suffix.lower().lstrip(".").upper()
        reason = "the file cannot be opened" if isinstance(error, OSError) else str(error).split("\n", 1)[0]
        where = _first_bad_line(self.path) if kind != "PARQUET" else ""
        return Problem(
            "dataset",
            f"{self.name!r} cannot be read as {kind}: {where or reason}",
            "a header line, then one row per line with as many values, in UTF-8"
            if where
            else f"check that the file is whole and really is {kind}",
        )


def open_dataset(name: str, roots: Sequence[Path]) -> Source:
    """Find a built-in dataset, or a file by its path: relative to one of ``roots``, or absolute inside one.

    Raise DataError (field ``dataset``) if there is none.
    """
    if name in BUILTIN:
        return Source(name, BUILTIN_DIR / f"{name}.parquet")
    _check_name(name, roots)
    for root in roots:
        path = _inside(root, name)
        if path is not None:
            return Source(name, path)
    raise DataError([Problem("dataset", f"there is no dataset {name!r}", _suggestions(name, roots))])


def _check_name(name: str, roots: Sequence[Path]) -> None:
    if "\0" in name or ".." in PurePath(name).parts:
        message = f"{name!r} is not a dataset name: '..' and NUL are not allowed in it"
        raise DataError([Problem("dataset", message, _suggestions(name, roots))])
    suffix = PurePath(name).suffix
    if suffix and suffix.lower() not in SUFFIXES:
        message = f"{name!r} ends in {suffix!r}, which is not a format that can be read"
        raise DataError([Problem("dataset", message, f"use a file that ends in {', '.join(SUFFIXES)}")])


def _inside(root: Path, name: str) -> Path | None:
    """The file that ``name`` leads to from ``root``, links resolved; None unless it is a file in ``root``."""
    try:
        home = root.resolve()
        path = (home / name).resolve()
        found = path.is_relative_to(home) and path.suffix.lower() in SUFFIXES and path.is_file()
    except (OSError, RuntimeError):  # a name too long, a loop of links: nothing that could be read
        return None
    return path if found else None


def _suggestions(name: str, roots: Sequence[Path]) -> str:
    files = sorted(islice(_files(roots), MAX_LISTED_FILES))
    nearest = get_close_matches(name, [*BUILTIN, *files], n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
    hint += f"built-in datasets: {', '.join(BUILTIN)}"
    if files:
        more = f" and {len(files) - 10} more" if len(files) > 10 else ""
        return f"{hint}; files on the server: {', '.join(files[:10])}{more}"
    return f"{hint}; the server's dataset folders hold no {', '.join(SUFFIXES)} file"


def _files(roots: Sequence[Path]) -> Iterator[str]:
    """Paths, relative to their root, of the files that could be datasets."""
    for root in roots:
        for folder, _, names in os.walk(root):
            for name in names:
                if name.lower().endswith(SUFFIXES):
                    yield (Path(folder) / name).relative_to(root).as_posix()


def _first_bad_line(path: Path) -> str:
    """What is wrong with a text file, and in which line, if plain reading finds it; else an empty string."""
    rows, width = None, 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=SEPARATORS[path.suffix.lower()], strict=True)
            width = len(next(rows, []))
            for row in rows:
                if len(row) > width:
                    return f"line {rows.line_num} has {len(row)} values, but the header names {width} columns"
    except UnicodeDecodeError:
        return _first_non_utf8_line(path)
    except csv.Error as error:
        return f"line {rows.line_num if rows else 1}: {error}"
    except OSError:
        return ""
    return "" if width else "the file is empty"


def _first_non_utf8_line(path: Path) -> str:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return f"line {number} is not UTF-8 (byte 0x{line[error.start]:02x})"
    return ""
