"""Numbers as people write them: separators of thousands, decimal commas, percent, currencies, units, any minus sign.

A notation says how to read every value of a column; what does not fit it is not a number. ``number_choice`` chooses it
from the shapes of the values, in which each digit is a 9.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

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
SCALE = re.compile(
    r"(?i)(?:[cd]r|crores?|lakhs?|lacs?|mio|mln|mill|mrd|mld|tsd|thousands?|(?:m|b|tr)ill(?:i?on|iard)(?:e?n|e?s)?"
    r"|тыс|млн|млрд)(?![^\W\d_]).*|[천만억].*"
)
"""Units that multiply a number, or say that it is credit or debit: without them, a number is another amount."""
THOUSANDS = ",.'’_ \u00a0\u202f\u2009"
"""Characters that separate thousands. A space stands for each kind of space."""
LONGEST = 60
"""Characters of a number, at most."""
VERSION = 2
"""That of new notations."""
CURRENCY = "|".join(map(re.escape, CURRENCIES))
SHAPE = re.compile(
    rf"(?P<sign>[-+])?[ ]?(?P<outer>{CURRENCY}|\\)?[ ]?(?P<open>\()?[ ]?(?P<before>{CURRENCY}|\\)?"
    r"[ ]?(?P<inner>[-+])?[ ]?"
    r"(?P<core>9+(?:[.,'’_ ]9+)*(?:[.,](?=\)|$))?|[.,]9+|(?i:inf(?:inity)?)|∞)(?P<power>[eE][-+]?9+)?"
    r"(?P<cents>[.,]-{1,2}|[:/]-)?(?:[ ]?(?P<unit>[^\s\d()+\-.,'’_][^()+\-\d]{0,11}))?"
    rf"(?:[ ]?(?P<close>\))(?:[ ]?(?P<after>{CURRENCY}|[%‰]))?)?(?P<last>-)?"
)
NOTHING = re.compile(rf"(?P<before>{CURRENCY})[ ]*-{{1,2}}|-{{1,2}}[ ]*(?P<after>{CURRENCY})")
"""How accounting formats write zero."""


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
        enclosed = rf"{before}\s*\({before}\s*(?:{core}{cents}|\d+{decimal})(?:{after}\s*\)|\s*\){after})"
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
        if self.version == 1 or not (len(self.unit) > 1 and self.unit.isalpha()):
            return pl_escape(self.unit)
        return f"{pl_escape(singular(self.unit))}s?"


def _any_of(words: Iterable[str]) -> str:
    return "|".join(map(pl_escape, sorted(words, key=len, reverse=True)))


def singular(unit: str) -> str:
    """The unit without a final s."""
    single = unit.removesuffix("s")
    return single if len(single) > 1 and single.isalpha() else unit


@dataclass(frozen=True, slots=True)
class NumberShape:
    """The parts of the shape of a number: its digit groups with what separates them, unit and currency. ``power``: it
    has an exponent; ``signed``: a sign or parentheses. ``dash`` is what stands before a dash that means no cents, and
    ``-`` for a dash beside a currency, which means zero; ``minus`` is a triangle that means minus."""

    core: str
    unit: str
    currency: str
    power: bool = False
    signed: bool = False
    dash: str = ""
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
            return cls("9", "", SAME_CURRENCY.get(currency, currency), dash="-")
        found = SHAPE.fullmatch(re.sub("(?<!9) +| +(?!9)", " ", plain))
        if found is None or not _is_one_number(found):
            return None
        marks = _marks(found)
        if marks is None:
            return None
        signed = any(found[name] for name in ("sign", "inner", "open", "last"))
        return cls(found["core"], *marks, found["power"] is not None, signed, (found["cents"] or "")[:1], minus)

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
    ends = found["last"] is None or not (found["close"] or found["cents"] or found["power"] or found[0][-2] in " .,")
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
