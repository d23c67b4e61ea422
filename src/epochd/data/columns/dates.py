"""Dates and times as people write them, recognised by the shapes of all values of a column.

Year, month and day are told apart by their numbers of digits and, where that leaves two readings, by the values: a
first number above 12 must be a day. The result is one or several formats of strftime, each for values of some shapes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

CLOCK = r"(?P<clock>9{1,2}:99(?P<seconds>:99(?P<fraction>\.9{1,9})?)?(?P<half>\s?[AaPp]\.?[Mm]\.?)?)"
ZONE = r"(?P<zone>\s?(?:Z|UTC|GMT|[+-]99:?99|[+-]99))"
TIME = re.compile(CLOCK)
DATE_TIME = re.compile(rf"(?P<date>.*?)(?:(?P<gap>[T ]+|，|, ){CLOCK}{ZONE}?)?")
YEAR_FIRST = re.compile(r"(?P<y>9999)(?P<s>[-/. ]|年)(?P<m>9{1,2})(?:(?:(?P=s)|月)(?P<d>9{1,2})日?)?月?")
YEAR_LAST = re.compile(r"(?P<a>9{1,2})(?P<s>[-/. ])(?P<b>9{1,2})(?P=s)(?P<c>9999|99)")
DAY_NAME = re.compile(r"(?P<d>9{1,2})(?P<s1>[-/. ]{1,2})(?P<m>[A-Za-z]{3,9})\.?(?P<s2>[-/. ,]{1,2})(?P<y>9999|99)")
NAME_DAY = re.compile(r"(?P<m>[A-Za-z]{3,9})\.?(?P<s1>[-/. ])(?P<d>9{1,2})(?P<s2>,? ?)(?P<y>9999)")
NAME_YEAR = re.compile(r"(?P<m>[A-Za-z]{3,9})\.?(?P<s>[-/. ])(?P<y>9999|99)")
MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october"),
    *("november", "december", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"),
)
COMPACT = {"99999999": "%Y%m%d", "99999999999999": "%Y%m%d%H%M%S", "999999999999": "%Y%m%d%H%M"}
"""Dates of digits alone; they are taken for dates only if all values are dates of the years COMPACT_YEARS."""
COMPACT_YEARS = (1900, 2100)
FIRST_YEAR = 1000
"""An earlier year is a year of two digits that was read with the wrong format."""
ORDERS = {"dmy": ("%d", "%m", "%y"), "mdy": ("%m", "%d", "%y"), "ymd": ("%y", "%m", "%d")}


@dataclass(frozen=True, slots=True)
class DateShape:
    """What a shape says of a date: its formats by order of day and month (one, ``""``, where that is clear)."""

    formats: Mapping[str, str]
    has_date: bool
    has_clock: bool
    has_zone: bool

    @property
    def dtype(self) -> pl.DataType:
        """The type of a column of such values alone."""
        if not self.has_date:
            return pl.Time()
        return pl.Datetime("us", "UTC" if self.has_zone else None) if self.has_clock else pl.Date()

    @classmethod
    def of(cls, shape: str) -> "DateShape | None":
        """None for a shape that is not that of a date or time."""
        if len(shape) > 45:
            return None
        if (clock := TIME.fullmatch(shape)) is not None:
            return cls({"": _clock_format(clock)}, False, True, False)
        if shape in COMPACT:
            return cls({"": COMPACT[shape]}, True, len(shape) > 8, False)
        found = DATE_TIME.fullmatch(shape)
        if found is None or (dates := _date_formats(found["date"])) is None:
            return None
        rest = f"{found['gap']}{_clock_format(found)}" if found["clock"] else ""
        rest += re.sub(r"\S.*", "%z", found["zone"]) if found["clock"] and found["zone"] else ""
        formats = {order: form + rest for order, form in dates.items()}
        return cls(formats, True, found["clock"] is not None, rest.endswith("%z"))


def _clock_format(found: "re.Match[str]") -> str:
    form = "%I:%M" if found["half"] else "%H:%M"
    form += ":%S" if found["seconds"] else ""
    form += "%.f" if found["fraction"] else ""
    return form + (found["half"][: -len(found["half"].strip())] + "%p" if found["half"] else "")


def _date_formats(shape: str) -> dict[str, str] | None:
    if (found := YEAR_FIRST.fullmatch(shape)) is not None:
        form = re.sub("9{4}", "%Y", shape, count=1)
        form = re.sub("9{1,2}", "%m", form, count=1)
        return {"": re.sub("9{1,2}", "%d", form, count=1)}
    if (found := YEAR_LAST.fullmatch(shape)) is not None:
        full = found["c"] == "9999"
        orders = {order: parts for order, parts in ORDERS.items() if not (full and order == "ymd")}
        year = {"%y": "%Y"} if full else {}
        return {order: found["s"].join(year.get(part, part) for part in parts) for order, parts in orders.items()}
    for pattern, form in ((DAY_NAME, "%d{s1}%b{s2}{y}"), (NAME_DAY, "%b{s1}%d{s2}{y}"), (NAME_YEAR, "%b{s}{y}")):
        if (found := pattern.fullmatch(shape)) is not None and found["m"].lower() in MONTHS:
            parts = {**found.groupdict(), "y": "%Y" if found["y"] == "9999" else "%y"}
            return {"": form.format(**parts)}
    return None


def expression(text: pl.Expr, formats: tuple[str, ...], dtype: pl.DataType, timezone: str | None = None) -> pl.Expr:
    """Dates or times of cleaned text in these formats; null for what is in none of them. Times with an offset are
    converted to the zone of ``dtype``; times without one are in ``timezone``, or in UTC."""
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    found = []
    for form in formats:
        written = text.str.replace(r"(?i)([ap])\.m\.?$", "${1}m") if form.endswith("%p") else text
        if "%b" in form:
            written = written.str.replace(r"(?i)\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?", "$1")
        if form.endswith("%z"):
            written = written.str.replace(r"(?:Z|UTC|GMT)$", "+00:00").str.replace(r"([+-]\d\d)$", "$1:00")
            one = written.str.strptime(pl.Datetime("us", "UTC"), form, strict=False)
            found.append(one.dt.convert_time_zone(zone) if zone else one.dt.replace_time_zone(None))
        elif dtype == pl.Time:
            found.append(written.str.strptime(pl.Time, form, strict=False))
        elif dtype == pl.Date:
            found.append(_parsed(written, pl.Date(), form))
        else:
            naive = _parsed(written, pl.Datetime("us"), form)
            if zone is not None:
                naive = naive.dt.replace_time_zone(timezone or "UTC", ambiguous="earliest", non_existent="null")
                naive = naive.dt.convert_time_zone(zone)
            found.append(naive)
    parsed = pl.coalesce(found)
    return parsed if dtype == pl.Time else pl.when(parsed.dt.year() >= FIRST_YEAR).then(parsed)


def _parsed(text: pl.Expr, dtype: pl.Date | pl.Datetime, form: str) -> pl.Expr:
    """Polars needs a day in each date, and an hour in each time."""
    if "%d" not in form:
        text, form = pl.concat_str(pl.lit("01 "), text), f"%d {form}"
    if isinstance(dtype, pl.Datetime) and "%H" not in form and "%I" not in form:
        return text.str.strptime(pl.Date, form, strict=False).cast(dtype)
    return text.str.strptime(dtype, form, strict=False)
