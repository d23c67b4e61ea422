"""Numbers as people write them: separators of thousands, decimal commas, percent, currencies, units, any minus sign.

The notation of a column is chosen from the shapes of all its values, in which each digit is a 9. A notation says how to
read every value; what does not fit it is not a number.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import polars as pl

from epochd.data.columns.words import pl_escape

MINUS = "−–—﹣－"
"""Signs that people write for a minus, besides the hyphen."""
WIDE = {chr(0xFF10 + digit): str(digit) for digit in range(10)} | {
    "．": ".",
    "，": ",",
    "％": "%",
    "（": "(",
    "）": ")",
}
"""Full-width characters of East Asian text."""
CURRENCIES = (
    *("US$", "HK$", "NT$", "A$", "C$", "S$", "R$", "CN¥", "$", "€", "£", "¥", "￥", "₩", "₹", "₽", "฿", "₫", "₺", "₴"),
    *("USD", "EUR", "GBP", "CNY", "RMB", "JPY", "KRW", "HKD", "TWD", "INR", "AUD", "CAD", "CHF", "SGD", "BRL", "RUB"),
    *("人民币", "美元", "欧元", "英镑", "日元", "港元", "港币", "元", "円", "圓", "圆", "块", "kr", "zł", "Kč", "Ft"),
)
"""Signs, codes and names of currencies, before or after a number; the longer ones first."""
SAME_CURRENCY = {"￥": "¥", "CN¥": "¥", "RMB": "¥", "CNY": "¥", "人民币": "¥", "元": "¥", "块": "¥", "圆": "¥"}
MULTIPLIERS = {
    **{"k": 1e3, "K": 1e3, "M": 1e6, "mn": 1e6, "B": 1e9, "bn": 1e9, "千": 1e3, "万": 1e4, "萬": 1e4, "十万": 1e5},
    **{"百万": 1e6, "千万": 1e7, "亿": 1e8, "億": 1e8, "万亿": 1e12},
}
"""Suffixes that multiply a number, where a column has several of them or values without one."""
ALWAYS_MULTIPLY = {"千", "万", "萬", "十万", "百万", "千万", "亿", "億", "万亿", "mn", "bn"}
THOUSANDS = ",.'’_ \u00a0\u202f\u2009"
"""Characters that separate thousands. A space stands for each kind of space."""
SPACES = "\u00a0\u202f\u2009"
LONGEST = 60
"""Characters of a number, at most."""
CURRENCY = "|".join(re.escape(sign) for sign in CURRENCIES)
SHAPE = re.compile(
    rf"(?P<open>\()?[ ]?(?P<sign>[-+])?[ ]?(?P<before>{CURRENCY})?[ ]?(?P<inner>[-+])?"
    r"(?P<core>9+(?:[.,'’_ ]9+)*(?:[.,](?=[)-]|$))?|[.,]9+|(?i:inf(?:inity)?)|∞)(?P<power>[eE][-+]?9+)?"
    r"[ ]?(?P<unit>[^\s\d()+\-.,'’_][^()+\-\d]{0,11})?(?P<close>\))?(?P<last>-)?"
)


@dataclass(frozen=True, slots=True)
class NumberNotation:
    """How the numbers of a column are written. ``thousands`` is empty where nothing separates them; ``unit`` stands
    after each number and ``currency`` before or after it, or not. Numbers in ``%`` are read as hundredths, as Excel
    stores them. ``multiplies``: a suffix such as ``k`` or ``万`` multiplies its number. ``whole``: there are only
    integers."""

    decimal: str = "."
    thousands: str = ""
    unit: str = ""
    currency: str = ""
    multiplies: bool = False
    whole: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether numbers are written as in a program."""
        return self == NumberNotation(whole=self.whole)

    @property
    def divisor(self) -> float:
        """What a written number is divided by: 70% is 0.7, as a cell of Excel has it."""
        return {"%": 100.0, "‰": 1000.0}.get(self.unit, 1.0)

    def describe(self) -> str:
        """An example of the notation."""
        example = f"1{self.thousands}234" + ("" if self.whole else f"{self.decimal}5")
        example = f"{self.currency}{example}"
        return (
            example + ("万" if self.multiplies else "") + (self.unit if self.unit in "%‰" else f" {self.unit}").rstrip()
        )

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Numbers of cleaned text; null for what is not one in this notation. Float64, Int64 if ``whole``."""
        dtype = pl.Int64() if self.whole and self.divisor == 1 and not self.multiplies else pl.Float64()
        plain = text.str.replace_many(list(WIDE), list(WIDE.values()))
        plain = plain.str.replace_many(list(MINUS + SPACES), ["-"] * len(MINUS) + [" "] * len(SPACES))
        digits = plain.str.replace(r"^\((.*)\)$", "-$1").str.replace(r"^([^-]*)-$", "-$1")
        removed = {sign: "" for sign in (*self._currencies(), self.thousands.replace("\u00a0", " "), " ") if sign}
        removed |= {"∞": "inf"}
        currency = self._currency_pattern()
        if self.unit:
            digits = digits.str.replace(rf"\s?{pl_escape(self.unit)}(-?)$", "$1")
        suffix = None
        if self.multiplies:
            suffixes = "|".join(sorted(MULTIPLIERS, key=len, reverse=True))
            found = digits.str.extract(rf"\d\s?({suffixes}){currency}$")
            suffix = found.replace_strict(MULTIPLIERS, default=1.0, return_dtype=pl.Float64)
            digits = digits.str.replace(rf"\s?(?:{suffixes})(?P<rest>{currency})$", "$rest")
        if self.decimal != ".":
            removed.pop(".", None)
            digits = digits.str.replace_all(self.thousands, "", literal=True) if self.thousands else digits
            digits = digits.str.replace_all(".", "\0", literal=True) if self.thousands != "." else digits
            digits = digits.str.replace_all(",", ".", literal=True)
        digits = digits.str.replace_many(list(removed), list(removed.values()), leftmost=True)
        digits = pl.when(plain.str.contains(self._pattern())).then(digits)
        found = digits.cast(dtype, strict=False)
        if suffix is not None:
            found = found * suffix
        if self.divisor == 1:
            return found
        exact = (digits + {100: "e-2", 1000: "e-3"}[int(self.divisor)]).cast(pl.Float64, strict=False)
        return pl.coalesce(exact, found / self.divisor)  # which multiplies by 0.01, so that 7% would not be 0.07

    def _pattern(self) -> str:
        """A regular expression for a whole number in this notation, with simple minus signs, spaces and digits."""
        thousands = pl_escape(self.thousands if self.thousands not in SPACES else " ")
        decimal = pl_escape(self.decimal)
        whole = r"\d+" if not self.thousands else rf"(?:\d{{1,3}}(?:{thousands}\d{{2,3}})*{thousands}\d{{3}}|\d+)"
        core = rf"(?:{whole}(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][-+]?\d+)?"
        suffixes = "|".join(sorted(MULTIPLIERS, key=len, reverse=True)) if self.multiplies else ""
        unit = "|".join(filter(None, [suffixes, pl_escape(self.unit) if self.unit else ""]))
        after = rf"(?:\s?(?:{unit}))?" if unit else ""
        infinite, currency = "(?i:inf|infinity|∞)", self._currency_pattern()
        return rf"^\(?\s?[-+]?\s?{currency}\s?[-+]?(?:{core}|{infinite}){after}\s?{currency}\)?-?$"

    def _currencies(self) -> list[str]:
        """What the currency of the column may be written as."""
        return [sign for sign in CURRENCIES if self.currency and SAME_CURRENCY.get(sign, sign) == self.currency]

    def _currency_pattern(self) -> str:
        return f"(?:{'|'.join(map(pl_escape, self._currencies()))})?" if self.currency else ""


@dataclass(frozen=True, slots=True)
class NumberShape:
    """The parts of the shape of a number: its digit groups with what separates them, unit and currency."""

    core: str
    unit: str
    currency: str
    power: bool

    @classmethod
    def of(cls, shape: str) -> "NumberShape | None":
        """The parts of a shape; None if it is not that of a number."""
        plain = "".join(WIDE.get(char, "-" if char in MINUS else " " if char in SPACES else char) for char in shape)
        plain = re.sub("[0-9]", "9", plain)
        found = SHAPE.fullmatch(plain) if len(plain) <= LONGEST else None
        if found is None or (found["open"] is None) != (found["close"] is None):
            return None
        unit, currency = (found["unit"] or "").strip(), found["before"] or ""
        for sign in CURRENCIES:
            if unit.endswith(sign) and (unit == sign or unit[: -len(sign)].strip() in MULTIPLIERS):
                unit, currency = unit[: -len(sign)].strip(), currency or sign
                break
        return cls(found["core"], unit, SAME_CURRENCY.get(currency, currency), found["power"] is not None)

    def fits(self, decimal: str, thousands: str) -> bool:
        """Whether these separators explain the digits."""
        if self.is_infinite:
            return True
        whole, point, fraction = self.core.partition(decimal)
        if point and not (fraction == "" or set(fraction) == {"9"}):
            return False
        if not thousands:
            return set(whole) <= {"9"}
        first, *groups = whole.split(thousands)
        if not groups:
            return set(whole) <= {"9"}
        lengths = [len(group) for group in groups]
        is_grouped = lengths[-1] == 3 and set(lengths) <= {2, 3} and 1 <= len(first) <= 3
        return is_grouped and set("".join([first, *groups])) == {"9"}

    @property
    def is_infinite(self) -> bool:
        return "9" not in self.core

    def is_whole(self, decimal: str) -> bool:
        return decimal not in self.core and not self.power and not self.is_infinite


@dataclass(frozen=True, slots=True)
class ChosenNotation:
    """A notation, how many values fit it, and what else the values may mean, if anything."""

    notation: NumberNotation
    fitting: int
    doubt: str = ""


def choose(shapes: Mapping[str, int], zero_decimals: int = 0, decimal: str | None = None) -> ChosenNotation | None:
    """The notation that explains most values of these shapes (with how many values have each); None if there is no
    number. ``zero_decimals`` counts values such as ``0,123``, whose separator must be the decimal one; ``decimal``
    settles it."""
    parsed = {shape: found for shape in shapes if (found := NumberShape.of(shape)) is not None}
    if not parsed:
        return None
    counts = {shape: shapes[shape] for shape in parsed}
    unit, currency, multiplies, usable = _unit(parsed, counts)
    separators = {char for shape in usable for char in parsed[shape].core if char in THOUSANDS}
    best, most = ("", ""), -1
    for point, thousands in _candidates(separators, decimal):
        fitting = sum(counts[shape] for shape in usable if parsed[shape].fits(point, thousands))
        if fitting > most or (fitting == most and zero_decimals and best[0] not in separators and point in separators):
            best, most = (point, thousands), fitting
    if most == 0:
        return None
    point, thousands = best
    fitting_shapes = [shape for shape in usable if parsed[shape].fits(point, thousands)]
    whole = all(parsed[shape].is_whole(point) for shape in fitting_shapes)
    notation = NumberNotation(point, thousands, unit, currency, multiplies, whole)
    doubt = ""
    if decimal is None and not zero_decimals:
        doubt = _doubt(notation, [parsed[shape].core for shape in fitting_shapes])
    return ChosenNotation(notation, most, doubt)


def _candidates(separators: set[str], decimal: str | None) -> Iterable[tuple[str, str]]:
    """Decimal separator and separator of thousands, the most usual ones first."""
    others = [sign for sign in THOUSANDS if sign in separators]
    for point, thousands in product([decimal] if decimal else [".", ","], ["", *others]):
        if point != thousands and not (point == "," and thousands == "" and "," not in separators):
            yield point, thousands


def _unit(parsed: Mapping[str, NumberShape], counts: Mapping[str, int]) -> tuple[str, str, bool, list[str]]:
    """The unit, the currency, whether suffixes multiply, and the shapes that have no other unit or currency."""
    units: dict[str, int] = {}
    currencies: dict[str, int] = {}
    for shape, found in parsed.items():
        units[found.unit] = units.get(found.unit, 0) + counts[shape]
        currencies[found.currency] = currencies.get(found.currency, 0) + counts[shape]
    currency = max((sign for sign in currencies if sign), key=lambda sign: currencies[sign], default="")
    multipliers = [unit for unit in units if unit in MULTIPLIERS]
    several = len(multipliers) > 1 or (multipliers and units.get("", 0) > 0) or ALWAYS_MULTIPLY & set(multipliers)
    if several:
        allowed, unit = {"", *multipliers}, ""
    else:
        unit = max((unit for unit in units if unit), key=lambda unit: units[unit], default="")
        unit = unit if units.get(unit, 0) >= units.get("", 0) or unit in "%‰" else ""
        allowed = {"", unit}
    usable = [s for s, found in parsed.items() if found.unit in allowed and found.currency in ("", currency)]
    return unit, currency, bool(several), usable


def _doubt(notation: NumberNotation, cores: Iterable[str]) -> str:
    """The other number that a value may mean, if each separator stands once, before three digits."""
    separated = [core for core in cores if "," in core or "." in core]
    if not separated or any(re.fullmatch(r"9{1,3}[.,]999", core) is None for core in separated):
        return ""
    sign = notation.thousands or notation.decimal
    if any(sign not in core for core in separated):
        return ""
    first, other = ("1234", "1.234") if notation.thousands else ("1.234", "1234")
    return f"numbers such as 1{sign}234 are read as {first}, and may also mean {other}"
