"""Dates and times as people write them, recognised by the shapes of all values of a column.

Year, month and day are told apart by their numbers of digits and, where that leaves two readings, by the values: a
first number above 12 must be a day. The result is one or several formats of strftime, each for values of some shapes.
What strftime has no format for is written in the ``plain`` way first, in the columns that need it.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache

import polars as pl

DIGIT_CLOCK = r"9{1,2}:99(?::99(?:\.9{1,9})?)?"
OTHER_CLOCK = (
    r"(?:(?<=T)|(?<=99999999 ))99(?:99){1,2}(?:\.9{1,9})?|9{1,2}h99"
    "|9{1,2}[时時点點]9{1,2}分(?:9{1,2}秒)?|9{1,2}시 ?9{1,2}분(?: ?9{1,2}초)?"
)
HALF = r"(?P<half>\s?[AaPp]\.?[Mm]\.?)?(?P<after>\s?Uhr)?"
ZONE = r"(?P<zone>\s?(?:Z|UTC|GMT|[+-]99:?99|[+-]99))"
GAP = r"(?P<gap>[T ]+|，|,?\s(?:at|à|um)\s|, |:|(?<=[日号號일]))"
TIME = re.compile(f"(?P<clock>{DIGIT_CLOCK}){HALF}")
DATE_TIME = re.compile(f"(?P<date>.*?)(?:{GAP}(?P<clock>{DIGIT_CLOCK}|{OTHER_CLOCK}){HALF}{ZONE}?)?")
YEAR_FIRST = re.compile(
    r"(?P<y>9999)(?P<s>[-/. ]|年)(?P<m>9{1,2})(?:(?:(?P=s)|月)(?P<d>9{1,2})日?)?月?"
    r"|9999 ?[年년] ?9{1,2} ?[月월](?: ?9{1,2} ?[日号號일])?|9999\. 9{1,2}\.(?: 9{1,2}\.?)?"
)
YEAR_LAST = re.compile(r"(?P<a>9{1,2})(?P<s>[-/. ])(?P<b>9{1,2})(?P=s)(?P<c>9999|99)")
MONTH_FIRST = re.compile("9{1,2}[-/]9999")
DAY_NAME = re.compile(
    r"(?P<d>9{1,2})(?P<s1>[-/. ]{1,2}|(?i:\sde\s))(?P<m>[A-Za-z]{3,9})\.?"
    r"(?P<s2>[-/. ,]{1,2}|(?i:\sdel?\s))(?P<y>9999|99)"
)
JOINED = re.compile("(?P<d>9{1,2})(?P<m>[A-Za-z]{3})(?P<y>9999|99)")
NAME_DAY = re.compile(r"(?P<m>[A-Za-z]{3,9})\.?(?P<s1>[-/. ])(?P<d>9{1,2})(?P<s2>,? ?)(?P<y>9999)")
NAME_YEAR = re.compile(r"(?P<m>[A-Za-z]{3,9})\.?(?P<s>[-/. ]|(?i:\sde\s))(?P<y>9999|99)")
NAMED = (*((DAY_NAME, "%d{s1}%b{s2}{y}"), (JOINED, "%d%b{y}"), (NAME_DAY, "%b{s1}%d{s2}{y}"), (NAME_YEAR, "%b{s}{y}")),)
MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october"),
    *("november", "december", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"),
)
OTHER_NAMES = {
    "Jan": "januari|januar|janvier|janeiro|jänner|gennaio|enero|janv|ene|gen",
    "Feb": "februari|februar|fevereiro|febbraio|février|fevrier|febrero|févr|fevr|fév|fev",
    "Mar": "maart|marzo|março|marco|maerz|mars|märz|mrt|mrz|mär",
    "Apr": "aprile|abril|avril|abr|avr",
    "May": "maggio|mayo|maio|mag|mai|mei",
    "Jun": "giugno|junio|junho|juni|juin|giu",
    "Jul": "juillet|luglio|julio|julho|juil|juli|lug",
    "Aug": "augustus|agosto|août|aout|aoû|ago",
    "Sep": "septiembre|septembre|setiembre|settembre|setembro|set",
    "Oct": "octobre|octubre|outubro|ottobre|oktober|okt|out|ott",
    "Nov": "noviembre|novembre|novembro",
    "Dec": "diciembre|décembre|decembre|dezembro|dezember|dicembre|déc|dez|dic",
}
"""Names of months in Dutch, French, German, Italian, Portuguese and Spanish, that English does not have."""
NAMES = {name: name[:3].capitalize() for name in MONTHS} | {
    name: month for month, names in OTHER_NAMES.items() for name in names.split("|")
}
NAMES = {name: NAMES[name] for name in sorted(NAMES, key=len, reverse=True)}
NAME = f"(?i:{'|'.join(NAMES)})"
ERAS = {"民國": (1911, 150), "民国": (1911, 150), "令和": (2018, 50), "平成": (1988, 31), "昭和": (1925, 64)}
"""The year before the first one of each era, and how many years it has, at most."""
ERA_YEARS = {
    f"{era}{year}年": f"{before + year}年" for era, (before, years) in ERAS.items() for year in range(1, years + 1)
} | {f"{era}元年": f"{before + 1}年" for era, (before, _) in ERAS.items()}
ERA_YEAR = rf"(?:{'|'.join(ERAS)})(?:9{{1,3}}|元)年"
WIDE = {chr(0xFF10 + digit): str(digit) for digit in range(10)} | {"－": "-", "／": "/", "．": ".", "：": ":"}
"""Full-width digits and separators of East Asian text."""
WEEKDAY = r"(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?\.?"
CLOCK_PARTS = "[0-9]{1,2}(?::[0-9]{2}(?::[0-9]{2})?|[时時点點][0-9]{1,2}分(?:[0-9]{1,2}秒)?|시 ?[0-9]{1,2}분)"
PLAIN = (
    (rf"(?i)^{WEEKDAY},? +", ""),
    (rf"(?i),? *\(?\b{WEEKDAY}\)?$", ""),
    (r" *[(（]?(?:(?:星期|周|週|礼拜|禮拜)[一二三四五六日天]|[月火水木金土日]曜日?|[월화수목금토일]요일)[)）]?", ""),
    (r" *[(（][一二三四五六日月火水木金土월화수목금토일][)）]", ""),
    (rf" *(?:上午|午前|오전) *({CLOCK_PARTS})", " ${1}AM"),
    (rf" *(?:下午|午後|오후) *({CLOCK_PARTS})", " ${1}PM"),
    (r"(:[0-9]{2}),([0-9]{1,9})", "${1}.${2}"),
    (r"(?i)([0-9])(?:st|nd|rd|th|er)\b", "${1}"),
    (r"^([A-Za-z]{3} +[0-9]{1,2}) ([0-9]{2}:[0-9]{2}:[0-9]{2})( [+-][0-9]{4})? ([0-9]{4})$", "${1} ${4} ${2}${3}"),
    (r"^ +", ""),
)
"""Regular expressions, the same in Python and Polars, and what is written for what they find: no weekdays and ordinals,
the half of the day after the clock, a point before fractions, and the year before a clock."""
WORD = re.compile("[A-Za-z\u00c0-\u00ff]+")
WORDS = {
    *NAMES,
    *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "mon", "tue", "tues", "wed", "thu"),
    *("thur", "thurs", "fri", "sat", "sun", "a", "p", "m", "am", "pm", "at", "h", "t", "z", "utc", "gmt", "uhr", "um"),
    *("à", "de", "del", "st", "nd", "rd", "th", "er"),
}
SIGNS = {
    *map(chr, range(128)),
    *"０１２３４５６７８９－／．：（），年月日号號时時点點分秒년월일시분초星期周週礼拜禮曜요一二三四五六天火水木金土",
    *"화수목금토上下午前後오전후民國国令和平成昭元",
}
"""The words and the other characters of dates: what has another one is none, as one looks at once."""
ZERO = (
    r"^(?:0000(?:[-/. ]|年)?00(?:[-/. ]|月)?00日?|00[-/. ]?00[-/. ]?0000)"
    r"(?:[T ]*00?:?00(?::?00(?:[.,]0+)?)?)?(?:Z|\+00:?00)?$"
)
"""What MySQL and others write for a missing date."""
COMPACT = {"99999999": "%Y%m%d", "99999999999999": "%Y%m%d%H%M%S", "999999999999": "%Y%m%d%H%M", "999999": "%Y%m"}
"""Dates of digits alone; they are taken for dates only if all values are dates of the years USUAL_YEARS."""
USUAL_YEARS = (1900, 2100)
IN_USUAL_YEARS = (*COMPACT.values(), "%m/%Y", "%m-%Y")
"""Formats that other values have too, if their years are unusual."""
FIRST_YEAR = 1000
"""An earlier year is a year of two digits that was read with the wrong format."""
LONGEST = 60
"""Characters of a date, at most."""
LAST_YEAR = 2069
"""The last year of two digits, where nothing else is said."""
ORDERS = {"dmy": ("%d", "%m", "%y"), "mdy": ("%m", "%d", "%y"), "ymd": ("%y", "%m", "%d")}


@dataclass(frozen=True, slots=True)
class DateShape:
    """What a shape says of a date: its formats by order of day and month (one, ``""``, where that is clear).
    ``is_plain``: strftime has formats for it as it is written."""

    formats: Mapping[str, str]
    has_date: bool
    has_clock: bool
    has_zone: bool
    is_plain: bool = True

    @property
    def dtype(self) -> pl.DataType:
        """The type of a column of such values alone."""
        if not self.has_date:
            return pl.Time()
        return pl.Datetime("us", "UTC" if self.has_zone else None) if self.has_clock else pl.Date()

    @classmethod
    def of(cls, shape: str) -> "DateShape | None":
        """None for a shape that is not that of a date or time."""
        return _date_shape(shape) if len(shape) <= LONGEST else None


@lru_cache(maxsize=4_096)
def _date_shape(shape: str) -> DateShape | None:
    if (found := _of_plain(shape)) is not None:
        return found
    if not SIGNS.issuperset(WORD.sub("", shape)) or not WORDS.issuperset(map(str.lower, WORD.findall(shape))):
        return None
    plain = re.sub(ERA_YEAR, "9999年", re.sub("[０-９]", "9", shape))
    plain = plain.translate(str.maketrans(dict[str, str | int | None](WIDE)))
    for pattern, new in PLAIN:
        plain = re.sub(pattern, new.replace("${", "\\g<").replace("}", ">"), plain)
    plain = re.sub(NAME, lambda name: NAMES[name[0].lower()], plain)
    found = _of_plain(plain)
    return None if found is None else replace(found, is_plain=False)


def _of_plain(shape: str) -> DateShape | None:
    if (clock := TIME.fullmatch(shape)) is not None:
        return DateShape({"": _clock_format(clock)}, False, True, False)
    if shape in COMPACT:
        return DateShape({"": COMPACT[shape]}, True, len(shape) > 8, False)
    found = DATE_TIME.fullmatch(shape)
    if found is None or (dates := _date_formats(found["date"])) is None:
        return None
    rest = f"{found['gap']}{_clock_format(found)}" if found["clock"] else ""
    rest += re.sub(r"\S.*", "%z", found["zone"]) if found["clock"] and found["zone"] else ""
    formats = {order: form + rest for order, form in dates.items()}
    return DateShape(formats, True, found["clock"] is not None, rest.endswith("%z"))


def _clock_format(found: "re.Match[str]") -> str:
    parts = iter(("%I" if found["half"] else "%H", "%M", "%S"))
    form = re.sub(r"\.9+", "%.f", found["clock"])
    form = re.sub("9{1,2}", lambda _: next(parts), form)
    form += found["half"][: -len(found["half"].strip())] + "%p" if found["half"] else ""
    return form + (found["after"] or "")


def _date_formats(shape: str) -> dict[str, str] | None:
    if YEAR_FIRST.fullmatch(shape) or MONTH_FIRST.fullmatch(shape):
        form = re.sub("9{4}", "%Y", shape, count=1)
        form = re.sub("9{1,2}", "%m", form, count=1)
        return {"": re.sub("9{1,2}", "%d", form, count=1)}
    if shape == "99999999":
        return {"": COMPACT[shape]}
    if (found := YEAR_LAST.fullmatch(shape)) is not None:
        full = found["c"] == "9999"
        orders = {order: parts for order, parts in ORDERS.items() if not (full and order == "ymd")}
        year = {"%y": "%Y"} if full else {}
        return {order: found["s"].join(year.get(part, part) for part in parts) for order, parts in orders.items()}
    for pattern, form in NAMED:
        if (found := pattern.fullmatch(shape)) is not None and found["m"].lower() in MONTHS:
            parts = {**found.groupdict(), "y": "%Y" if found["y"] == "9999" else "%y"}
            return {"": form.format(**parts)}
    return None


def plain(text: pl.Expr) -> pl.Expr:
    """The text of dates as strftime has formats for it: with English names of months, plain digits, years of our era
    and AM and PM after the clock; without weekdays."""
    text = text.str.replace_many(WIDE).str.replace_many(ERA_YEARS)
    for pattern, new in PLAIN:
        text = text.str.replace_all(pattern, new)
    names = {written: month for name, month in NAMES.items() for written in (name, name.upper())}
    return text.str.replace_many(names, ascii_case_insensitive=True, leftmost=True)


def next_year() -> int:
    """The year after this one."""
    return datetime.now(UTC).year + 1


def last_year(years: Collection[int]) -> tuple[int | None, bool]:
    """The last of the hundred years that years of two digits are in, given those of a column as strftime reads them
    (None: LAST_YEAR), and whether that is in doubt: some are in the future. Then they may be of the century before, and
    are if the column spans no more years so."""
    last = next_year()
    if not years or max(years) <= last:
        return None, False
    earlier = [year if year <= last else year - 100 for year in years]
    is_earlier = max(earlier) - min(earlier) <= max(years) - min(years)
    return (last if is_earlier else None), True


def expression(
    text: pl.Expr, formats: tuple[str, ...], dtype: pl.DataType, timezone: str | None = None, last: int | None = None
) -> pl.Expr:
    """Dates or times of cleaned text in these formats; null for what is in none of them. Times with an offset are
    converted to the zone of ``dtype``; times without one are in ``timezone``, or in UTC. Years of two digits are in the
    hundred years up to ``last`` (None: LAST_YEAR)."""
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    found = []
    for form in formats:
        written = text.str.replace(r"(?i)([ap])\.m\.?$", "${1}m") if form.endswith("%p") else text
        if "%b" in form:
            kept = "$1." if "%b." in form else "$1"
            written = written.str.replace(r"(?i)\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?", kept)
        if form.endswith("%z"):
            written = written.str.replace(r"(?:Z|UTC|GMT)$", "+00:00").str.replace(r"([+-]\d\d)$", "$1:00")
            one = written.str.strptime(pl.Datetime("us", "UTC"), form, strict=False)
            one = one.dt.convert_time_zone(zone) if zone else one.dt.replace_time_zone(None)
        elif dtype == pl.Time:
            one = written.str.strptime(pl.Time, form, strict=False)
        elif dtype == pl.Date:
            one = _parsed(written, pl.Date(), form)
        else:
            one = _parsed(written, pl.Datetime("us"), form)
            if zone is not None:
                one = one.dt.replace_time_zone(timezone or "UTC", ambiguous="earliest", non_existent="null")
                one = one.dt.convert_time_zone(zone)
        found.append(one if last is None or "%y" not in form else _up_to(one, last))
    parsed = pl.coalesce(found)
    return parsed if dtype == pl.Time else pl.when(parsed.dt.year() >= FIRST_YEAR).then(parsed)


def _up_to(parsed: pl.Expr, last: int) -> pl.Expr:
    """Dates of years of two digits, which strftime has read, in the hundred years up to this one, of 2000 to 2099: all
    leap years stay some."""
    year = parsed.dt.year()
    earlier = pl.when(year > last).then(parsed.dt.offset_by("-100y"))
    return earlier.when(year <= last - 100).then(parsed.dt.offset_by("100y")).otherwise(parsed)


def _parsed(text: pl.Expr, dtype: pl.Date | pl.Datetime, form: str) -> pl.Expr:
    """Polars needs a day in each date, and an hour in each time."""
    if "%d" not in form:
        text, form = pl.concat_str(pl.lit("01 "), text), f"%d {form}"
    if isinstance(dtype, pl.Datetime) and "%H" not in form and "%I" not in form:
        return text.str.strptime(pl.Date, form, strict=False).cast(dtype)
    return text.str.strptime(dtype, form, strict=False)
