"""A dataset that a config names, and how its table is read.

A file that cannot be read raises a DataError that describes the defect and where it is: with the name of the dataset,
never its path.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import polars as pl
import polars.selectors as cs

from epochd.core.columns import ReadOptions
from epochd.core.errors import DataError, Problem
from epochd.data import formats
from epochd.data.columns import decided_columns
from epochd.data.columns.detection import Decision
from epochd.data.columns.reading import Reading
from epochd.data.formats.errors import TYPE_ERRORS, FormatError, clean_column_names, open_error, short_message
from epochd.data.formats.type_inference import Expected
from epochd.data.schema import Kind
from epochd.data.tables import fingerprint
from epochd.data.tables.fingerprint import SAMPLED

T = TypeVar("T")

MAX_PARSED_ONCE = 1 << 26
"""Bytes of text whose table is held in memory while it is looked at."""
MAX_NESTING = 32
"""Libraries that read files recurse into types, and end the process where a type is nested thousands of times."""


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset that exists: its requested ``name``, and the ``path`` of its file or folder with links resolved.

    ``expected`` are kinds of columns: where types are inferred, a column of another kind is read as text. ``options``
    say how the file is read. ``readings`` say how columns of text are read, as decided before; None: they are decided
    from their values. With ``checks_readings`` a column too few of whose values can be read so is left as text. A
    source that is ``raw`` leaves all text as it is, for a model that reads it. ``kept`` are the columns that are part
    of the table although they are an index that pandas has written (None: all of them are). The columns in ``written``
    are left as they are written where a file is text.
    """

    name: str
    path: Path
    expected: Expected = field(default_factory=dict, compare=False)
    options: ReadOptions = field(default_factory=ReadOptions, compare=False)
    readings: Mapping[str, Reading] | None = field(default=None, compare=False)
    raw: bool = field(default=False, compare=False)
    checks_readings: bool = field(default=False, compare=False)
    kept: frozenset[str] | None = field(default=None, compare=False)
    written: frozenset[str] = field(default=frozenset(), compare=False)

    def expecting(self, expected: Expected, written: Iterable[str] = ()) -> "Source":
        """The same dataset with these expected kinds of columns, and text as it is written. Where a file is text, the
        columns in ``written`` are left as they are written, too."""
        return replace(self, expected=expected, written=frozenset(written), raw=True)

    def following(
        self, readings: Mapping[str, Reading], expected: Expected | None = None, *, check: bool = False
    ) -> "Source":
        """The same dataset, whose columns of text are read as in these readings and as these kinds; ``check`` as
        ``checks_readings``. With ``expected`` kinds it need not be the dataset that the readings were decided for."""
        if expected:
            readings = {name: reading.or_iso() for name, reading in readings.items()}
        return replace(self, readings=readings, expected=expected or {}, checks_readings=check)

    def reading(self, options: ReadOptions) -> "Source":
        """The same dataset, read with these options in the place of its own where they are set."""
        return replace(self, options=self.options.updated(options))

    def without_index(self, kept: Iterable[str]) -> "Source":
        """The same dataset without indexes that pandas has written, except for these columns."""
        return replace(self, kept=frozenset(kept))

    @property
    def infers_types(self) -> bool:
        """Whether types are inferred from text. Raise DataError if the file does not exist."""
        with self._reading_errors():
            return formats.format_of(self.path).infers_types

    def apply(self, work: Callable[[pl.LazyFrame], T]) -> T:
        """The result of ``work`` on the table; raise DataError if the file cannot be read.

        Where later rows contradict the types inferred from the first ones, ``work`` is called again with types inferred
        from more rows, finally from all.
        """
        return self.apply_decided(lambda table, decisions: work(table))

    def apply_decided(self, work: Callable[[pl.LazyFrame, dict[str, Decision]], T]) -> T:
        """``apply`` for work that is also given how each column of text is read."""
        with self._reading_errors():
            options = replace(self.options, keeps_words=self._keeps_words())
            found = formats.format_of(self.path)
            tables = found.scan(self.path, self._as_written() if found.is_text else self.expected, options)
            table = next(tables)
            while True:
                try:
                    clean = self._columns(_cleaned(table))
                    if self.raw:
                        return work(clean, {})
                    if self.readings is None and self._is_small_text():  # it is parsed once for all passes
                        clean = clean.collect().lazy()
                    decisions = self._decisions(clean)
                    return work(decided_columns.read(clean, decisions), decisions)
                except TYPE_ERRORS:
                    if (following := next(tables, None)) is None:
                        raise
                table = following

    def _is_small_text(self) -> bool:
        return (self.text_bytes() or MAX_PARSED_ONCE) < MAX_PARSED_ONCE

    def _decisions(self, table: pl.LazyFrame) -> dict[str, Decision]:
        if self.readings is None:
            return decided_columns.decide(table, self.options)
        return decided_columns.follow(table, self.readings, self.expected, check=self.checks_readings)

    def _keeps_words(self) -> bool:
        """Whether not all columns have the usual words for missing values."""
        known = any(reading.missing is not None for reading in (self.readings or {}).values())
        return self.raw or known or any(options.missing is not None for options in self.options.columns.values())

    def _as_written(self) -> Expected:
        """The kinds of columns that a file of text should yield: text for those that are read here."""
        declared = [name for name, options in self.options.columns.items() if options.reads_text]
        return {**self.expected, **dict.fromkeys([*declared, *(self.readings or {}), *self.written], Kind.CATEGORY)}

    def read(self) -> pl.DataFrame:
        """The whole table in memory; raise DataError if the file cannot be read."""
        return self.apply(lambda table: table.collect())

    def schema_caveat(self) -> str:
        """Why the schema of the table may lack columns, for a hint; empty if it has all. Raise DataError."""
        with self._reading_errors():
            return formats.format_of(self.path).schema_caveat(self.path)

    def uncalculated(self) -> list[str]:
        """The columns of formulas without values. Raise DataError if the file cannot be read."""
        with self._reading_errors():
            return formats.format_of(self.path).uncalculated(self.path, self.options)

    def notes(self) -> list[str]:
        """What was detected when the file was read and taken for right, such as its encoding, and which columns are
        left out as an index. Raise DataError."""
        with self._reading_errors():
            found = formats.format_of(self.path).notes(self.path, self.options, self.name)
            left_out = self._left_out()
        return found + [
            f"{column!r} is an index that pandas or R has written to {self.name!r}, so it is no feature; list it in "
            "feature_columns to make it one"
            for column in left_out
        ]

    def _left_out(self) -> list[str]:
        """The columns of the file that are an index, and no part of the table."""
        if self.kept is None:
            return []
        found = formats.format_of(self.path).index_columns(self.path, self.options)
        return [name for name in found if name not in self.kept]

    def _columns(self, table: pl.LazyFrame) -> pl.LazyFrame:
        """The table without the columns that are left out."""
        left_out = self._left_out()
        return table.drop(left_out, strict=False) if left_out else table

    def fingerprint(self) -> str:
        """SHA-256 of the content, in hexadecimal (``fingerprint.of``). Raise DataError if it cannot be read."""
        with self._reading_errors():
            formats.format_of(self.path)
            return fingerprint.of(self.path)

    def quick_fingerprint(self) -> str:
        """``fingerprint``, or for a large dataset a hash of samples (``fingerprint.quick``). Raise DataError."""
        with self._reading_errors():
            formats.format_of(self.path)
            return fingerprint.quick(self.path)

    def is_unchanged(self, fingerprint: str | None) -> bool:
        """Whether this is still the content that a fingerprint, full or quick, identifies. Raise DataError."""
        is_quick = fingerprint is not None and fingerprint.startswith(SAMPLED)
        return fingerprint == (self.quick_fingerprint() if is_quick else self.fingerprint())

    def content_key(self, fingerprint: str) -> str:
        """What identifies the table: the content with this fingerprint, read with these options."""
        options = self.options.as_json()
        return f"{fingerprint} {json.dumps(options, sort_keys=True)}" if options else fingerprint

    def size_bytes(self) -> int:
        """Bytes of the dataset's file, or of all files in its folder. Raise OSError if it does not exist."""
        return fingerprint.size(self.path)

    def text_bytes(self) -> int | None:
        """Bytes of a text file that is not compressed; None for all others, whose values may take far more."""
        with self._reading_errors():
            is_text = formats.format_of(self.path) in formats.TEXT_FORMATS.values()
            return self.size_bytes() if is_text and not formats.text.compression(self.path) else None

    @contextmanager
    def _reading_errors(self) -> Iterator[None]:
        """Turn every error of reading the file into a DataError."""
        try:
            yield
        except BaseException as error:
            # Each library written in Rust has a PanicException of its own.
            if not isinstance(error, (FormatError, *formats.ERRORS)) and type(error).__name__ != "PanicException":
                raise
            found = self._explain(error)
            suffix = formats.suffix_of(self.path.name)
            known = formats.FOLDER if self.path.is_dir() else formats.BY_SUFFIX.get(suffix)
            label, reason = known.label if known else "a table", found.reason.replace(str(self.path), self.name)
            message = f"{self.name!r} cannot be read as {label}: {reason}"
            raise DataError([Problem("dataset", message, found.hint)]) from None

    def _explain(self, error: BaseException) -> FormatError:
        try:
            return error if isinstance(error, FormatError) else formats.format_of(self.path).explain(self.path, error)
        except FormatError as found:
            return found
        except formats.ERRORS as other:
            return open_error(other) if isinstance(other, OSError) else FormatError(short_message(error))


def _cleaned(table: pl.LazyFrame) -> pl.LazyFrame:
    """The table with names without spaces around them, and float NaN as missing."""
    schema = table.collect_schema()
    names = schema.names()
    if nested := [name for name, dtype in schema.items() if _nests_deeper(dtype, MAX_NESTING)]:
        message = f"column {nested[0]!r} has values inside more than {MAX_NESTING} lists or records"
        raise FormatError(message, "write its values to columns of their own")
    clean = clean_column_names(names)
    if clean != names:
        table = table.rename(dict(zip(names, clean, strict=True)))
    return table.with_columns(cs.float().fill_nan(None))


def _nests_deeper(dtype: pl.DataType, levels: int) -> bool:
    """Whether a type contains types inside types over more than this number of levels."""
    inner = [dtype.inner] if isinstance(dtype, pl.List | pl.Array) else []
    fields = [field.dtype for field in dtype.fields] if isinstance(dtype, pl.Struct) else inner
    return bool(fields) and (levels == 0 or any(_nests_deeper(field, levels - 1) for field in fields))  # type: ignore[arg-type]
