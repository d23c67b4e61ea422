"""The readable formats, and the module that reads each.

The end of a file's name, in any case, decides the format; a folder is a table of Parquet files. Each module scans
lazily where its library can, rejects files that are visibly broken, and explains errors of its library.
"""

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from epochd.data.formats import arrow, delimited, excel, json_lines, parquet
from epochd.data.formats.errors import FormatError
from epochd.data.formats.type_inference import Expected


@dataclass(frozen=True, slots=True)
class Format:
    """How to read one kind of file. ``label`` is its name in messages.

    ``scan`` takes the path and the expected kinds of columns. It raises FormatError for a visibly broken file, or its
    library's errors. Where it ``infers_types`` it yields several tables to try in turn: each assumes less about the
    file than the one before. A column of another kind than the expected one is read as text.
    ``explain`` turns an error of the library into a FormatError.
    ``schema_caveat`` says why the schema may lack columns (empty: it has all).
    """

    label: str
    scan: Callable[[Path, Expected], Iterator[pl.LazyFrame]]
    explain: Callable[[Path, BaseException], FormatError]
    infers_types: bool = True
    schema_caveat: Callable[[Path], str] = lambda path: ""


def _delimited(label: str, separator: str) -> Format:
    return Format(label, partial(delimited.scan, separator=separator), partial(delimited.explain, separator=separator))


def _self_describing(
    label: str, scan: Callable[[Path], pl.LazyFrame], explain: Callable[[Path, BaseException], FormatError]
) -> Format:
    """A format whose files contain their types."""
    return Format(label, lambda path, expected: iter([scan(path)]), explain, infers_types=False)


CSV = _delimited("CSV", ",")
TSV = _delimited("TSV", "\t")
NDJSON = Format("NDJSON", json_lines.scan, json_lines.explain, schema_caveat=json_lines.schema_caveat)
PARQUET = _self_describing("Parquet", parquet.scan, parquet.explain)
FOLDER = _self_describing("a folder of Parquet files", parquet.scan_folder, parquet.explain_folder)
ARROW = _self_describing("Arrow", arrow.scan, arrow.explain)
EXCEL = Format("a spreadsheet", lambda path, expected: iter([excel.scan(path, expected)]), excel.explain)

BY_SUFFIX = {
    **{f".csv{compression}": CSV for compression in ("", ".gz", ".zst")},
    **{f".tsv{compression}": TSV for compression in ("", ".gz", ".zst")},
    **{f".{name}{compression}": NDJSON for name in ("ndjson", "jsonl") for compression in ("", ".gz", ".zst")},
    ".parquet": PARQUET,
    **dict.fromkeys((".arrow", ".feather", ".ipc"), ARROW),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), EXCEL),
}
SUFFIXES = tuple(BY_SUFFIX)

ERRORS = (pl.exceptions.PolarsError, excel.ExcelError, OSError)
"""What the reading libraries raise, besides panics."""


def suffix_of(name: str) -> str:
    """The suffix that names the format of a file, in lower case (``.csv.gz``); empty if there is none."""
    return next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")


def format_of(path: Path) -> Format:
    """The format of a file or folder. Raise FormatError if no format fits, OSError if the path does not exist."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return FOLDER
    if not stat.S_ISREG(mode):
        raise FormatError("it is not a regular file", "name a file, or a folder of Parquet files")
    suffix = suffix_of(path.name)
    if not suffix:
        raise FormatError("its format is not known", f"use a file that ends in {', '.join(SUFFIXES)}")
    return BY_SUFFIX[suffix]
