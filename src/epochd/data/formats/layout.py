"""The layout of a text file with separators: its encoding, separator, header, and whether its lines are regular.

All bytes are read once. In a regular file each line has as many separators as the header and quotes stand at the ends
of values, so that Polars reads it as everyone would. Any other file is read row by row: blank lines are no rows, a
quote inside a value is part of it, and a line with too few or too many values is refused. Polars would fill short rows.
"""

import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from epochd.core.columns import Encoding
from epochd.core.text import shown
from epochd.data.formats import examined, header, text
from epochd.data.formats.errors import FormatError
from epochd.data.formats.text import Text

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
FULL_WIDTH = {"，": "full-width commas (，)", "；": "full-width semicolons (；)", "、": "ideographic commas (、)"}
DECLARED = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE)
"""A first line that tells Excel the separator."""
ESCAPED = re.compile(r'\\(["\\])')
SAMPLE_LINES = 200
LF, CR, QUOTE = b'\n\r"'
ZERO = ord("0")
BEFORE_NUMBER = b" \"'+-"
Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]
BLANK = re.compile(rb"(?:\A|\n)[ \t\r]*\n")
csv.field_size_limit(1 << 26)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is read. ``names`` are the cells of the header; ``skipped`` are the lines before the first row, and
    ``titles`` those of them that are above the header, by number and text."""

    text: Text
    separator: str
    names: list[str]
    skipped: int
    titles: list[tuple[int, str]] = field(default_factory=list)
    is_usual: bool = True
    """Whether the separator is the one that the file's name says."""
    values_as_names: list[str] = field(default_factory=list)
    is_regular: bool = True
    """Whether Polars reads the rows as they are meant."""
    escapes_quotes: bool = False
    """Whether quotes in values are written after a backslash."""
    stray_quote: int | None = None
    """The line of the first quote inside a value that is not quoted."""
    may_have_zeros: bool = True
    """Whether a value may be an integer with a leading zero."""

    def rows(self) -> Iterator[list[str]]:
        """All rows below the header. Raises FormatError for one that has more or fewer values than the header."""
        width = len(self.names)
        for line, row in _rows(self.text, self.separator, self.skipped, escapes_quotes=self.escapes_quotes):
            if len(row) == width:
                yield row
                continue
            reason = f"line {line} has {_number(len(row), 'value')}, but the header names {_number(width, 'column')}"
            sign = SEPARATORS.get(self.separator, "separators")
            if len(row) > width:
                raise FormatError(reason, f"put quotes around values that contain {sign}")
            raise FormatError(reason, f"write all {sign} of the line, also where values are missing")

    def notes(self, name: str) -> list[str]:
        """What is told about a dataset of this name: what was detected rather than said."""
        found = self.text.notes(name)
        if not self.is_usual:
            sign = SEPARATORS.get(self.separator, shown(self.separator))
            found.append(f"the values of {name!r} are separated by {sign}, which was detected")
        for line, title in self.titles:
            found.append(f"line {line} of {name!r} is skipped, because it is above the header: {shown(title, 80)}")
        if self.escapes_quotes:
            found.append(f'the quotes inside values of {name!r} are written \\", which was detected')
        if self.stray_quote is not None:
            found.append(
                f"line {self.stray_quote} of {name!r} has a quote inside a value that is not quoted; such quotes are "
                "read as part of the value"
            )
        if self.values_as_names:
            found.append(header.note_of_values(name, self.values_as_names))
        return found


def examine(path: Path, separator: str, encoding: Encoding | None) -> Layout:
    """The layout of a file. Raises FormatError if it is no such file, OSError if it cannot be read."""

    def found() -> Layout:
        return text.in_encoding(path, encoding, lambda content: _checked(content, separator))[1]

    return examined.once(path, (separator, encoding), found)


def _checked(content: Text, usual: str) -> Layout:
    """The layout. A file that cannot be read as CSV but has quotes after a backslash, as MySQL and Spark write them in
    values, is read so if that is possible."""
    try:
        found = _layout(content, usual)
        if not found.is_regular and _has_escapes(content):
            _read_all(found)
    except FormatError:
        if not _has_escapes(content):
            raise
        with suppress(FormatError):
            escaped = _layout(content, usual, escapes_quotes=True)
            _read_all(escaped)
            return escaped
        raise
    return found


def _has_escapes(content: Text) -> bool:
    return any(b'\\"' in piece for piece in content.pieces())


def _read_all(layout: Layout) -> None:
    for _ in layout.rows():
        pass


def _doubled(line: str) -> str:
    """A line whose quotes after a backslash are written twice instead, as in CSV."""
    return ESCAPED.sub(lambda found: '""' if found[1] == '"' else "\\", line)


def _lines(content: Text, *, escapes_quotes: bool) -> Iterator[str]:
    return map(_doubled, content.lines()) if escapes_quotes else content.lines()


def _layout(content: Text, usual: str, *, escapes_quotes: bool = False) -> Layout:
    lines = list(islice(_lines(content, escapes_quotes=escapes_quotes), SAMPLE_LINES))
    declared = DECLARED.fullmatch(next(line for line in lines if line.strip()))
    before = 1 + next(number for number, line in enumerate(lines) if line.strip()) if declared else 0
    separator = declared[1] if declared else _separator(lines, usual)
    sample = _parsed(lines[before:], separator) or [
        next(_rows(content, separator, before, escapes_quotes=escapes_quotes))
    ]
    ends, rows = [before + end for end, _ in sample], [row for _, row in sample]
    above = header.title_rows(rows)
    names, rows = rows[above], rows[above + 1 :]
    rows = rows or [row for _, row in islice(_rows(content, separator, ends[above], escapes_quotes=escapes_quotes), 1)]
    _check_header(names, rows, separator)
    is_regular, stray_quote, may_have_zeros = _regularity(content, separator, len(names), skipped=ends[above])
    return Layout(
        content,
        separator,
        header.with_index_name(names),
        skipped=ends[above],
        titles=[(end, lines[end - 1].strip()) for end in ends[:above]],
        is_usual=separator == usual or len(names) == 1,
        values_as_names=header.values_in_header(names, rows),
        is_regular=is_regular and not escapes_quotes,
        stray_quote=None if escapes_quotes else stray_quote,
        escapes_quotes=escapes_quotes,
        may_have_zeros=may_have_zeros or not is_regular,
    )


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _separator(lines: list[str], usual: str) -> str:
    """The separator with which most of the first lines have as many values as the header; of several that fit equally
    well, one without titles, the one with the most columns, and the usual one."""
    fits: dict[str, tuple[float, int, int]] = {}
    for sign in (usual, *SEPARATORS):
        rows = [row for _, row in _parsed(lines, sign)]
        above = header.title_rows(rows)
        if rows and (width := len(rows[above])) > 1:
            below = rows[above + 1 :]
            fits.setdefault(sign, (sum(len(row) == width for row in below) / max(1, len(below)), -above, width))
    best = max(fits, key=lambda sign: fits[sign], default=usual)
    return best if usual not in fits or fits[best][0] > 0.5 else usual


def _parsed(lines: list[str], separator: str) -> list[tuple[int, list[str]]]:
    """The rows in some lines that are not blank, each with the number of its last line, up to an error."""
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    found = []
    with suppress(csv.Error):
        for row in reader:
            if any(cell.strip() for cell in row):
                found.append((reader.line_num, row))
    return found


def _check_header(names: list[str], rows: list[list[str]], separator: str) -> None:
    """Raise FormatError if the column names are invalid, or if no row follows them."""
    sign = next((sign for sign in FULL_WIDTH if sign in names[0]), None)
    if len(names) == 1 and sign and all(row[0].count(sign) == names[0].count(sign) for row in rows):
        reason = f"its only column is {shown(names[0])}, so the values seem to be separated by {FULL_WIDTH[sign]}"
        raise FormatError(
            reason, f"replace them by {SEPARATORS.get(separator, shown(separator))}, and save the file again"
        )
    if not rows:
        raise FormatError("there is a header line, but no row below it", "add rows, one line each")
    header.check_names(names)


def _rows(
    content: Text, separator: str, skipped: int, *, escapes_quotes: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """The rows after some lines, each with the number of its first line; blank lines are none, and neither are rows of
    empty values at the end. Raises FormatError for invalid quotes."""
    raw = [""]

    def lines() -> Iterator[str]:
        for raw[0] in islice(_lines(content, escapes_quotes=escapes_quotes), skipped, None):
            yield raw[0]

    reader = csv.reader(lines(), delimiter=separator, strict=True, skipinitialspace=True)
    empty: list[tuple[int, list[str]]] = []
    line = skipped + 1
    try:
        for row in reader:
            if row and raw[0].strip():
                if len(row) > 1 and not any(row):
                    empty.append((line, row))
                else:
                    yield from empty
                    empty.clear()
                    yield line, row
            line = skipped + reader.line_num + 1
    except csv.Error as error:
        raise _bad_quotes(error, line, skipped + reader.line_num) from None


def _bad_quotes(error: csv.Error, start_line: int, line: int) -> FormatError:
    """``start_line`` is the first line of the row, ``line`` the line where reading stopped."""
    if "unexpected end" in str(error) or "field limit" in str(error):
        reason = f"line {start_line} opens a quote that is never closed"
        return FormatError(reason, 'close it, and write "" for a quote in a value')
    if "new-line" in str(error):
        return FormatError(f"line {line} has a CR inside a value without quotes", "end lines in LF or CR LF")
    reason = f"line {line} has text after the quote that closes a value"
    return FormatError(reason, 'quote the whole value, and write "" for a quote in it')


def _regularity(content: Text, separator: str, width: int, skipped: int) -> tuple[bool, int | None, bool]:
    """Whether Polars reads all lines after those skipped as rows of ``width`` values, the line of the first quote
    inside a value without quotes, and whether a value begins with a zero before another digit. All of the text is read,
    because it is decoded so."""
    is_regular, stray, line, last, has_zeros = True, None, skipped + 1, b"", False
    parts: list[bytes] = []
    is_open = False
    for piece in content.pieces():
        while skipped and piece:
            piece, skipped = piece[piece.find(b"\n") + 1 or len(piece) :], skipped - 1
        if not is_regular or not piece:
            continue
        parts.append(piece)
        was_open, is_open = is_open, is_open ^ (b'"' in piece and piece.count(b'"') % 2 == 1)
        if was_open and is_open:  # a value that goes on in the next piece
            is_regular = sum(map(len, parts)) <= text.LONGEST_LINE
            continue
        rest = b"".join(parts)
        lines = rest if rest.endswith(b"\n") else rest + b"\n"
        is_whole, place, has_zeros = _check_lines(lines, ord(separator), width, has_zeros)
        if place is not None:
            stray, is_regular = line + rest.count(b"\n", 0, place), False
        if not is_open:
            is_regular, line, last = is_regular and is_whole, line + _line_ends(rest), rest
            parts.clear()
    ends_empty = not last[last.rstrip(b"\r\n").rfind(b"\n") + 1 :].strip(separator.encode() + b" \t\r\n")
    return is_regular and not is_open and not ends_empty, stray, has_zeros


def _line_ends(piece: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(piece, np.uint8) == LF))


def _check_lines(piece: bytes, separator: int, width: int, has_zeros: bool) -> tuple[bool, int | None, bool]:
    """As ``_regularity``, for whole lines: with the place of the quote. ``has_zeros`` is what is known of those
    before."""
    data = np.frombuffer(piece, np.uint8)
    ends = (data == separator) | (data == LF)
    if b'"' in piece:
        quotes = data == QUOTE
        places = np.flatnonzero(quotes)
        opening, closing = places[::2], places[1::2]
        # The byte before the first one is the last one, a line feed.
        strays = opening[~np.isin(data[opening - 1], (separator, LF, QUOTE))]
        if len(strays):
            return False, int(strays[0]), True
        closing = closing[closing + 1 < len(data)]
        if not np.isin(data[closing + 1], (separator, LF, CR, QUOTE)).all():
            return False, None, True
        ends &= np.bitwise_xor.accumulate(quotes.view(np.uint8)) == 0
    marks = np.flatnonzero(ends)
    is_last = data[marks] == LF
    is_regular = len(marks) % width == 0 and np.count_nonzero(is_last) * width == len(marks)
    is_regular = is_regular and bool(is_last[width - 1 :: width].all())
    return is_regular and not (width == 1 and BLANK.search(piece)), None, has_zeros or _has_zeros(piece, ends)


def _has_zeros(piece: bytes, ends: npt.NDArray[np.bool_]) -> bool:
    """Whether a value begins with a 0 before another digit, possibly after a space, a quote or a sign, or two of them;
    ``ends`` are the ends of values."""
    piece, ends = b"\n" + piece, np.append(True, ends)
    data = np.frombuffer(piece, np.uint8)
    zeros = (data[1:] - ZERO <= 9) & (data[:-1] == ZERO)
    if (ends[:-2] & zeros[1:]).any():
        return True
    before = np.zeros(len(data), np.bool_)
    for sign in BEFORE_NUMBER:
        if sign in piece:
            before |= data == sign
    for _ in range(2):
        ends[1:] = ends[:-1] & before[1:]
        if (ends[:-2] & zeros[1:]).any():
            return True
    return False
