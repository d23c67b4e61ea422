"""The header of a table: which of the first rows it is, and whether its names look like values.

Exports and spreadsheets often begin with a title, a date or a comment, each in a row with few cells. The header is the
first row below them that names most columns, with texts only.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from epochd.core.text import shown
from epochd.data.formats.errors import FormatError, clean_column_names

MAX_TOLD = 5
"""Rows above the header that are told one by one."""
MAX_TITLE_ROWS = 100
"""Rows above the header that are searched for titles."""
NUMBER = re.compile(r"[-+(]?\s*[$€£¥￥]?\s*\d[\d.,' ]*([eE][-+]?\d+)?\s*%?\)?")
DATE = re.compile(r"\d{1,4}[-/.年]\d{1,2}([-/.月]\d{1,4}日?)?([ T]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2}.*)?")
YEAR = re.compile(r"(19|20)\d\d")
INDEX_NAME = "Unnamed: 0"
"""What pandas calls the index that it has written without a name."""
INDEX = re.compile(r"\s*(Unnamed: 0(\.\d+)*|__index_level_\d+__)\s*")
"""What pandas calls indexes in files that it has written or read."""

Row = Sequence[str]


def title_rows(rows: Sequence[Row]) -> int:
    """The number of rows above the header. ``rows`` are the first ones of a table, without blank ones."""
    below = [_filled(row) for row in rows[1:]]
    width = max(below, default=0)
    if width < 2 or not rows or _is_index_header(rows[0], width):
        return 0
    usual = Counter(map(len, rows)).most_common(1)[0][0]
    for number, row in enumerate(rows[: MAX_TITLE_ROWS + 1]):
        filled, is_comment = _filled(row), row[0].startswith("#") and len(row) != usual
        if filled < 2 or filled * 2 <= width or is_comment:
            continue
        others = rows[number + 1 :]
        same = sum(len(other) == len(row) for other in others)
        return number if _are_names(row, others) and same > 0.8 * len(others) else 0
    return 0


def _are_names(row: Row, below: Sequence[Row]) -> bool:
    """Whether no cell is a value: years may be names of columns that are not of years."""
    values = [place for place, cell in enumerate(row) if is_value(cell)]
    years = [place for place in values if YEAR.fullmatch(row[place].strip())]
    of_years = [all(YEAR.fullmatch(other[place].strip()) for other in below if place < len(other)) for place in years]
    return values == years and not any(of_years) and len(values) < _filled(row)


def _is_index_header(row: Row, width: int) -> bool:
    """Whether only the first cell is empty: pandas leaves the name of an index empty."""
    return len(row) >= width and not row[0].strip() and all(cell.strip() for cell in row[1:width])


def values_in_header(names: Row, rows: Sequence[Row]) -> list[str]:
    """The names that look like values, if the header seems to be a row of values: each column of numbers or dates has a
    number or a date for its name. Numbers that count columns or years (0, 1, 2, …) are names."""
    columns = [[row[place] for row in rows if place < len(row) and row[place].strip()] for place in range(len(names))]
    typed = [name for name, values in zip(names, columns, strict=True) if values and all(map(is_value, values))]
    found = [name for name in typed if is_value(name)]
    if not found or len(found) < len(typed):
        return []
    counted = [int(name) for name in found if name.strip().isdecimal()]
    is_count = len(counted) == len(found) > 1 and counted == list(range(counted[0], counted[0] + len(counted)))
    return [] if is_count else found


def note_of_values(name: str, values: Row) -> str:
    """What is told about a dataset of this name, whose header has these ``values_in_header``."""
    given = ", ".join(shown(value, 40) for value in values[:3])
    return (
        f"the first line of {name!r} is read as the names of the columns, but {given} look like values; if the file "
        "has no header line, add one"
    )


def with_index_name(names: Row) -> list[str]:
    """The names; that of an index for the first one if it is the only one that is empty."""
    is_index = len(names) > 1 and not names[0].strip() and all(name.strip() for name in names[1:])
    return [free_index_name(names), *names[1:]] if is_index else list(names)


def free_index_name(names: Row) -> str:
    """What pandas calls one more index, beside columns of these names: INDEX_NAME, with as many ``.1`` as it takes."""
    name = INDEX_NAME
    while name in names:
        name += ".1"
    return name


def no_name(values: Mapping[str, str]) -> FormatError:
    """The error of columns that have values, but no name: by their numbers or letters, the first value of each."""
    column, value = next(iter(values.items()))
    hint = "name it in the header, or delete what stands below; if it is the index of pandas, write it with index=False"
    return FormatError(f"column {column} has no name, but values such as {shown(value, 40)}", hint)


def index_columns(names: Iterable[str]) -> list[str]:
    """The names that pandas gives to indexes."""
    return [name.strip() for name in names if INDEX.fullmatch(name)]


def check_names(names: Row) -> list[str]:
    """As ``clean_column_names``, but names may be empty: whether these columns have values is not known yet."""
    return clean_column_names([name if name.strip() else unnamed(place) for place, name in enumerate(names)])


def check_levels(names: Row, rows: Sequence[Row]) -> None:
    """Raise FormatError if the names, of which some are empty or occur twice, and the first row below them seem to be
    two levels of one header: texts, above columns of values."""
    if len(rows) < 2 or len(rows[0]) != len(names):
        return
    upper, lower = [[cell.strip() for cell in row] for row in (names, rows[0])]
    repeated = [name for name, count in Counter(upper).items() if count > 1 or not name]
    is_split = any(name in repeated and below for name, below in zip(upper[1:], lower[1:], strict=True))
    typed = [place for place, below in enumerate(lower) if below and _are_values(rows[1:], place)]
    if is_split and typed and not any(map(is_value, lower)) and _filled(lower) >= 2:
        above, below = (shown(", ".join(row), 60) for row in (upper, lower))
        reason = f"there seem to be two header rows, {above} and {below} below it"
        raise FormatError(reason, "write one row with a name for each column, and delete the other")


def _are_values(rows: Sequence[Row], place: int) -> bool:
    cells = [row[place] for row in rows if place < len(row) and row[place].strip()]
    return bool(cells) and all(map(is_value, cells))


def unnamed(place: int) -> str:
    """What a column without a name is called until it is known to have no values."""
    return f"\0{place}"


def _filled(row: Row) -> int:
    return sum(bool(cell.strip()) for cell in row)


def is_value(cell: str) -> bool:
    """Whether a cell is a number, a date or a time."""
    text = cell.strip()
    return bool(NUMBER.fullmatch(text) or DATE.fullmatch(text))
