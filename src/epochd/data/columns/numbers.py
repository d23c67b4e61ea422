"""Numbers as people write them: separators of thousands, decimal commas, percent, currencies, units, any minus sign.

The notation of a column is chosen from the shapes of all its values, in which each digit is a 9. A notation says how to
read every value; what does not fit it is not a number.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

import polars as pl

from epochd.core.text import shown
from epochd.data.columns.words import pl_escape

MINUS = "−–—﹣－‐‑‒―"
"""Signs that people write for a minus, besides the hyphen."""
TRIANGLES, DOWN = "△▲", "▽▼"
"""Minus signs of Japanese accounts. Beside triangles that point down they mean up."""
SPACES = "\u00a0\u202f\u2009"
DIGITS = {chr(zero + digit): str(digit) for zero in (0xFF10, 0x660, 0x6F0, 0x966) for digit in range(10)}
"""Full-width, Arabic-Indic, extended Arabic-Indic and Devanagari digits."""
SIMPLE = {
    **{**DIGITS, "٫": ".", "٬": ",", "٪": "%", "．": ".", "，": ",", "％": "%", "（": "(", "）": ")"},
    **{**dict.fromkeys(MINUS, "-"), **dict.fromkeys(SPACES, " ")},
}
"""Characters of other scripts, minus signs and spaces, with the simple ones that stand for the same."""
CURRENCIES = (
    *("US$", "HK$", "NT$", "MX$", "NZ$", "AU$", "CA$", "A$", "C$", "S$", "R$", "CN¥", "$", "€", "£", "¥", "￥", "₩"),
    *("₹", "₽", "฿", "₫", "₺", "₴", "SFr.", "sFr.", "Fr.", "Rs.", "Rs"),
    *("USD", "EUR", "GBP", "CNY", "RMB", "JPY", "KRW", "HKD", "TWD", "INR", "AUD", "CAD", "CHF", "SGD", "BRL", "RUB"),
    *("人民币", "美元", "欧元", "英镑", "日元", "港元", "港币", "元", "円", "圓", "圆", "块", "kr", "zł", "Kč", "Ft"),
)
"""Signs, codes and names of currencies, before or after a number; the longer ones first."""
YEN = "\\"
"""The yen sign as Shift-JIS has it, only before a number."""
SAME_CURRENCY = {
    **dict.fromkeys(("￥", "CN¥", "RMB", "CNY", "人民币", "元", "块", "圆", YEN), "¥"),
    **{**dict.fromkeys(("Rs.", "Rs", "INR"), "₹"), **dict.fromkeys(("SFr.", "sFr.", "Fr."), "CHF")},
}
CODES = {
    **{"$": ("USD", "CAD", "AUD", "MXN", "NZD", "HKD", "TWD", "SGD"), "US$": ("USD",), "MX$": ("MXN",)},
    **{"HK$": ("HKD",), "NT$": ("TWD",), "R$": ("BRL",), "€": ("EUR",), "£": ("GBP",), "¥": ("JPY",), "₩": ("KRW",)},
}
"""Codes that may stand after a number with the sign of a currency before it: ``$ 1,234 USD``."""
LETTERS = {"k": 1e3, "K": 1e3, "M": 1e6, "mn": 1e6, "B": 1e9, "bn": 1e9}
MULTIPLIERS = {
    **{**LETTERS, "千": 1e3, "万": 1e4, "萬": 1e4, "十万": 1e5},
    **{"百万": 1e6, "千万": 1e7, "亿": 1e8, "億": 1e8, "万亿": 1e12},
}
"""Suffixes that multiply a number, where a column has several of them or values without one."""
ALWAYS_MULTIPLY = {"千", "万", "萬", "十万", "百万", "千万", "亿", "億", "万亿", "mn", "bn"}
SCALE = re.compile(
    r"(?i)(?:[cd]r|crores?|lakhs?|lacs?|mio|mln|mill|mrd|mld|tsd|thousand|trillion|(?:m|b)illi(?:on|ard)(?:en|s)?|тыс|млн"
    r"|млрд|천|만|억)(?![^\W\d_]).*"
)
"""Units that multiply a number, or say that it is credit or debit: without them, a number is another amount."""
THOUSANDS = ",.'’_ \u00a0\u202f\u2009"
"""Characters that separate thousands. A space stands for each kind of space."""
LONGEST = 60
"""Characters of a number, at most."""
VERSION = 2
CURRENCY = "|".join(map(re.escape, CURRENCIES))
SHAPE = re.compile(
    rf"(?P<sign>[-+])?[ ]*(?P<outer>{CURRENCY}|\\)?[ ]*(?P<open>\()?[ ]*(?P<before>{CURRENCY}|\\)?[ ]*(?P<inner>[-+])?[ ]*"
    r"(?P<core>9+(?:[.,'’_ ]9+)*(?:[.,](?=\)|$))?|[.,]9+|(?i:inf(?:inity)?)|∞)(?P<power>[eE][-+]?9+)?"
    r"(?P<cents>[.,]-{1,2}|[:/]-)?(?:[ ]*(?P<unit>[^\s\d()+\-.,'’_][^()+\-\d]{0,11}))?"
    rf"(?:[ ]*(?P<close>\))(?:[ ]*(?P<after>{CURRENCY}|[%‰]))?)?(?P<last>-)?"
)
NOTHING = re.compile(rf"(?P<before>{CURRENCY})[ ]*-{{1,2}}|-{{1,2}}[ ]*(?P<after>{CURRENCY})")
"""How accounting formats write zero."""
ADDRESS = re.compile(r"9{1,3}(?:\.999){2,3}")
"""Shapes of versions and addresses, which numbers with separators of thousands may have, too."""


@dataclass(frozen=True, slots=True)
class NumberNotation:
    """How the numbers of a column are written. ``thousands`` is empty where nothing separates them; ``unit`` stands
    after each number and ``currency`` before or after it, or not. Numbers in ``%`` are read as hundredths, as Excel
    stores them. ``multiplies``: a suffix such as ``k`` or ``万`` multiplies its number, most often ``suffix``.
    ``whole``: there are only integers. ``minus`` are further minus signs. ``dashes``: a dash stands for no cents
    (``18,-``), and beside a currency for zero. ``version`` 1, which older models have, takes a dash after a separator
    for a minus sign and knows separators of thousands before an exponent."""

    decimal: str = "."
    thousands: str = ""
    unit: str = ""
    currency: str = ""
    multiplies: bool = False
    whole: bool = False
    suffix: str = ""
    minus: str = ""
    dashes: bool = False
    version: int = 1

    @property
    def divisor(self) -> float:
        """What a written number is divided by: 70% is 0.7, as a cell of Excel has it."""
        return {"%": 100.0, "‰": 1000.0}.get(self.unit, 1.0)

    def describe(self) -> str:
        """An example of the notation."""
        example = f"1{self.thousands}234" + ("" if self.whole else f"{self.decimal}5")
        suffix = (self.suffix or "万") if self.multiplies else ""
        return f"{self.currency}{example}{suffix}{'' if self.unit in '%‰' else ' '}{self.unit}".rstrip()

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Numbers of cleaned text; null for what is not one in this notation. Float64, Int64 if ``whole``."""
        dtype = pl.Int64() if self.whole and self.divisor == 1 and not self.multiplies else pl.Float64()
        simple = SIMPLE | dict.fromkeys(self.minus, "-")
        plain = text.str.replace_many(list(simple), list(simple.values()))
        digits = plain
        if self.dashes:
            digits = digits.str.replace(r"(\d)(?:[.,]-{1,2}|[:/]-)([^0-9-]*)$", "${1}${2}")
            digits = digits.str.replace(f"^(?:{self._nothing()})$", "0") if self.currency else digits
        digits = digits.str.replace(r"^([^0-9(]*)\(([^)]*)\)(.*)$", "-${1}${2}${3}").str.replace(r"^([^-]*)-$", "-$1")
        if self.unit:
            digits = digits.str.replace(rf"\s*{self._unit()}(-?)$", "$1")
        factor = None
        if self.multiplies:
            suffixes, currency = _any_of(MULTIPLIERS), f"(?:{_any_of(self._currencies())})?"
            suffix = digits.str.extract(rf"\d\s?({suffixes}){currency}$")
            factor = suffix.replace_strict(MULTIPLIERS, default=1.0, return_dtype=pl.Float64)
            digits = digits.str.replace(rf"\s?(?:{suffixes})(?P<rest>{currency})$", "$rest")
        digits = pl.when(plain.str.contains(self._pattern())).then(self._bare(digits))
        found = digits.cast(dtype, strict=False)
        if factor is not None:
            found = found * factor
        if self.divisor == 1:
            return found
        exact = (digits + {100: "e-2", 1000: "e-3"}[int(self.divisor)]).cast(pl.Float64, strict=False)
        return pl.coalesce(exact, found / self.divisor)  # which multiplies by 0.01, so that 7% would not be 0.07

    def _bare(self, number: pl.Expr) -> pl.Expr:
        """A number as a program writes it: without currency, spaces and separators of thousands."""
        removed = dict.fromkeys([*self._currencies(before=True), " "], "") | {"∞": "inf"}
        if self.decimal == "." and self.thousands:
            removed[self.thousands] = ""
        number = number.str.replace_many(list(removed), list(removed.values()), leftmost=True)
        if self.decimal == ".":
            return number
        number = number.str.replace_all(self.thousands, "", literal=True) if self.thousands else number
        number = number.str.replace_all(".", "\0", literal=True) if self.thousands != "." else number
        return number.str.replace_all(",", ".", literal=True)

    def _pattern(self) -> str:
        """A regular expression for a whole number in this notation, with simple minus signs, spaces and digits."""
        thousands, decimal = pl_escape(self.thousands), pl_escape(self.decimal)
        grouped = rf"\d{{1,3}}(?:{thousands}\d{{2,3}})*{thousands}\d{{3}}" if thousands else r"\d+"
        units = "|".join(filter(None, [_any_of(MULTIPLIERS) if self.multiplies else "", self._unit()]))
        before, currency = (_any_of(self._currencies(before=place)) for place in (True, False))
        before, currency = (rf"(?:\s*(?:{one}))?" if one else "" for one in (before, currency))
        if self.version == 1:
            unit = rf"(?:\s?(?:{units}))?" if units else ""
            core = rf"(?:(?:{grouped}|\d+)(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][-+]?\d+)?|(?i:inf|infinity|∞)"
            return rf"^\(?\s?[-+]?\s?{before}\s?[-+]?(?:{core}){unit}\s?{currency}\)?-?$"
        after = (rf"(?:\s*(?:{units}))" + ("" if SCALE.fullmatch(self.unit) else "?") if units else "") + currency
        plain = rf"(?:\d+(?:{decimal}\d+)?|{decimal}\d+)(?:[eE][-+]?\d+)?"
        core = rf"(?:{plain}|{grouped}(?:{decimal}\d+)?|(?i:inf|infinity|∞))"
        cents = "(?:[.,]-{1,2}|[:/]-)?" if self.dashes else ""
        signed = rf"[-+]?{before}\s*[-+]?\s*(?:{core}{cents}{after}-?|(?:{grouped}|\d+){decimal}{after})"
        enclosed = rf"{before}\s*\({before}\s*(?:{core}|\d+{decimal})(?:{after}\s*\)|\s*\){after})"
        nothing = f"|{self._nothing()}" if self.dashes and self.currency else ""
        return f"^(?:{signed}|{enclosed}{nothing})$"

    def _currencies(self, *, before: bool = False) -> list[str]:
        """What the currency of the column may be written as, after a number or ``before`` one."""
        same = SAME_CURRENCY.get(self.currency, self.currency)
        signs = [*CURRENCIES, YEN] if before else CURRENCIES
        return [sign for sign in signs if self.currency and SAME_CURRENCY.get(sign, sign) == same]

    def _nothing(self) -> str:
        currency = _any_of(self._currencies())
        return rf"(?:{currency})\s*-{{1,2}}|-{{1,2}}\s*(?:{currency})"

    def _unit(self) -> str:
        """A regular expression for the unit: ``1 item`` and ``5 items`` have the same."""
        single = _singular(self.unit)
        is_either = self.version > 1 and len(single) > 1 and single.isalpha()
        return f"{pl_escape(single)}s?" if is_either else pl_escape(self.unit)


def _any_of(words: Iterable[str]) -> str:
    return "|".join(map(pl_escape, sorted(words, key=len, reverse=True)))


def _singular(unit: str) -> str:
    """The unit without a final s."""
    single = unit.removesuffix("s")
    return single if len(single) > 1 and single.isalpha() else unit


@dataclass(frozen=True, slots=True)
class NumberShape:
    """The parts of the shape of a number: its digit groups with what separates them, unit and currency. ``power``: it
    has an exponent; ``signed``: a sign or parentheses; ``dash``: one that stands for no cents, or for zero, which is
    ``nothing``; ``minus`` is a triangle that stands for one."""

    core: str
    unit: str
    currency: str
    power: bool = False
    signed: bool = False
    dash: bool = False
    nothing: bool = False
    minus: str = ""

    @classmethod
    def of(cls, shape: str) -> "NumberShape | None":
        """The parts of a shape; None if it is not that of a number."""
        plain = "".join(SIMPLE.get(char, char) for char in shape)
        plain, minus = re.sub("[0-9]", "9", plain), ""
        if triangle := re.match(f"[^9{TRIANGLES}]{{0,4}}([{TRIANGLES}])", plain):
            plain, minus = plain.replace(triangle[1], "-", 1), triangle[1]
        if len(plain) > LONGEST:
            return None
        if (empty := NOTHING.fullmatch(plain)) is not None:
            currency = empty["before"] or empty["after"]
            return cls("9", "", SAME_CURRENCY.get(currency, currency), dash=True, nothing=True)
        found = SHAPE.fullmatch(plain)
        if found is None or not _is_one_number(found):
            return None
        marks = _marks(found)
        if marks is None:
            return None
        signed = any(found[name] for name in ("sign", "inner", "open", "last"))
        return cls(found["core"], *marks, found["power"] is not None, signed, found["cents"] is not None, False, minus)

    def fits(self, decimal: str, thousands: str) -> bool:
        """Whether these separators explain the digits."""
        if self.is_infinite:
            return True
        whole, point, fraction = self.core.partition(decimal)
        if point and not (fraction == "" or set(fraction) == {"9"}):
            return False
        if not thousands or self.power:
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


def is_nothing(shape: str) -> bool:
    """Whether a value of this shape is a dash beside a currency, which stands for zero."""
    return len(shape) < 10 and NOTHING.fullmatch("".join(SIMPLE.get(char, char) for char in shape)) is not None


def _is_one_number(found: re.Match[str]) -> bool:
    """Whether parentheses are closed and signs and currencies are not repeated. A minus at the end follows a digit or
    a unit: a dash after a separator stands for no cents."""
    ends = found["last"] is None or not (found["close"] or found["cents"] or found["core"][-1] in ".,")
    signs = [found[name] for name in ("sign", "inner", "last", "open") if found[name]]
    currencies = [found[name] for name in ("outer", "before") if found[name]]
    return (found["open"] is None) == (found["close"] is None) and ends and len(signs) < 2 and len(currencies) < 2


def _marks(found: re.Match[str]) -> tuple[str, str] | None:
    """The unit and the currency; None if there are two of one of them that differ."""
    unit, before = (found["unit"] or "").strip(), found["outer"] or found["before"] or ""
    if found["after"]:
        if unit:
            return None
        unit = found["after"]
    currency = SAME_CURRENCY.get(before, before)
    for sign in CURRENCIES:
        if unit.endswith(sign) and (unit == sign or unit[: -len(sign)].strip() in MULTIPLIERS):
            other = SAME_CURRENCY.get(sign, sign)
            if currency in ("", other):
                return unit[: -len(sign)].strip(), other
            return (unit, currency) if unit in CODES.get(currency, ()) else None
    return unit, currency


@dataclass(frozen=True, slots=True)
class Facts:
    """What the shapes of a column do not tell: ``examples`` of them, which ones are of ``zeros`` only, which ones of
    ADDRESS have no group above 255 (``bytes``). ``zero_decimals`` counts values such as ``0,123``, whose separator must
    be the decimal one."""

    examples: Mapping[str, str] = field(default_factory=dict)
    zeros: Collection[str] = ()
    bytes: Collection[str] = ()
    zero_decimals: int = 0


@dataclass(frozen=True, slots=True)
class ChosenNotation:
    """A notation, how many values fit it, and what else the values may mean, if anything: with ``settled_by`` what
    settles it. Values that may be ``codes`` are no labels that are numbers."""

    notation: NumberNotation
    fitting: int
    doubt: str = ""
    settled_by: Literal["decimal", "type", "codes", ""] = ""
    may_be_codes: bool = False


@dataclass(frozen=True, slots=True)
class _Marks:
    """What stands beside the numbers of a column, and the shapes that have no other mark."""

    unit: str
    currency: str
    suffixes: tuple[str, ...]
    usable: list[str]


def choose(
    shapes: Mapping[str, int], facts: Facts | None = None, decimal: str | None = None, *, is_number: bool = False
) -> ChosenNotation | None:
    """The notation that explains most values of these shapes (with how many values have each); None if there is no
    number, or if they are addresses. ``decimal`` settles the separators, ``is_number`` that the values are numbers as
    they seem to be."""
    facts = facts or Facts()
    parsed = {shape: found for shape in shapes if (found := NumberShape.of(shape)) is not None}
    if any(sign in shape for shape in shapes for sign in DOWN) or all(found.minus for found in parsed.values()):
        parsed = {shape: found for shape, found in parsed.items() if not found.minus}
    if all(found.nothing for found in parsed.values()):
        return None
    counts = {shape: shapes[shape] for shape in parsed}
    marks = _beside(parsed, counts)
    separators = {char for shape in marks.usable for char in parsed[shape].core if char in THOUSANDS}
    best, most = ("", ""), -1
    for point, thousands in _candidates(separators, decimal):
        fitting = sum(counts[shape] for shape in marks.usable if parsed[shape].fits(point, thousands))
        is_preferred = facts.zero_decimals and best[0] not in separators and point in separators
        if fitting > most or (fitting == most and is_preferred):
            best, most = (point, thousands), fitting
    if most == 0:
        return None
    fit = {shape: parsed[shape] for shape in marks.usable if parsed[shape].fits(*best)}
    chosen = ChosenNotation(_notation(*best, marks, fit), most)
    return _doubted(chosen, fit, facts, decimal=decimal, is_number=is_number)


def _notation(point: str, thousands: str, marks: _Marks, fit: Mapping[str, NumberShape]) -> NumberNotation:
    return NumberNotation(
        point,
        thousands,
        marks.unit,
        marks.currency,
        multiplies=bool(marks.suffixes),
        whole=all(found.is_whole(point) for found in fit.values()),
        suffix=next(iter(marks.suffixes), ""),
        minus="".join(sorted({found.minus for found in fit.values()})),
        dashes=any(found.dash for found in fit.values()),
        version=VERSION,
    )


def _candidates(separators: set[str], decimal: str | None) -> Iterable[tuple[str, str]]:
    """Decimal separator and separator of thousands, the most usual ones first."""
    others = [sign for sign in THOUSANDS if sign in separators]
    for point, thousands in product([decimal] if decimal else [".", ","], ["", *others]):
        if point != thousands and not (point == "," and thousands == "" and "," not in separators):
            yield point, thousands


def _beside(parsed: Mapping[str, NumberShape], counts: Mapping[str, int]) -> _Marks:
    """The unit, the currency and the suffixes that multiply, the most frequent first."""
    units: dict[str, int] = {}
    currencies: dict[str, int] = {}
    for shape, found in parsed.items():
        units[found.unit] = units.get(found.unit, 0) + counts[shape]
        currencies[found.currency] = currencies.get(found.currency, 0) + counts[shape]
    currency = max((sign for sign in currencies if sign), key=lambda sign: currencies[sign], default="")
    suffixes = sorted((unit for unit in units if unit in MULTIPLIERS), key=lambda unit: -units[unit])
    if len(suffixes) > 1 or (suffixes and units.get("", 0) > 0) or ALWAYS_MULTIPLY & set(suffixes):
        allowed, unit = {"", *suffixes}, ""
    else:
        unit, suffixes = _main_unit(units), []
        allowed = {one for one in units if _singular(one) == _singular(unit)}
        allowed |= set() if SCALE.fullmatch(unit) else {""}
    if unit and currency and not any(found.unit and found.currency for found in parsed.values()):
        if sum(units.get(one, 0) for one in allowed - {""}) < currencies[currency]:
            allowed, unit = {""}, ""
        else:
            currency = ""
    usable = [s for s, found in parsed.items() if found.unit in allowed and found.currency in ("", currency)]
    return _Marks(unit, currency, tuple(suffixes), usable)


def _main_unit(units: Mapping[str, int]) -> str:
    """The most frequent unit, unless most numbers have none; a percentage is always one."""
    either: dict[str, int] = {}
    for unit, count in units.items():
        either[_singular(unit)] = either.get(_singular(unit), 0) + count
    single = max((unit for unit in either if unit), key=lambda unit: either[unit], default="")
    if either.get(single, 0) < units.get("", 0) and single not in "%‰":
        return ""
    return max((unit for unit in units if _singular(unit) == single), key=lambda unit: units[unit], default="")


def _doubted(
    chosen: ChosenNotation, fit: Mapping[str, NumberShape], facts: Facts, *, decimal: str | None, is_number: bool
) -> ChosenNotation | None:
    """The chosen notation with what else its values may mean; None if they are addresses."""
    notation, groups = chosen.notation, 0 if is_number or decimal else _equal_groups(chosen.notation, fit)
    are_bytes = groups > 0 and notation.thousands == "." and all(shape in facts.bytes for shape in fit)
    if groups == 4 and are_bytes:
        return None
    if groups or (not is_number and not decimal and _are_short(notation, fit)):
        shape = next((one for one, found in fit.items() if found.unit), next(iter(fit)))
        example = facts.examples.get(shape, shape)
        number = pl.select(notation.expression(pl.lit(example))).item()
        doubt = f"values such as {shown(example)} are read as numbers ({number:.15g}), and may also be codes"
        return replace(chosen, doubt=doubt, settled_by="codes", may_be_codes=are_bytes or notation.multiplies)
    without = [shape for shape, found in fit.items() if not (found.unit or found.is_infinite or shape in facts.zeros)]
    if notation.divisor != 1 and without and not is_number:
        example = facts.examples.get(without[0], without[0])
        doubt = (
            f"numbers without {notation.unit} beside others with it, such as {shown(example)}, are read as if they "
            "had it, which is wrong if they are fractions: if so, write all values alike"
        )
        return replace(chosen, doubt=doubt, settled_by="type")
    if decimal is None and not facts.zero_decimals and not any(sign in shape for shape in fit for sign in "٫٬"):
        doubt = _ambiguity(notation, fit.values())
        return replace(chosen, doubt=doubt, settled_by="decimal" if doubt else "")
    return chosen


def _equal_groups(notation: NumberNotation, fit: Mapping[str, NumberShape]) -> int:
    """The groups of digits of every number, if they are as many in each, three at least, and points or spaces separate
    them: such numbers may be versions, addresses or telephone numbers. Otherwise 0."""
    if notation.thousands not in (".", " ") or not notation.whole or notation.unit or notation.currency:
        return 0
    counts = {found.core.count(notation.thousands) + 1 for found in fit.values()}
    is_equal = len(counts) == 1 and not any(found.signed or found.dash for found in fit.values())
    return counts.pop() if is_equal and min(counts) >= 3 else 0


def _are_short(notation: NumberNotation, fit: Mapping[str, NumberShape]) -> bool:
    """Whether nothing but a letter after it says that a number is multiplied: ``5M`` may be a size or a seat."""
    suffixes = {found.unit for found in fit.values()} - {""}
    is_bare = notation.multiplies and not notation.currency and suffixes <= set(LETTERS)
    return is_bare and all(set(found.core) == {"9"} and not found.power for found in fit.values())


def _ambiguity(notation: NumberNotation, found: Iterable[NumberShape]) -> str:
    """The other number that a value may mean, if each separator stands once, before three digits."""
    separated = [shape for shape in found if "," in shape.core or "." in shape.core]
    if any(shape.power or re.fullmatch(r"9{1,3}[.,]999", shape.core) is None for shape in separated):
        return ""
    sign = notation.thousands or notation.decimal
    if not separated or any(sign not in shape.core for shape in separated):
        return ""
    first, other = ("1234", "1.234") if notation.thousands else ("1.234", "1234")
    return f"numbers such as 1{sign}234 are read as {first}, and may also mean {other}"
