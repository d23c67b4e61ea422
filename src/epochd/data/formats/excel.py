"""Excel and OpenDocument: the first sheet, its first line the header.

A sheet has a million rows at most, so it is read into memory. Text that stands for a missing value is one,
and a column of text that is all numbers becomes numbers, so that a table reads the same from .xlsx as from .csv.
"""

from collections.abc import Sequence
from pathlib import Path

import fastexcel
import polars as pl

from epochd.data.formats.errors import Unreadable, checked_names, in_short
from epochd.data.formats.type_inference import MISSING, Expected, as_text

OLE, ZIP = bytes.fromhex("d0cf11e0a1b11ae1"), b"PK"
AS_XLSX = "open it and save it again as .xlsx, or as .csv in UTF-8"

Broken = fastexcel.FastExcelError


def scan(path: Path, expected: Expected) -> pl.LazyFrame:
    # Polars gives columns of the same name other names, so the header is read by itself.
    top = fastexcel.read_excel(path).load_sheet(0, header_row=None, n_rows=1, dtypes="string").to_polars()
    if not top.height:
        raise Unreadable("its first sheet is empty", "put the table on the first sheet, the columns' names on top")
    frame = _sheet(path)
    if not frame.height:
        raise Unreadable("there is a header line, but no row below it", "add rows")
    named = [(column, name) for column, name in zip(frame, top.row(0), strict=True) if name or not _is_empty(column)]
    names = checked_names([name for _, name in named])
    columns = {name: column for (column, _), name in zip(named, names, strict=True)}
    numbers = {name: _numbers(column) for name, column in columns.items()}
    texts = as_text({name: column.dtype for name, column in numbers.items()}, expected)
    again = _sheet(path, [columns[name].name for name in texts]) if texts else frame
    read = {name: _present(again[columns[name].name]) for name in texts}
    return pl.DataFrame([column.alias(name) for name, column in (numbers | read).items()]).lazy()


def explain(path: Path, error: BaseException) -> Unreadable:
    with path.open("rb") as file:
        head = file.read(8)
    suffix = path.suffix.lower()
    if not head:
        return Unreadable("the file is empty", AS_XLSX)
    if "password" in str(error).lower() or (head == OLE and suffix != ".xls"):
        return Unreadable("it is protected by a password (or is an old .xls)", f"take the password off: {AS_XLSX}")
    if suffix != ".xls" and not head.startswith(ZIP):
        return Unreadable(f"it is no {suffix} file (it begins with {head[:4]!r})", AS_XLSX)
    return Unreadable(f"the file is damaged ({_plain(error)})", AS_XLSX)


def _sheet(path: Path, texts: Sequence[str] = ()) -> pl.DataFrame:
    """The first sheet, every cell of these columns as text."""
    types = dict.fromkeys(texts, pl.String())
    return pl.read_excel(
        path, engine="calamine", infer_schema_length=None, drop_empty_cols=False, schema_overrides=types
    )


def _is_empty(column: pl.Series) -> bool:
    return column.null_count() == len(column)


def _numbers(column: pl.Series) -> pl.Series:
    if column.dtype != pl.String:
        return column
    text = _present(column)
    for dtype in (pl.Int64, pl.Float64):
        numbers = text.cast(dtype, strict=False)
        if numbers.null_count() == text.null_count():
            return numbers
    return text


def _present(text: pl.Series) -> pl.Series:
    """Text, null for each word that means a missing value."""
    return text.replace(dict.fromkeys(MISSING))


def _plain(error: BaseException) -> str:
    return in_short(error).removeprefix("calamine error: ")
