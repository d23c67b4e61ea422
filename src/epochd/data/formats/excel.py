"""Excel and OpenDocument: the first sheet, its first line the header.

A sheet has a million rows at most, so it is read into memory. A column of several types is text.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import fastexcel
import polars as pl

from epochd.core.columns import ReadOptions
from epochd.data.formats.errors import FormatError, clean_column_names, short_message
from epochd.data.formats.type_inference import Expected, columns_as_text

OLE, ZIP = bytes.fromhex("d0cf11e0a1b11ae1"), b"PK"
AS_XLSX = "open it and save it again as .xlsx, or as .csv in UTF-8"


def scan(path: Path, expected: Expected, options: ReadOptions) -> Iterator[pl.LazyFrame]:
    # Polars renames duplicate columns, so the header is read separately.
    header = fastexcel.read_excel(path).load_sheet(0, header_row=None, n_rows=1, dtypes="string").to_polars()
    if not header.height:
        raise FormatError("its first sheet is empty", "put the table on the first sheet, its header in the first row")
    frame = _sheet(path)
    if not frame.height:
        raise FormatError("there is a header line, but no row below it", "add rows")
    named = [(c, name) for c, name in zip(frame, header.row(0), strict=True) if name or c.null_count() < len(c)]
    names = clean_column_names([name for _, name in named])
    columns = {name: column for (column, _), name in zip(named, names, strict=True)}
    as_text = columns_as_text({name: column.dtype for name, column in columns.items()}, expected)
    as_written = _sheet(path, [columns[name].name for name in as_text]) if as_text else frame
    read = {name: as_written[columns[name].name] for name in as_text}
    yield pl.DataFrame([column.alias(name) for name, column in (columns | read).items()]).lazy()


def explain(path: Path, error: BaseException) -> FormatError:
    with path.open("rb") as file:
        head = file.read(8)
    suffix = path.suffix.lower()
    if not head:
        return FormatError("the file is empty", AS_XLSX)
    if "password" in str(error).lower() or (head == OLE and suffix != ".xls"):
        return FormatError("it is protected by a password (or is an old .xls)", f"remove the password: {AS_XLSX}")
    if suffix != ".xls" and not head.startswith(ZIP):
        return FormatError(f"it is not a {suffix} file (it begins with {head[:4]!r})", AS_XLSX)
    reason = short_message(error).removeprefix("calamine error: ")
    return FormatError(f"the file is damaged ({reason})", AS_XLSX)


def _sheet(path: Path, as_text: Sequence[str] = ()) -> pl.DataFrame:
    """The first sheet, with these columns as text."""
    types = dict.fromkeys(as_text, pl.String())
    return pl.read_excel(
        path, engine="calamine", infer_schema_length=None, drop_empty_cols=False, schema_overrides=types
    )
