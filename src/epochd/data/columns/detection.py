"""Deciding how columns of text are read, from all their values in one pass.

Each batch of rows is reduced to the shapes of its values, in which every digit is a 9: a column of numbers or dates has
few of them. The decision is a function of the shapes and their counts, so it depends on the whole column, not on its
first rows, and is the same for the same values in every format.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from epochd.core.columns import ColumnOptions, ColumnType
from epochd.core.text import shown
from epochd.data.columns import dates, durations, number_choice, numbers, words
from epochd.data.columns.dates import DateShape
from epochd.data.columns.reading import ReadAs, Reading

STRAYS = 0.05
"""The share of values that may not fit the others: they become missing values, and a warning names them."""
MAX_SHAPES = 2_000
"""A column whose values have more shapes than this is text."""
MAX_LENGTH = 60
"""Longer values are neither numbers nor dates."""
SAMPLE = 256
"""Values of a batch that are looked at first: where most are words, and many, the batch is text."""
WORDS = 64
"""Distinct words of a sample from which on a column cannot be one of truth values."""
MAX_COUNTED = 65_536
"""Distinct values of some batches that are counted before they are looked at."""
LISTED = 3
"""Strays that a warning names."""
ABOVE_255 = r"(?:^|\.)(?:25[6-9]|2[6-9][0-9]|[3-9][0-9]{2})(?:\.|$)"
"""An address with a group above 255, which it cannot have."""
DIGIT = f"[0-9{''.join(numbers.DIGITS)}]"
ZERO = f"[0{''.join(char for char, digit in numbers.DIGITS.items() if digit == '0')}]"
SHORT_CLOCK, LONG_CLOCK = re.compile("[-+]?9+:99"), re.compile("[-+]?9+:99(?::99(?:[.,]9+)?|[.,]9+)")
"""The shapes of clocks of two parts, and of those with three parts or a fraction."""
FORMATS = 12
"""Formats of the dates of one column, at most."""


@dataclass(slots=True)
class Shape:
    """Values of one shape: how many, and the first one with its row (from 0). For a shape of dates, ``invalid`` are
    those that are no date by order of day and month: ``31/02/2024``; ``zeros`` counts those that mean a missing date:
    ``0000-00-00``. ``years`` are those of two digits by order, as strftime reads them; ``is_padded`` says whether a day
    or month before such a year has a leading zero. ``largest`` is the last value in the order of text. ``above_255``
    counts the values of a shape of addresses that have a group above 255."""

    count: int
    value: str
    row: int
    invalid: "dict[str, Shape]" = field(default_factory=dict)
    zeros: int = 0
    years: dict[str, set[int]] = field(default_factory=dict)
    is_padded: bool = False
    largest: str = ""
    above_255: int = 0

    @property
    def is_zero(self) -> bool:
        """Whether all values of a shape of digits are zero."""
        return not any(unicodedata.numeric(char, 0.0) for char in self.largest)

    def merge(self, other: "Shape") -> None:
        """Add values of the same shape in later rows."""
        self.count += other.count
        self.above_255 += other.above_255
        self.largest = max(self.largest, other.largest)
        self.zeros += other.zeros
        self.is_padded = self.is_padded or other.is_padded
        for order, years in other.years.items():
            self.years.setdefault(order, set()).update(years)
        for order, shape in other.invalid.items():
            if order in self.invalid:
                self.invalid[order].merge(shape)
            else:
                self.invalid[order] = shape


@dataclass(slots=True)
class Values:
    """What is known of the values of a column: the counts of their shapes, ``words`` that are of no shape of interest,
    and the first of these. ``zero_first`` counts integers such as ``007``, ``zero_decimals`` numbers such as
    ``0,125``. ``is_clean`` says that no value has spaces around it or is a word for a missing one, ``formulas`` that
    some are written as ``="007"``, ``has_wide_digits`` that some have full-width digits. All this is known once
    ``finish`` was called."""

    missing: Sequence[str] | None = None
    rows: int = 0
    present: int = 0
    words: int = 0
    first_word: Shape | None = None
    shapes: dict[str, Shape] = field(default_factory=dict)
    zero_first: int = 0
    zero_decimals: int = 0
    is_clean: bool = True
    formulas: bool = False
    has_wide_digits: bool = False
    _counted: list[pl.DataFrame] = field(default_factory=list)

    def add(self, series: pl.Series) -> None:
        """Count the values of the next rows."""
        first, self.rows = self.rows, self.rows + len(series)
        series = series.alias("value")
        rows = pl.DataFrame(series).with_row_index("row", first)
        sample = series.gather_every(max(1, len(series) // SAMPLE))
        if 2 * sample.n_unique() <= len(sample):  # each of few values is looked at once
            self._counted.append(rows.group_by("value").agg(pl.col("row").min(), pl.len().alias("count")))
            if sum(map(len, self._counted)) > MAX_COUNTED:
                self.finish()
        else:
            self.finish()
            rows = rows.with_columns(pl.lit(1, pl.UInt32).alias("count"))
            self._add(rows, every=max(1, len(series) // SAMPLE))

    def finish(self) -> None:
        """Look at the values that have only been counted so far."""
        if self._counted:
            counted, self._counted = pl.concat(self._counted), []
            counted = counted.group_by("value").agg(pl.col("row").min(), pl.col("count").sum())
            self._add(counted, every=1)

    def _add(self, rows: pl.DataFrame, every: int) -> None:
        """Add values (``value``), each with its first ``row`` and its ``count``. One in ``every`` is a sample."""
        raw = rows["value"]
        rows = rows.with_columns(words.cleaned(pl.col("value"), self.missing))
        if rows["value"].str.starts_with('="').any():
            self.formulas = True
            rows = rows.with_columns(words.cleaned(pl.col("value"), self.missing, formulas=True))
        self.is_clean = self.is_clean and not raw.ne_missing(rows["value"]).any()
        sample = rows.gather_every(every).drop_nulls("value")
        rows = rows.drop_nulls("value")
        self.present += _total(rows)
        if not rows.height:
            return
        if len(self.shapes) > MAX_SHAPES or _are_words(sample):
            self._add_words(rows)
            return
        short = rows["value"].str.len_bytes() <= 4 * MAX_LENGTH
        if not short.all():
            self._add_words(rows.filter(~short))
            rows = rows.filter(short)
        is_ascii = rows["value"].str.len_bytes().sum() == rows["value"].str.len_chars().sum()
        digit = "[0-9]" if is_ascii else DIGIT  # which takes longer
        self.has_wide_digits = self.has_wide_digits or (not is_ascii and rows["value"].str.contains("[０-９]").any())
        self._add_shapes(rows.with_columns(pl.col("value").str.replace_all(digit, "9").alias("shape")))
        self.zero_first += _total(rows.filter(pl.col("value").str.contains(rf"^[-+]?{ZERO}\d+$")))
        self.zero_decimals += _total(rows.filter(pl.col("value").str.contains(rf"^\D{{0,5}}{ZERO}[.,]\d")))

    def _add_shapes(self, shaped: pl.DataFrame) -> None:
        first_of = pl.col("value", "row").sort_by("row").first()
        grouped = shaped.group_by("shape").agg(pl.col("count").sum(), first_of, pl.col("value").max().alias("largest"))
        for shape, count, example, row, largest in grouped.iter_rows():
            found = Shape(count, example, row, largest=largest)
            if number_choice.ADDRESS.fullmatch(shape):
                of_shape = pl.col("shape") == shape
                found.above_255 = _total(shaped.filter(of_shape & pl.col("value").str.contains(ABOVE_255)))
            if (date := DateShape.of(shape)) is not None:
                _add_dates(found, shaped.filter(pl.col("shape") == shape), date)
            self.shapes.setdefault(shape, found)
            if self.shapes[shape] is not found:
                self.shapes[shape].merge(found)

    def _add_words(self, rows: pl.DataFrame) -> None:
        self.words += _total(rows)
        if self.first_word is None and rows.height:
            place = rows["row"].arg_min() or 0
            self.first_word = Shape(_total(rows), rows.item(place, "value"), rows.item(place, "row"))


@dataclass(frozen=True, slots=True)
class Decision:
    """How a column is read. ``strays`` values do not fit and become missing; ``examples`` are the first of them with
    their row (from 0). ``doubt`` says what else the values may mean, if anything, and ``hint`` what settles it; there
    may be ``more`` doubts, each with its hint. ``is_clean`` says that cleaning changes no value (``Values``); if not,
    it may. ``fits_none`` says that no value can be read as declared; the first one is the example. Numbers that
    ``may_be_codes`` are no labels."""

    reading: Reading
    strays: int = 0
    examples: tuple[tuple[int, str], ...] = ()
    doubt: str = ""
    hint: str = ""
    is_clean: bool = False
    fits_none: bool = False
    may_be_codes: bool = False
    more: tuple[tuple[str, str], ...] = ()

    def warnings(self, name: str) -> list[str]:
        """What a user should know of this decision for the column of this name."""
        found = []
        for doubt, hint in ((self.doubt, self.hint), *self.more):
            if doubt:
                found.append(f"column {name!r}: {doubt}; to settle it, set columns: {hint}")
        if self.strays:
            first = ", ".join(f"{shown(value)} (row {row + 1})" for row, value in self.examples[:LISTED])
            of = "1 value is" if self.strays == 1 else f"{self.strays:,} values are"
            found.append(
                f"column {name!r} is read as {self.reading.describe()}; {of} not of that form and taken as missing: "
                f"{first}{' …' if self.strays > LISTED else ''}"
            )
        return found


Attempt = Callable[[Values, ColumnOptions, str], Decision | None]
"""Reads the values as one type, given what a client says of the column of this name; None if there is no such value."""


def counted(frames: Iterable[pl.DataFrame], options: Mapping[str, ColumnOptions]) -> dict[str, Values]:
    """The values of each column of text of a table, given as ``frames`` of its rows in order."""
    values: dict[str, Values] = {}
    for frame in frames:
        for series in frame:
            of = values.setdefault(series.name, Values(options.get(series.name, ColumnOptions()).missing))
            of.add(series)
    for of in values.values():
        of.finish()
    return values


def decide(
    values: Values,
    options: ColumnOptions,
    name: str = "column",
    *,
    wanted: ColumnType | None = None,
    is_label: bool = False,
) -> Decision:
    """How to read a column of text with these values, given what a client says of it. Only the ``wanted`` type is tried
    besides text, if there is one. Of labels, no word is read as true or false, and none may be a stray."""
    missing = None if values.missing is None else tuple(values.missing)
    text = Reading(missing=missing, formulas=values.formulas)
    if options.type in ("category", "text", "identifier"):
        return Decision(text)
    if options.format and options.type in ("date", "time", None):
        checked = _declared_dates(values, options, text, name)
        return checked if checked.strays < values.present else _unread(values, text)
    attempts = _attempts(options, wanted)
    if options.type is None and not _may_have_digits(values):
        attempts = [attempt for attempt in attempts if attempt is _truth]
    for attempt in attempts:
        found = attempt(values, options, name)
        if found is None or (is_label and options.type is None and not _may_be_label(found)):
            continue
        checked = with_strays(values, replace(found.reading, missing=missing, formulas=values.formulas))
        is_declared = options.type is not None and checked.strays < values.present
        if is_declared or (are_few(checked, values) and not (is_label and checked.strays)):
            return replace(checked, doubt=found.doubt, hint=found.hint, more=found.more)
    return Decision(text) if options.type is None else _unread(values, text)


def _unread(values: Values, text: Reading) -> Decision:
    """The decision for values none of which can be read as declared."""
    first = min([*values.shapes.values(), *filter(None, [values.first_word])], key=lambda one: one.row, default=None)
    examples = () if first is None else ((first.row, first.value),)
    return Decision(text, examples=examples, fits_none=first is not None)


def _attempts(options: ColumnOptions, wanted: ColumnType | None) -> Sequence[Attempt]:
    by_type: dict[ColumnType | None, Sequence[Attempt]] = {
        **{None: (_truth, _duration, _dates, _number), "number": (_number,), "boolean": (_truth,)},
        **{"date": (_dates,), "time": (_dates,), "duration": (_duration,)},
    }
    if options.type is None and (options.decimal or options.timezone or options.last_year):
        return (_number,) if options.decimal else (_dates,)
    return by_type.get(options.type or wanted, ())


def _may_have_digits(values: Values) -> bool:
    """Whether so many values have a digit that they may be numbers, dates or durations, but for a few strays."""
    without = values.words + sum(
        shape.count
        for key, shape in values.shapes.items()
        if not (_has_digit(key) or key.lower() in words.MISSING_BESIDE_VALUES or numbers.is_nothing(key))
    )
    return without <= STRAYS * values.present


def _has_digit(shape: str) -> bool:
    """Whether there is a digit of any script."""
    return any(map(str.isnumeric, shape))


def _may_be_label(decision: Decision) -> bool:
    is_truth = decision.reading.read_as != "boolean" or decision.reading.truth == ("true", "false")
    return is_truth and not decision.may_be_codes


def are_few(decision: Decision, values: Values) -> bool:
    """Whether the strays of a decision are so few that they may become missing values."""
    beside = sum(
        shape.count if _is_missing(key, decision.reading) else shape.zeros if decision.reading.is_date else 0
        for key, shape in values.shapes.items()
    )
    return decision.strays <= STRAYS * (values.present - beside)


def _is_missing(shape: str, reading: Reading) -> bool:
    beside = reading.missing is None and shape.lower() in words.MISSING_BESIDE_VALUES
    return beside and shape.lower() not in reading.truth


def _declared_dates(values: Values, options: ColumnOptions, text: Reading, name: str) -> Decision:
    """The values are made plain first if more of them can be read so."""
    form = options.format or ""
    has_date = re.search(r"%[YymdbBjeFDG]", form) is not None
    has_clock = re.search(r"%[HIMSTRX]", form) is not None
    read_as: ReadAs = ("datetime" if has_clock else "date") if has_date else "time"
    zone = options.timezone or ("UTC" if "%z" in form else None)
    last, (doubt, hint) = _last_year(values, (form,), options, name)
    reading = replace(text, read_as=read_as, formats=(form,), zone=zone, timezone=options.timezone, last_year=last)
    found = with_strays(values, replace(reading, makes_plain=values.has_wide_digits))
    if found.strays:
        found = min(found, with_strays(values, replace(reading, makes_plain=True)), key=lambda one: one.strays)
    return replace(found, doubt=doubt, hint=hint)


def with_strays(values: Values, reading: Reading) -> Decision:
    """The decision for this reading, with the values that do not fit it, found by reading an example of each shape;
    only whether a date exists is a question of each value."""
    if reading.read_as == "text":
        return Decision(reading)
    shapes = list(values.shapes.items())
    examples = pl.Series([shape.value for _, shape in shapes], dtype=pl.String)
    cleaned = pl.select(reading.cleaned(pl.lit(examples))).to_series()
    read = pl.select(reading.parsed(pl.lit(cleaned))).to_series()
    strays: list[Shape] = []
    for (key, shape), is_present, is_read in zip(shapes, cleaned.is_not_null(), read.is_not_null(), strict=True):
        if reading.is_date and shape.zeros == shape.count:
            continue
        order = _order_of(key, reading) if reading.is_date else None
        if order is not None:
            strays += filter(None, [shape.invalid.get(order)])
        elif is_present and not is_read:
            strays.append(shape)
    if values.first_word is not None:
        strays.append(Shape(values.words, values.first_word.value, values.first_word.row))
    strays.sort(key=lambda shape: shape.row)
    first = tuple((shape.row, shape.value) for shape in strays[:LISTED])
    return Decision(reading, sum(shape.count for shape in strays), first)


def _order_of(shape: str, reading: Reading) -> str | None:
    """The order of day and month in which a reading has dates of this shape; None if it has none of its formats."""
    date = DateShape.of(shape)
    if date is None or not (date.is_plain or reading.makes_plain):
        return None
    return next((order for order, form in date.formats.items() if form in reading.formats), None)


def _truth(values: Values, options: ColumnOptions, name: str) -> Decision | None:
    if values.words:
        return None
    found = {shape.lower() for shape in values.shapes}
    for true, false in words.TRUTH:
        present = found & {true, false}
        is_pair = len(present) == 2 or (true == "true" and present)  # one word of another pair is a constant text
        if is_pair and found <= {true, false, *words.MISSING_BESIDE_VALUES}:
            return Decision(Reading("boolean", truth=(true, false)))
    is_declared = options.type == "boolean"
    pairs = [pair for pair in words.TRUTH if found & {*pair}]
    return Decision(Reading("boolean", truth=pairs[0] if pairs else ("true", "false"))) if is_declared else None


def _duration(values: Values, options: ColumnOptions, name: str) -> Decision | None:
    """Values that may all be times of day, or amounts of anything, are durations only if a client says so; clocks of
    two and of three parts are if one has a single digit first, as times of day then have not."""
    is_declared = options.type == "duration"
    shapes = [shape for key, shape in values.shapes.items() if _has_digit(key) or is_declared]
    if not shapes or len(values.shapes) > MAX_SHAPES:
        return None
    examples = [one.value for shape in shapes for one in (shape, *shape.invalid.values())]
    text = pl.lit(pl.Series(examples))
    clear = pl.select(durations.matches(text) & ~durations.ambiguous(text)).to_series()
    short, long = ([key for key in values.shapes if clock.fullmatch(key)] for clock in (SHORT_CLOCK, LONG_CLOCK))
    is_mixed = bool(short and long)
    is_unpadded = is_mixed and any(key.startswith("9:99") for key in (*short, *long))
    if not (clear.any() or is_declared or is_unpadded):
        return None
    formats = (options.format,) if options.format else durations.MINUTES_FIRST if is_mixed else ()
    reading = Reading("duration", formats=formats)
    if options.format or not short or any(key.count(":") == 1 for key in long):  # what has a fraction has minutes
        return Decision(reading)
    first, other = shown(values.shapes[short[0]].value), "%H:%M" if is_mixed else "%M:%S"
    doubt = f"{first} is read as hours and minutes, and may also mean minutes and seconds"
    if is_mixed:
        doubt = f"{first} is read as minutes and seconds, and may also mean hours and minutes"
    hint = f'{{"{name}": {{"type": "duration", "format": "{other}"}}}}'
    return Decision(reading, doubt=doubt, hint=hint)


def _number(values: Values, options: ColumnOptions, name: str) -> Decision | None:
    if values.zero_first and options.type is None and options.decimal is None:
        return None
    shapes = {shape: of.count for shape, of in values.shapes.items()}
    facts = number_choice.Facts(
        {shape: of.value for shape, of in values.shapes.items()},
        {shape for shape, of in values.shapes.items() if of.is_zero},
        {shape for shape, of in values.shapes.items() if not of.above_255},
        values.zero_decimals,
    )
    chosen = number_choice.choose(shapes, facts, options.decimal, is_number=options.type == "number")
    if chosen is None:
        return None
    hint = as_number = f'{{"{name}": {{"type": "number"}}}}'
    if chosen.settled_by == "decimal":
        other = "," if chosen.notation.decimal == "." else "."
        hint = f'{{"{name}": {{"type": "number", "decimal": "{other}"}}}}'
    elif chosen.settled_by == "codes":
        as_codes = f'{{"{name}": {{"type": "category"}}}}'
        hint = f"{as_codes} if they are codes, and {as_number} if not"
    reading = Reading("number", numbers=chosen.notation)
    return Decision(reading, doubt=chosen.doubt, hint=hint, may_be_codes=chosen.may_be_codes)


def _dates(values: Values, options: ColumnOptions, name: str) -> Decision | None:
    found = {
        key: date
        for key, shape in values.shapes.items()
        if (date := DateShape.of(key)) is not None and shape.zeros < shape.count
        if not (key in dates.COMPACT and options.type is None and shape.invalid)
    }
    if not found:
        return None
    order, is_doubtful = _order({shape: values.shapes[shape] for shape, date in found.items() if len(date.formats) > 1})
    weights: dict[str, int] = {}
    has_date = any(date.has_date for date in found.values())
    for shape, date in found.items():
        if date.has_date == has_date:
            form = date.formats[order if order in date.formats else "" if "" in date.formats else "dmy"]
            weights[form] = weights.get(form, 0) + values.shapes[shape].count
    formats = tuple(sorted(weights, key=lambda form: (-weights[form], form))[:FORMATS])
    has_clock = any(date.has_clock for date in found.values())
    read_as: ReadAs = ("datetime" if has_clock else "date") if has_date else "time"
    has_zone = any(date.has_zone for date in found.values())
    zone = (options.timezone or "UTC") if has_zone or (options.timezone and read_as == "datetime") else None
    makes_plain = values.has_wide_digits or not all(date.is_plain for date in found.values())
    last_year, of_years = _last_year(values, formats, options, name)
    reading = Reading(read_as, formats=formats, zone=zone, timezone=options.timezone)
    reading = replace(reading, makes_plain=makes_plain, last_year=last_year)
    is_declared = options.type is not None or options.last_year is not None
    doubt, settled = _doubt(values, found, reading, is_doubtful, is_declared=is_declared)
    return Decision(reading, doubt=doubt, hint=f'{{"{name}": {settled}}}', more=(of_years,))


def _doubt(
    values: Values, found: Mapping[str, DateShape], reading: Reading, is_doubtful: bool, *, is_declared: bool
) -> tuple[str, str]:
    """What else values of these shapes, which are read as dates, may mean, and the options that settle it; without a
    doubt, no text. ``is_doubtful``: the day or the month may be first; ``is_declared``: a client says that they are
    dates."""
    shapes = values.shapes
    several = [shape for shape, date in found.items() if len(date.formats) > 1]
    compact = [shape for shape in found if shape in dates.COMPACT]
    short, long = ([key for key in found if clock.fullmatch(key)] for clock in (SHORT_CLOCK, LONG_CLOCK))
    first = shown(shapes[several[0]].value) if several else ""
    if is_doubtful and not all("." in found[shape].formats["dmy"] for shape in several):
        doubt = f"{first} is read as day, month and year, but no value tells which of the first two is the day"
        return doubt, f'{{"type": "date", "format": "{_exchanged(reading.formats[0])}"}}'
    if is_declared:
        return "", ""
    if is_doubtful and not any(
        shapes[key].is_padded or found[key].has_clock or "ymd" not in found[key].formats for key in several
    ):
        doubt = f"{first} is read as day, month and year, and may also be a version or the number of a chapter"
        return doubt, '{"type": "category"}'
    if len(compact) == len(found):
        form, value = dates.COMPACT[compact[0]], shown(shapes[compact[0]].value)
        doubt = f"{value} and all other values are valid dates (year, month and day) and read as such"
        if form == "%Y%m":
            doubt = f"{value} and all other values are valid months (year and month) and read as such"
        return doubt, '{"type": "number"}'
    if reading.read_as == "time" and short and long:
        doubt = f"{shown(shapes[short[0]].value)} is read as a time of day, and may also mean minutes and seconds"
        return doubt, '{"type": "duration", "format": "%M:%S"}'
    return "", ""


def _last_year(
    values: Values, formats: Sequence[str], options: ColumnOptions, name: str
) -> tuple[int | None, tuple[str, str]]:
    """The last of the hundred years that years of two digits in these formats are in, and the doubt about it with what
    settles it."""
    years: set[int] = set()
    for key, shape in values.shapes.items():
        date = DateShape.of(key)
        for order, found in shape.years.items():
            years |= found if date is not None and date.formats[order] in formats else set()
    last, is_doubtful = dates.last_year(years)
    if options.last_year is not None or not is_doubtful:
        return options.last_year, ("", "")
    first, other = (dates.LAST_YEAR if last is None else last) - 99, dates.LAST_YEAR if last else dates.next_year()
    doubt = f"years of two digits are read as {first} to {first + 99}, and may also be those up to {other}"
    form = f', "format": "{options.format}"' if options.format else ""
    return last, (doubt, f'{{"{name}": {{"type": "date"{form}, "last_year": {other}}}}}')


def _order(shapes: Mapping[str, Shape]) -> tuple[str, bool]:
    """The order of day, month and year that fewest of these dates contradict, and whether another one fits as well."""
    invalid = dict.fromkeys(dates.ORDERS, 0)
    for key, shape in shapes.items():
        possible = DateShape.of(key)
        for order in invalid:
            is_possible = possible is not None and order in possible.formats
            found = shape.invalid.get(order) if is_possible else shape
            invalid[order] += found.count if found else 0
    best = min(invalid, key=lambda order: invalid[order])  # the first one if equal: the day first
    return best, bool(shapes) and invalid["dmy"] == invalid["mdy"] == invalid[best]


def _exchanged(form: str) -> str:
    """A format with day and month exchanged."""
    return form.replace("%d", "%\0").replace("%m", "%d").replace("%\0", "%m")


def _add_dates(found: Shape, rows: pl.DataFrame, date: DateShape) -> None:
    """Add what is known of the values of this shape (``value``, its first ``row``, its ``count``) as dates."""
    text = rows["value"]
    is_plain = date.is_plain and not text.str.contains("[０-９]").any()
    plain = text if is_plain else pl.select(dates.plain(pl.lit(text))).to_series()
    for order, form in date.formats.items():
        if form == "%Y%m":  # most numbers of six digits are none: they are not parsed
            number = plain.cast(pl.Int64)
            bad = ~((number // 100).is_between(*dates.USUAL_YEARS) & (number % 100).is_between(1, 12))
        else:
            parsed = pl.select(dates.expression(pl.lit(plain), (form,), date.dtype)).to_series()
            bad = parsed.is_null()
            if form in dates.IN_USUAL_YEARS:
                bad |= ~parsed.dt.year().is_between(*dates.USUAL_YEARS)
            if "%y" in form:
                found.years[order] = set(parsed.dt.year().drop_nulls().unique())
        if bad.any():
            is_zero = text.str.contains(dates.ZERO)
            found.zeros = _total(rows.filter(bad & is_zero))
            first = rows.filter(bad & ~is_zero).sort("row")
            if first.height:
                found.invalid[order] = Shape(_total(first), first.item(0, "value"), first.item(0, "row"))
    found.is_padded = "ymd" in date.formats and bool(plain.str.contains(r"^0|^[0-9]+\D0").any())


def _total(rows: pl.DataFrame) -> int:
    """How many rows have these values."""
    return int(rows["count"].sum())


def _are_words(sample: pl.DataFrame) -> bool:
    """Whether most values of a sample of a column are neither numbers nor dates, and too many to be truth values or
    words for missing ones."""
    text = sample["value"]
    is_word = ~(text.str.contains(r"\d") & (text.str.len_bytes() <= 4 * MAX_LENGTH))
    return 2 * _total(sample.filter(is_word)) > _total(sample) and text.filter(is_word).n_unique() > WORDS
