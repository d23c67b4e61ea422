"""Datasets: what a name in a config opens, and how its table is read.

Reading is Polars, lazily. A file that cannot be read raises a DataError that says what is wrong with it and where,
with the dataset's name and never with its path.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import polars as pl
import polars.selectors as cs

from epochd.core.errors import DataError, Problem
from epochd.data import formats
from epochd.data.formats.errors import TYPE_ERRORS, Unreadable, checked_names, in_short, not_opened
from epochd.data.formats.type_inference import Expected
from epochd.data.tables import fingerprint

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset that exists. ``name`` is what was asked for, ``path`` its file or folder with links resolved.

    ``expected`` are the kinds of columns: where a file leaves them open, a column of another kind is read as text.
    """

    name: str
    path: Path
    expected: Expected = field(default_factory=dict, compare=False)

    def like(self, expected: Expected) -> "Source":
        """The same dataset, these kinds of columns expected of it."""
        return replace(self, expected=expected)

    @property
    def is_guessed(self) -> bool:
        """Whether types are no more than a guess at what its text means. Raise DataError if it is gone."""
        with self._reporting():
            return formats.format_of(self.path).guessed

    def scan(self) -> pl.LazyFrame:
        """The table, not yet read: column names without spaces around them, float NaN as missing.

        Raise DataError for a file that is visibly broken; other faults show only when the table is read, so use
        ``apply``.
        """
        with self._reporting():
            return _named(next(self._tables()))

    def apply(self, work: Callable[[pl.LazyFrame], T]) -> T:
        """``work`` done on the table; raise DataError if the file cannot be read.

        Where later rows contradict what was guessed from the first ones, ``work`` is done again on what is guessed more
        carefully, in the end from all rows.
        """
        with self._reporting():
            tables = self._tables()
            table = next(tables)
            while True:
                try:
                    return work(_named(table))
                except TYPE_ERRORS:
                    careful = next(tables, None)
                    if careful is None:
                        raise
                table = careful

    def read(self) -> pl.DataFrame:
        """The whole table in memory; raise DataError if the file cannot be read."""
        return self.apply(lambda table: table.collect())

    def unseen(self) -> str:
        """Why ``scan`` may not have found every column, for a hint; empty if it has. Raise DataError."""
        with self._reporting():
            return formats.format_of(self.path).unseen(self.path)

    def fingerprint(self) -> str:
        """SHA-256 of the content, in hexadecimal (``fingerprint.of``). Raise DataError if it cannot be read."""
        with self._reporting():
            formats.format_of(self.path)
            return fingerprint.of(self.path)

    def quick_fingerprint(self) -> str:
        """``fingerprint``, or for a large dataset one of samples (``fingerprint.quick``). Raise DataError."""
        with self._reporting():
            formats.format_of(self.path)
            return fingerprint.quick(self.path)

    def size_bytes(self) -> int:
        """Bytes of the dataset's file, or of all files in its folder. Raise OSError if it is gone."""
        return fingerprint.size(self.path)

    def _tables(self) -> Iterator[pl.LazyFrame]:
        return formats.format_of(self.path).scan(self.path, self.expected)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Turn every error in reading the file into a DataError."""
        try:
            yield
        except Unreadable as fault:
            raise self._refusal(fault) from None
        except formats.ERRORS as error:
            raise self._refusal(self._explained(error)) from None
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # each library written in Rust has its own
                raise
            raise self._refusal(self._explained(error)) from None

    def _explained(self, error: BaseException) -> Unreadable:
        try:
            return formats.format_of(self.path).explain(self.path, error)
        except Unreadable as fault:
            return fault
        except formats.ERRORS as other:
            return not_opened(other) if isinstance(other, OSError) else Unreadable(in_short(error))

    def _refusal(self, fault: Unreadable) -> DataError:
        label = _label(self.path)
        reason = fault.reason.replace(str(self.path), self.name)
        return DataError([Problem("dataset", f"{self.name!r} cannot be read as {label}: {reason}", fault.hint)])


def _named(table: pl.LazyFrame) -> pl.LazyFrame:
    """Names without spaces around them, float NaN as missing."""
    found = table.collect_schema().names()
    wanted = checked_names(found)
    if wanted != found:
        table = table.rename(dict(zip(found, wanted, strict=True)))
    return table.with_columns(cs.float().fill_nan(None))


def _label(path: Path) -> str:
    if path.is_dir():
        return formats.FOLDER.label
    suffix = formats.suffix_of(path.name)
    return formats.BY_SUFFIX[suffix].label if suffix else "a table"
