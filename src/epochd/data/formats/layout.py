"""The layout of a text file with separators: its encoding, separator, header, and whether its lines are regular.

All bytes are read once. In a regular file each line has as many separators as the header and quotes stand at the ends
of values, so that Polars reads it as everyone would. Any other file is read row by row: blank lines are no rows, a
quote inside a value is part of it, and a line with too few or too many values is refused. Polars would fill short rows.
Footers, which are lines of a single text at the end, are skipped.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

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
RULE, BLANK_LINE = set("-+|=: "), "\n"
FOOTER = re.compile(r"[-=_*#~ ]{3,}|[(（\[【].*|共.*")
"""A line of signs, ``(40 rows affected)``, ``共40笔记录``."""
SENTENCE = re.compile(r"[^:：]*[:：](?!//).*|(\S+\s+){2,}\S+")
"""A line with a colon, or with three words; it may be the beginning of a row in a file that was cut off."""
MAX_FOOTERS = 20
SAMPLE_LINES = 200
LF, CR, QUOTE = b'\n\r"'
ZERO = ord("0")
BEFORE_NUMBER = b" \"'+-"
Added = Literal["", "empty", "index"]
Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]
BLANK = re.compile(rb"(?:\A|\n)[ \t\r]*\n")
csv.field_size_limit(1 << 26)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is read. ``names`` are the cells of the header; ``skipped`` are the lines before the first row, and
    ``titles`` those of them that are above the header, by number and text; ``footers`` are those below the last row."""

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
    footers: list[tuple[int, str]] = field(default_factory=list)
    added: Added = ""
    """What the lines have beside the named columns."""
    is_ruled: bool = False
    """Whether lines begin and end with bars, and have lines of dashes between them, which are no rows."""

    def rows(self) -> Iterator[list[str]]:
        """All rows below the header. Raises FormatError for one that has more or fewer values than the header."""
        width, footers = len(self.names), {line for line, _ in self.footers}
        lines = _lines(self.text, escapes_quotes=self.escapes_quotes, is_ruled=self.is_ruled)
        for line, row in _rows(lines, self.separator, self.skipped):
            if len(row) == width:
                yield row
            elif line not in footers:
                raise self._wrong_length(line, row)

    def _wrong_length(self, line: int, row: list[str]) -> FormatError:
        width, sign = len(self.names), SEPARATORS.get(self.separator, "separators")
        reason = f"line {line} has {_number(len(row), 'value')}, but the header names {_number(width, 'column')}"
        if self.added:
            reason = f"line {line} has {_number(len(row), 'value')}, but the first lines below the header have {width}"
        if len(row) > width:
            return FormatError(reason, f"put quotes around values that contain {sign}")
        if len(row) == 1 and not header.is_value(row[0]):
            text = shown(row[0].strip(), 40)
            hint = f"if {text} is a footer or a comment, delete the line; otherwise write all {sign} of the line"
            return FormatError(reason, hint)
        return FormatError(reason, f"write all {sign} of the line, also where values are missing")

    def notes(self, name: str) -> list[str]:
        """What is told about a dataset of this name: what was detected rather than said."""
        found = self.text.notes(name)
        if not self.is_usual:
            sign = SEPARATORS.get(self.separator, shown(self.separator))
            found.append(f"the values of {name!r} are separated by {sign}, which was detected")
        found += self._skipped(name)
        if self.added == "empty":
            found.append(
                f"the lines of {name!r} end in a separator and its header does not, so the empty column at the end "
                "is left out"
            )
        if self.added == "index":
            found.append(
                f"the header of {name!r} names one column less than its lines have, as R writes row names: the first "
                f"column, {self.names[0]!r} here, is taken for them"
            )
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

    def _skipped(self, name: str) -> list[str]:
        """What is told about lines that are no rows."""
        found = []
        for line, title in self.titles[: header.MAX_TOLD]:
            found.append(f"line {line} of {name!r} is skipped, because it is above the header: {shown(title, 80)}")
        if len(self.titles) > header.MAX_TOLD:
            found.append(
                f"{len(self.titles) - header.MAX_TOLD} more of the lines above the header of {name!r} are skipped"
            )
        for line, footer in self.footers:
            found.append(f"line {line} of {name!r} is skipped, because it looks like a footer: {shown(footer, 80)}")
        if self.is_ruled:
            found.append(f"lines of dashes in {name!r} are skipped, and bars at both ends of its lines left out")
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


def _lines(content: Text, *, escapes_quotes: bool, is_ruled: bool = False) -> Iterator[str]:
    lines = map(_doubled, content.lines()) if escapes_quotes else content.lines()
    return (BLANK_LINE if _is_rule(line) else line for line in lines) if is_ruled else lines


def _is_rule(line: str) -> bool:
    """Whether a line is one of dashes between the rows of a printed table."""
    return "---" in line and RULE.issuperset(line.strip())


def _has_rules(lines: list[str]) -> bool:
    """Whether most lines begin and end with bars, and others are rules: lists of SAP, tables of MySQL or Markdown."""
    rows = [line.strip() for line in lines if line.strip() and not _is_rule(line)]
    barred = sum(len(row) > 1 and row[0] == row[-1] == "|" for row in rows)
    return 2 * barred > len(rows) and any(map(_is_rule, lines))


def _layout(content: Text, usual: str, *, escapes_quotes: bool = False) -> Layout:
    lines = list(islice(_lines(content, escapes_quotes=escapes_quotes), SAMPLE_LINES))
    is_ruled = _has_rules(lines)
    all_lines = partial(_lines, content, escapes_quotes=escapes_quotes, is_ruled=is_ruled)
    lines = list(islice(all_lines(), SAMPLE_LINES))
    declared = DECLARED.fullmatch(next(line for line in lines if line.strip()))
    before = 1 + next(number for number, line in enumerate(lines) if line.strip()) if declared else 0
    separator = declared[1] if declared else _separator(lines, usual)
    sample = _parsed(lines[before:], separator) or [next(_rows(all_lines(), separator, before))]
    ends, rows = [before + end for end, _ in sample], [row for _, row in sample]
    above = header.title_rows(rows)
    names, rows = rows[above], rows[above + 1 :]
    rows = rows or [row for _, row in islice(_rows(all_lines(), separator, ends[above]), 1)]
    _check_header(names, rows, separator)
    if len(names) > 2 and not names[-1].strip() and all(len(row) in (1, len(names) - 1) for row in rows):
        names = names[:-1]  # only the header ends in a separator
    values_as_names = header.values_in_header(names, rows)
    added = _added(names, rows, are_quoted=all(lines[end - 1].startswith('"') for end in ends[above:]))
    names = [*names, ""] if added == "empty" else [header.free_index_name(names), *names] if added else names
    found = _regularity(content, separator, len(names), skipped=ends[above])
    is_regular = found.is_regular and not escapes_quotes and not is_ruled
    return Layout(
        content,
        separator,
        header.with_index_name(names),
        skipped=ends[above],
        titles=[
            _title(lines, separator, begin, end) for begin, end in zip([before, *ends], ends[:above], strict=False)
        ],
        is_usual=separator == usual or len(names) == 1,
        values_as_names=values_as_names,
        is_regular=is_regular,
        stray_quote=None if escapes_quotes else found.stray_quote,
        escapes_quotes=escapes_quotes,
        may_have_zeros=found.may_have_zeros or not is_regular,
        footers=_footers(content, found.end, separator) if len(names) > 1 else [],
        added=added,
        is_ruled=is_ruled,
    )


def _title(lines: list[str], separator: str, begin: int, end: int) -> tuple[int, str]:
    """The number and the text of the lines of a row above the header, which are the last ones of these."""
    begin += next(place for place, line in enumerate(lines[begin:end]) if line.strip(separator + " \t\r\n"))
    return begin + 1, "".join(lines[begin:end]).strip()


def _added(names: list[str], rows: list[list[str]], *, are_quoted: bool) -> Added:
    """What the first rows have beside the named columns, if each has one value more: an empty one at the end, or in
    front a row name of R. Those count the rows, or are texts in quotes (``are_quoted``: each row begins with one), of
    which none occurs twice."""
    rows = [row for row in rows if len(row) > 1]
    if not rows or any(len(row) != len(names) + 1 for row in rows):
        return ""
    if not any(row[-1].strip() for row in rows):
        return "empty"
    first = [row[0] for row in rows]
    counts = first[0].isdecimal() and first == [str(int(first[0]) + place) for place in range(len(first))]
    is_name = counts or (are_quoted and len(set(first)) == len(first))
    return "index" if is_name and len(names) > 1 and len(rows) > 1 else ""


def _footers(content: Text, end: bytes, separator: str) -> list[tuple[int, str]]:
    """The lines after the last row that are a single text which is no value, by number; ``end`` are the last lines."""
    lines = end.decode().split("\n")
    found: list[tuple[int, str]] = []
    for place in reversed(range(len(lines))):
        line = lines[place].strip()
        is_cut = not found and place == len(lines) - 1  # without a line end
        if line and (not _is_footer(line, separator, is_cut=is_cut) or len(found) == MAX_FOOTERS):
            break
        if line:
            found.append((place, line))
    before = sum(map(_line_ends, content.pieces())) - len(lines) + 1 if found else 0
    return [(before + place + 1, line) for place, line in reversed(found)]


def _is_footer(line: str, separator: str, *, is_cut: bool) -> bool:
    is_text = not {separator, '"'} & set(line) and not header.is_value(line)
    return is_text and bool(FOOTER.fullmatch(line) or (not is_cut and SENTENCE.fullmatch(line)))


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
    header.check_levels(names, rows)
    header.check_names(names)


def _rows(lines: Iterable[str], separator: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """The rows after some lines, each with the number of its first line; blank lines are none, and neither are rows of
    empty values at the end. Raises FormatError for invalid quotes."""
    raw = [""]

    def below() -> Iterator[str]:
        for raw[0] in islice(lines, skipped, None):
            yield raw[0]

    reader = csv.reader(below(), delimiter=separator, strict=True, skipinitialspace=True)
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


class Regularity(NamedTuple):
    """Whether Polars reads all lines as rows, the line of the first quote inside a value without quotes, whether a
    value begins with a zero before another digit, and the last lines."""

    is_regular: bool
    stray_quote: int | None
    may_have_zeros: bool
    end: bytes


def _regularity(content: Text, separator: str, width: int, skipped: int) -> Regularity:
    """What is found in all lines after those skipped, which should be rows of ``width`` values. All of the text is
    read, because it is decoded so."""
    is_regular, stray, line, last, has_zeros = True, None, skipped + 1, b"", False
    parts: list[bytes] = []
    end = before = b""
    is_open = False
    for piece in content.pieces():
        before, end = end, piece
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
    return Regularity(is_regular and not is_open and not ends_empty, stray, has_zeros, before + end)


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
