"""Which formats can be read, and by whom.

A format follows from the end of a file's name, whatever its case; a folder is a table of Parquet files. Each scans
lazily where its library can, refuses what is visibly broken, and explains what its library could not read.
"""

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from epochd.data.formats import arrow, delimited, excel, json_lines, parquet
from epochd.data.formats.errors import Unreadable
from epochd.data.formats.type_inference import Expected


@dataclass(frozen=True, slots=True)
class Format:
    """How to read one kind of file. ``label`` is its name in messages.

    ``scan`` takes the path and raises Unreadable for what it sees to be broken, or its library's errors. Where types
    are ``guessed`` it gives several tables, as each expects less of the file than the one before, which could not be
    read, and a column that is not of the kind expected of it comes as text.
    ``explain`` says what a library's error means.
    ``unseen`` says why not every column may have been found (empty: all have).
    """

    label: str
    scan: Callable[[Path, Expected], Iterator[pl.LazyFrame]]
    explain: Callable[[Path, BaseException], Unreadable]
    guessed: bool = True
    unseen: Callable[[Path], str] = lambda path: ""


def _delimited(label: str, separator: str) -> Format:
    return Format(label, partial(delimited.scan, separator=separator), partial(delimited.explain, separator=separator))


def _certain(
    label: str, scan: Callable[[Path], pl.LazyFrame], explain: Callable[[Path, BaseException], Unreadable]
) -> Format:
    """A format whose files say their types themselves."""
    return Format(label, lambda path, expected: iter([scan(path)]), explain, guessed=False)


CSV = _delimited("CSV", ",")
TSV = _delimited("TSV", "\t")
NDJSON = Format("NDJSON", json_lines.scan, json_lines.explain, unseen=json_lines.unseen)
PARQUET = _certain("Parquet", parquet.scan, parquet.explain)
FOLDER = _certain("a folder of Parquet files", parquet.scan_folder, parquet.explain_folder)
ARROW = _certain("Arrow", arrow.scan, arrow.explain)
EXCEL = Format("a spreadsheet", lambda path, expected: iter([excel.scan(path, expected)]), excel.explain)

BY_SUFFIX = {
    **{f".csv{packed}": CSV for packed in ("", ".gz", ".zst")},
    **{f".tsv{packed}": TSV for packed in ("", ".gz", ".zst")},
    **{f".{name}{packed}": NDJSON for name in ("ndjson", "jsonl") for packed in ("", ".gz", ".zst")},
    ".parquet": PARQUET,
    **dict.fromkeys((".arrow", ".feather", ".ipc"), ARROW),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), EXCEL),
}
SUFFIXES = tuple(BY_SUFFIX)

ERRORS = (pl.exceptions.PolarsError, excel.Broken, OSError)
"""What the libraries that read raise, besides panics."""


def suffix_of(name: str) -> str:
    """The end of a file's name that names its format, in lower case (``.csv.gz``); empty if none does."""
    return next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")


def format_of(path: Path) -> Format:
    """How to read what lies there. Raise Unreadable if nothing can, OSError if it is gone."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return FOLDER
    if not stat.S_ISREG(mode):
        raise Unreadable("it is not a regular file", "name a file, or a folder of Parquet files")
    suffix = suffix_of(path.name)
    if not suffix:
        raise Unreadable("its format is not known", f"use a file that ends in {', '.join(SUFFIXES)}")
    return BY_SUFFIX[suffix]
