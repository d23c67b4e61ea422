"""Durations that are written as text, in seconds.

Read are clock notations (``1:30:00``, ``00:05:12.5``, ``26:15``, ``1h30``), those with days before them that pandas and
Python write (``2 days 03:00:00``, ``-1 days +23:59:59``), amounts with units in English, Chinese and Japanese
(``1h30m``, ``90 min``, ``1.5 hours``, ``1小时30分``, ``2天``), and ISO 8601 (``PT1H30M``). A clock of two parts has
hours and minutes, or if a column says so minutes and seconds, as it always has with a fraction (``4:16.120``); a comma
before three digits separates thousands. Months and years have no fixed length and are not
read.

A column of text is one of durations if its values ``match`` and one of them is not ``ambiguous``.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import polars as pl

THOUSANDS = r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?"
NUMBER = rf"(?:{THOUSANDS}|[0-9]+(?:[.,][0-9]+)?)"
SECONDS = {
    **{"weeks": 604_800.0, "days": 86_400.0, "hours": 3_600.0, "minutes": 60.0, "seconds": 1.0},
    **{"milli": 1e-3, "micro": 1e-6, "nano": 1e-9},
}
"""The length of each unit."""
UNITS = {
    "weeks": "w|wks?|weeks?|个?星期|個?星期|周|週|週間|个?礼拜",
    "days": "d|days?|天|日|日間",
    "hours": "h|hrs?|hours?|个?小时|個?小時|个?钟头|時間|时|時",
    "minutes": "m|mins?|minutes?|分钟|分鐘|分間|分",
    "seconds": "s|secs?|seconds?|秒钟|秒鐘|秒間|秒",
    "milli": "ms|msecs?|millis|milliseconds?|毫秒|ミリ秒",
    "micro": "us|μs|microseconds?|微秒|マイクロ秒",
    "nano": "ns|nanoseconds?|纳秒|奈秒|ナノ秒",
}
"""How each unit is written, the largest one first."""
BETWEEN = r"(?:[ \t]|,|、|and|零|又)*"
CLOCK_UNITS = ("hours", "minutes", "seconds")
ISO_UNITS = ("weeks", "days", *CLOCK_UNITS)
CLOCK = (
    r"^(?P<sign>[+-])?(?:(?P<days>[0-9]+)[ \t]*(?:days?|d|天|日)[ \t]*,?[ \t]*(?P<inner>[+-])?)?"
    r"(?P<hours>[0-9]+)(?P<mark>[:h])(?P<minutes>[0-5][0-9])"
    r"(?::(?P<seconds>[0-5][0-9](?:[.,][0-9]+)?)|(?P<fraction>[.,][0-9]+))?$"
)
MINUTES_FIRST = ("%M:%S",)
"""The ``formats`` of a column whose clocks of two parts have minutes and seconds."""
AMOUNTS = (
    r"^(?P<sign>[+-])?[ \t]*"
    + BETWEEN.join(rf"(?:(?P<{unit}>{NUMBER})[ \t]*(?:{names}))?" for unit, names in UNITS.items())
    + "$"
)
ISO = (
    rf"^(?P<sign>[+-])?p(?:(?P<weeks>{NUMBER})w)?(?:(?P<days>{NUMBER})d)?"
    rf"(?:t(?:(?P<hours>{NUMBER})h)?(?:(?P<minutes>{NUMBER})m)?(?:(?P<seconds>{NUMBER})s)?)?$"
)
TIME_OF_DAY = r"^(?:[01]?[0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?$"
SINGLE_LETTER = rf"^[+-]?{NUMBER}[ \t]*[mdswh分日时時周週]$"
"""``5 m`` may be meters, ``3 d`` the dimensions, ``95分`` a score, ``5日`` a day of the month."""


def matches(expr: pl.Expr) -> pl.Expr:
    """Whether each text can be read as a duration; False where it is missing."""
    return seconds(expr).is_not_null()


def ambiguous(expr: pl.Expr) -> pl.Expr:
    """Whether each text that ``matches`` can be something else: a time of day (``08:30``), or an amount with a unit of
    one letter (``5 m``). A column of such values only is no column of durations unless the client says so."""
    text = _plain(expr)
    return text.str.contains(TIME_OF_DAY) | text.str.contains(SINGLE_LETTER)


def seconds(expr: pl.Expr, *, minutes_first: bool = False) -> pl.Expr:
    """The duration of each text, Float64 in seconds; null where it is missing or cannot be read. With ``minutes_first``
    a clock of two parts such as ``36:54`` has minutes and seconds, else hours and minutes."""
    read = partial(_seconds, minutes_first=minutes_first)
    return expr.map_batches(read, return_dtype=pl.Float64(), is_elementwise=True)


def _seconds(texts: pl.Series, minutes_first: bool) -> pl.Series:
    """As one function of a series: an expression would search each text again for each of its parts."""
    text = pl.select(_plain(pl.lit(texts))).to_series()
    clock, amounts, iso = (text.str.extract_groups(pattern).struct.unnest() for pattern in (CLOCK, AMOUNTS, ISO))
    found = [
        clock.select(_of_clock(minutes_first)),
        amounts.select(_of_amounts(tuple(UNITS))),
        iso.select(_of_amounts(ISO_UNITS)),
    ]
    return pl.select(pl.coalesce(part.to_series() for part in found)).to_series().alias(texts.name)


def _plain(expr: pl.Expr) -> pl.Expr:
    """Full-width characters become plain ones, and letters small."""
    text = expr.cast(pl.String).str.normalize("NFKC").str.to_lowercase().str.strip_chars()
    return text.str.replace_all("\u2212", "-", literal=True)


def _of_clock(minutes_first: bool) -> pl.Expr:
    """The sign belongs to the days, if there are any: one day less and 23 hours more are minus an hour."""
    parts = {unit: pl.col(unit).str.replace(",", ".", literal=True) for unit in CLOCK_UNITS}
    fraction = pl.col("fraction").str.replace(",", ".", literal=True)
    lap = _sum({"minutes": pl.col("hours"), "seconds": pl.concat_str("minutes", fraction.fill_null(""))})
    may_be_lap = pl.col("days").is_null() & (pl.col("mark") == ":") & pl.col("seconds").is_null()
    is_lap = may_be_lap & (fraction.is_not_null() | minutes_first)
    clock = pl.when(is_lap).then(lap).when(fraction.is_null()).then(_sum(parts))
    days = pl.col("days").cast(pl.Float64)
    whole = _sign("sign") * days * SECONDS["days"] + _sign("inner") * clock
    return pl.when(days.is_null()).then(_sign("sign") * clock).otherwise(whole)


def _of_amounts(units: Sequence[str]) -> pl.Expr:
    return _sign("sign") * _sum({unit: _number(pl.col(unit)) for unit in units})


def _sum(numbers: Mapping[str, pl.Expr]) -> pl.Expr:
    """The sum of the numbers of each unit, which are text, in seconds; null without any."""
    parts = [number.cast(pl.Float64) * SECONDS[unit] for unit, number in numbers.items()]
    return pl.when(pl.any_horizontal(part.is_not_null() for part in parts)).then(pl.sum_horizontal(parts))


def _number(text: pl.Expr) -> pl.Expr:
    """The text with a point, if any, before its decimals."""
    plain = text.str.replace_all(",", "", literal=True)
    decimal = text.str.replace(",", ".", literal=True)
    return pl.when(text.str.contains(f"^{THOUSANDS}$")).then(plain).otherwise(decimal)


def _sign(name: str) -> pl.Expr:
    return pl.when(pl.col(name) == "-").then(-1.0).otherwise(1.0)
