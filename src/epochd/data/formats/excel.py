"""Excel and OpenDocument: one sheet, by default the first visible one, with a header below any titles.

A sheet has a million rows at most, so it is read into memory. The value of merged cells, which a file has once, is
given to all of them. A column of several types is text.
"""

import codecs
import logging
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, time
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import fastexcel
import numpy as np
import polars as pl
import python_calamine
from python_calamine import CalamineSheet, CalamineWorkbook, SheetMetadata, SheetTypeEnum, SheetVisibleEnum

from epochd.core.columns import ReadOptions
from epochd.core.text import shown
from epochd.data.formats import examined, header
from epochd.data.formats.errors import FormatError, clean_column_names, short_message
from epochd.data.formats.type_inference import Expected, columns_as_text
from epochd.data.schema import MAX_LISTED, shorten

OLE, ZIP = bytes.fromhex("d0cf11e0a1b11ae1"), b"PK"
BLANKS = codecs.BOM_UTF8 + b" \t\r\n"
AS_XLSX = "open it and save it again as .xlsx, or as .csv in UTF-8"
RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
CALCULATE = "open it in Excel or LibreOffice, which calculate them, and save it"
AS_SHEET = "open it in Excel or LibreOffice, and save it as .xlsx"
ERRORS = (fastexcel.FastExcelError, python_calamine.CalamineError)
HEAD_ROWS = 200
"""Rows at the top that are searched for the header."""
DAYS_OF_TIMES = (date(1899, 12, 30), date(1899, 12, 31), date(1904, 1, 1))
"""The days that times of day have in a workbook, which has no other type for them."""
TIME_AS_TEXT = r"^(?:1899-12-3[01]|1904-01-01) (\d\d:\d\d:\d\d(?:\.\d+)?)$"
logging.getLogger("fastexcel").setLevel(logging.ERROR)  # it warns of each column without values
Area = tuple[int, int, int, int]
"""The first and last row, the first and last column of merged cells."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the table is. ``sheet`` is the name of one of ``sheets``; rows are counted from 0, and ``row`` is that of
    the header, whose cells are ``names``. ``merged`` are areas below it, relative to its row and first column."""

    sheet: str
    sheets: int
    is_declared: bool
    row: int
    first_column: int
    names: list[str]
    titles: list[tuple[int, str]]
    merged: list[Area]
    values_as_names: list[str]
    uncalculated: list[str]
    """Columns of formulas that no program has calculated."""

    def notes(self, name: str) -> list[str]:
        """What is told about a dataset of this name."""
        found = []
        if self.sheets > 1 and not self.is_declared:
            found.append(
                f"the sheet {shown(self.sheet)} of {name!r} is read, the first visible one of {self.sheets}; set sheet "
                "to read another"
            )
        for row, title in self.titles[: header.MAX_TOLD]:
            found.append(f"row {row} of {name!r} is skipped, because it is above the header: {shown(title, 80)}")
        if len(self.titles) > header.MAX_TOLD:
            found.append(
                f"{len(self.titles) - header.MAX_TOLD} more of the rows above the header of {name!r} are skipped"
            )
        if self.merged:
            areas = shorten([self._reference(area) for area in self.merged], 3)
            found.append(f"each of the merged cells of {name!r} is read with their value: {areas}")
        for column in self.uncalculated[:MAX_LISTED]:
            found.append(f"the formulas of column {column!r} in {name!r} have no values: {CALCULATE}")
        if self.values_as_names:
            found.append(header.note_of_values(name, self.values_as_names))
        return found

    def _reference(self, area: Area) -> str:
        top, bottom, left, right = area
        first = f"{_letters(self.first_column + left)}{self.row + 2 + top}"
        return f"{first}:{_letters(self.first_column + right)}{self.row + 2 + bottom}"


def scan(path: Path, expected: Expected, options: ReadOptions) -> Iterator[pl.LazyFrame]:
    found = examine(path, options)
    frame = _read(path, found)
    if not frame.height:
        raise FormatError("there is a header line, but no row below it", "add rows")
    given = header.with_index_name(found.names)
    named = [(c, name) for c, name in zip(frame, given, strict=True) if name.strip() or c.null_count() < len(c)]
    places = {name: place for place, name in enumerate(frame.columns, found.first_column)}
    unnamed = {c.name: c.drop_nulls() for c, name in named if not name.strip()}
    if unnamed:
        raise header.no_name({_letters(places[name]): str(values[0]) for name, values in unnamed.items()})
    names = clean_column_names([name for _, name in named])
    columns = {name: column for (column, _), name in zip(named, names, strict=True)}
    as_text = columns_as_text({name: column.dtype for name, column in columns.items()}, expected)
    as_written = _read(path, found, [columns[name].name for name in as_text]) if as_text else frame
    read = {name: as_written[columns[name].name] for name in as_text}
    yield pl.DataFrame([column.alias(name) for name, column in (columns | read).items()]).lazy()


def notes(path: Path, options: ReadOptions, name: str) -> list[str]:
    """What is told about how the file of a dataset of this name is read."""
    return examine(path, options).notes(name)


def index_columns(path: Path, options: ReadOptions) -> list[str]:
    """The columns that are an index by their name."""
    return header.index_columns(header.with_index_name(examine(path, options).names))


def uncalculated(path: Path, options: ReadOptions) -> list[str]:
    """The columns of formulas without values."""
    return examine(path, options).uncalculated


def is_text(path: Path) -> bool:
    """Whether a file is text with separators, as many programs write it for Excel, with the suffix of a workbook."""
    with path.open("rb") as file:
        head = file.read(1 << 14)
    is_wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if head.startswith((OLE, ZIP)) or head.lstrip(BLANKS).startswith(b"<") or (b"\0" in head and not is_wide):
        return False
    return b"\n" in head and any(sign in head for sign in (b"\t", b",", b";"))


def explain(path: Path, error: BaseException) -> FormatError:
    with path.open("rb") as file:
        head = file.read(64)
    suffix = path.suffix.lower()
    if not head:
        return FormatError("the file is empty", AS_XLSX)
    if (start := head.lstrip(BLANKS)).startswith(b"<"):
        kind = "XML" if start.startswith(b"<?xml") else "HTML"
        return FormatError(f"it is a page of {kind} with the suffix of a spreadsheet", AS_SHEET)
    if "password" in str(error).lower() or (head.startswith(OLE) and suffix != ".xls"):
        return FormatError("it is protected by a password (or is an old .xls)", f"remove the password: {AS_XLSX}")
    if suffix != ".xls" and not head.startswith(ZIP):
        return FormatError(f"it is not a {suffix} file (it begins with {head[:4]!r})", AS_XLSX)
    reason = short_message(error).removeprefix("calamine error: ")
    return FormatError(f"the file is damaged ({reason})", AS_XLSX)


def examine(path: Path, options: ReadOptions) -> Layout:
    """Where the table is in a file. Raises FormatError if there is none, or no such sheet."""
    return examined.once(path, (options.sheet,), lambda: _layout(path, options.sheet))


def _layout(path: Path, declared: str | int | None) -> Layout:
    with CalamineWorkbook.from_path(path) as book:
        sheets = [sheet for sheet in book.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
        name = _chosen(sheets, declared)
        sheet = book.get_sheet_by_name(name)
        rows = _head(sheet)
        if not rows or sheet.start is None:
            raise FormatError(f"its sheet {shown(name)} is empty", "put the table on it, or set sheet to another one")
        above = header.title_rows([row for _, row in rows])
        names, below = rows[above][1], [cells for _, cells in rows[above + 1 :]]
        header.check_levels(names, below)
        row, column = rows[above][0], sheet.start[1]
        ranges = sorted(sheet.merged_cell_ranges or ())
        merged = [
            (max(top - row - 1, 0), bottom - row - 1, left - column, right - column)
            for (top, left), (bottom, right) in ranges
            if top > row
        ]
    return Layout(
        sheet=name,
        sheets=len(sheets),
        is_declared=declared is not None,
        row=row,
        first_column=column,
        names=names,
        titles=[(number + 1, " ".join(filter(None, cells))) for number, cells in rows[:above]],
        merged=merged,
        values_as_names=header.values_in_header(names, below),
        uncalculated=_uncalculated(path, name, {column + place: name for place, name in enumerate(names)}, below),
    )


def _uncalculated(path: Path, sheet: str, names: Mapping[int, str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The names of columns, by their number, that have formulas in an .xlsx file and no value in the first rows."""
    first = min(names)
    empty = [place for place in names if not any(row[place - first].strip() for row in rows)]
    if not empty or not rows or not zipfile.is_zipfile(path):
        return []
    with suppress(KeyError, StopIteration, ElementTree.ParseError), zipfile.ZipFile(path) as book:
        sheets = ElementTree.fromstring(book.read("xl/workbook.xml")).iter()
        key = next(of.get(RELATION) for of in sheets if of.tag.endswith("}sheet") and of.get("name") == sheet)
        related = ElementTree.fromstring(book.read("xl/_rels/workbook.xml.rels")).iter()
        file = next(of.get("Target", "") for of in related if of.get("Id") == key)
        content = book.read(file.removeprefix("/") if file.startswith("/") else f"xl/{file}")
        return [
            names[place]
            for place in empty
            if re.search(rb'<c r="%s\d+"[^>]*>\s*<f' % _letters(place).encode(), content)
        ]
    return []


def _chosen(sheets: Sequence[SheetMetadata], declared: str | int | None) -> str:
    """The name of the sheet that is read: the declared one, or the first visible one."""
    names = [sheet.name for sheet in sheets]
    visible = [sheet.name for sheet in sheets if sheet.visible == SheetVisibleEnum.Visible]
    if declared is None and (visible or names):
        return (visible or names)[0]
    if isinstance(declared, str) and declared in names:
        return declared
    if isinstance(declared, int) and 1 <= declared <= len(names):
        return names[declared - 1]
    listed = [f"{number} {shown(name)}" for number, name in enumerate(names, 1)]
    raise FormatError(f"it has no sheet {shown(declared)}", f"its sheets are {shorten(listed, 20)}; set sheet to one")


def _head(sheet: CalamineSheet) -> list[tuple[int, list[str]]]:
    """The first rows that are not blank, as text, each with its number from 0."""
    first = sheet.start[0] if sheet.start else 0
    rows = ((number, [_text(value) for value in row]) for number, row in enumerate(sheet.iter_rows()))
    return [
        (number, row) for number, row in islice(rows, first, first + HEAD_ROWS) if any(cell.strip() for cell in row)
    ]


def _text(value: Any) -> str:
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if is_whole else str(value)


def _read(path: Path, found: Layout, as_text: Sequence[str] = ()) -> pl.DataFrame:
    """The rows below the header that are not blank, with these columns as text."""
    # Rows are skipped from the first one of the sheet on; the columns begin at the first one with a value.
    sheet = fastexcel.read_excel(path).load_sheet(
        found.sheet,
        header_row=None,
        skip_rows=found.row + 1,
        schema_sample_rows=None,
        dtypes=dict.fromkeys(as_text, "string") if as_text else None,
        whitespace_as_null=True,
    )
    frame = sheet.to_polars()
    is_row = frame.select(is_row=pl.any_horizontal(pl.all().is_not_null()))["is_row"]
    return pl.DataFrame([_narrowed(column) for column in _filled(frame, found.merged).filter(is_row)])


def _filled(frame: pl.DataFrame, merged: Sequence[Area]) -> pl.DataFrame:
    """The table with the value of merged cells in all of them."""
    columns = frame.get_columns()
    for place, column in enumerate(columns):
        rows = np.arange(frame.height)
        areas = [area for area in merged if area[2] <= place <= area[3]]
        for top, bottom, left, _ in areas:
            if left == place:
                rows[top : bottom + 1] = top
        columns[place] = column.gather(rows.tolist()) if areas else column
        for top, bottom, left, _ in areas:
            if left < place and columns[left].dtype == column.dtype:
                given = columns[left].slice(top, bottom + 1 - top)
                columns[place] = pl.concat([columns[place].head(top), given, columns[place].slice(bottom + 1)])
    return pl.DataFrame(columns)


def _narrowed(column: pl.Series) -> pl.Series:
    """Numbers that are whole as integers, times that are all midnight as dates, and those of the day that Excel gives
    to times without one as times: Excel has one type for all."""
    if column.dtype == pl.String:
        return column.str.replace(TIME_AS_TEXT, "$1")
    if isinstance(column.dtype, pl.Datetime):
        if column.dt.date().is_in(DAYS_OF_TIMES).all() and column.count():
            return column.dt.time()
        return column.dt.date() if (column.dt.time() == time()).all() else column.dt.cast_time_unit("us")
    if column.dtype == pl.Float64:
        whole = column.cast(pl.Int64, strict=False)
        return (
            whole if (whole.cast(pl.Float64) == column).all() and whole.null_count() == column.null_count() else column
        )
    return column


def _letters(column: int) -> str:
    """The letters of a column, counted from 0: A, …, Z, AA, …"""
    return ("" if column < 26 else _letters(column // 26 - 1)) + chr(ord("A") + column % 26)
