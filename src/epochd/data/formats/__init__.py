"""The readable formats, and the module that reads each.

The end of a file's name, in any case, decides the format; a folder is a table of Parquet files, or of pictures. Each
module scans lazily where its library can, rejects files that are visibly broken, and explains errors of its library.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from epochd.core.columns import ReadOptions
from epochd.data.formats import arrow, delimited, excel, json_lines, parquet, picture_folder
from epochd.data.formats.errors import FormatError
from epochd.data.formats.picture import SUFFIXES as SUFFIXES_OF_PICTURES
from epochd.data.formats.type_inference import Expected


@dataclass(frozen=True, slots=True)
class Format:
    """How to read one kind of file. ``label`` is its name in messages.

    ``scan`` raises FormatError for a visibly broken file, or its library's errors. Where it ``infers_types`` it yields
    several tables to try in turn, each with fewer assumptions, and reads a column of an unexpected kind as text. In a
    file that ``is_text`` all values are written as text.
    ``notes`` tells what was detected in the file of a dataset of a given name, and taken for right: encoding, sheet,
    title rows. ``index_columns`` are the columns that pandas has written as an index, ``uncalculated`` those of
    formulas without values. ``explain`` explains a library's error; ``schema_caveat``, why the schema may lack columns
    (empty: it has all).
    """

    label: str
    scan: Callable[[Path, Expected, ReadOptions], Iterator[pl.LazyFrame]]
    explain: Callable[[Path, BaseException], FormatError]
    infers_types: bool = True
    is_text: bool = False
    notes: Callable[[Path, ReadOptions, str], list[str]] = lambda path, options, name: []
    index_columns: Callable[[Path, ReadOptions], list[str]] = lambda path, options: []
    uncalculated: Callable[[Path, ReadOptions], list[str]] = lambda path, options: []
    schema_caveat: Callable[[Path], str] = lambda path: ""


CSV, TSV = (
    Format(
        label,
        partial(delimited.scan, separator=sign),
        delimited.explain,
        is_text=True,
        notes=partial(delimited.notes, separator=sign),
        index_columns=partial(delimited.index_columns, separator=sign),
    )
    for label, sign in (("CSV", ","), ("TSV", "\t"))
)
NDJSON = Format(
    "NDJSON", json_lines.scan, json_lines.explain, notes=json_lines.notes, schema_caveat=json_lines.schema_caveat
)
PARQUET = Format("Parquet", parquet.scan, parquet.explain, infers_types=False, index_columns=parquet.index_columns)
FOLDER = Format(
    "a folder of Parquet files",
    parquet.scan_folder,
    parquet.explain_folder,
    infers_types=False,
    index_columns=parquet.index_columns,
)
PICTURES = Format(
    "a folder of pictures",
    lambda path, expected, options: picture_folder.scan(path),
    picture_folder.explain,
    infers_types=False,
)
ARROW = Format("Arrow", arrow.scan, arrow.explain, infers_types=False, index_columns=arrow.index_columns)
EXCEL = Format(
    "a spreadsheet",
    excel.scan,
    excel.explain,
    notes=excel.notes,
    index_columns=excel.index_columns,
    uncalculated=excel.uncalculated,
)


def _notes_of_text(path: Path, options: ReadOptions, name: str) -> list[str]:
    told = f"{name!r} has the suffix of a spreadsheet, but is a text with separators, and read as one"
    return [told, *TSV.notes(path, options, name)]


TEXT_AS_EXCEL = replace(TSV, notes=_notes_of_text)

TEXT_FORMATS = {".csv": CSV, ".tsv": TSV, ".ndjson": NDJSON, ".jsonl": NDJSON}
BY_SUFFIX = {
    **{suffix + packed: found for suffix, found in TEXT_FORMATS.items() for packed in ("", ".gz", ".zst")},
    ".parquet": PARQUET,
    **dict.fromkeys((".arrow", ".feather", ".ipc"), ARROW),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), EXCEL),
}
SUFFIXES = tuple(BY_SUFFIX)

ERRORS = (pl.exceptions.PolarsError, *excel.ERRORS, OSError)
"""What the reading libraries raise, besides panics."""


def suffix_of(name: str) -> str:
    """The suffix that names the format of a file, in lower case (``.csv.gz``); empty if there is none."""
    return next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")


def is_picture_folder(path: Path) -> bool:
    """Whether a path is that of a folder with pictures and without Parquet files."""
    return path.is_dir() and not _has_file(path, (".parquet",)) and _has_file(path, SUFFIXES_OF_PICTURES)


def files_in(folder: Path) -> list[Path]:
    """The files of a folder that is a dataset, sorted by path. Raise FormatError if there are none."""
    return picture_folder.files_in(folder) if is_picture_folder(folder) else parquet.files_in(folder)


def _has_file(folder: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a folder, or one inside it, has a file with one of these suffixes."""
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        if any(name.lower().endswith(suffixes) and not name.startswith((".", "_")) for name in names):
            return True
    return False


def format_of(path: Path) -> Format:
    """The format of a file or folder. Raise FormatError if no format fits, OSError if the path does not exist."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return PICTURES if is_picture_folder(path) else FOLDER
    if not stat.S_ISREG(mode):
        raise FormatError("it is not a regular file", "name a file, or a folder of Parquet files")
    suffix = suffix_of(path.name)
    if not suffix:
        raise FormatError("its format is not known", f"use a file that ends in {', '.join(SUFFIXES)}")
    found = BY_SUFFIX[suffix]
    return TEXT_AS_EXCEL if found is EXCEL and excel.is_text(path) else found
