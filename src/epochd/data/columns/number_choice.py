"""The notation of the numbers of a column, chosen from the shapes of all its values, and what else they may mean.

In a shape each digit is a 9. The notation that explains most values is chosen; a unit or a currency that only some of
them have makes other amounts of these, and codes, versions and addresses may look like numbers.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

import polars as pl

from epochd.core.text import shown
from epochd.data.columns.numbers import (
    DOWN,
    LETTERS,
    MULTIPLIERS,
    SCALE,
    THOUSANDS,
    VERSION,
    NumberNotation,
    NumberShape,
    singular,
)

ALWAYS_MULTIPLY = {"千", "万", "萬", "十万", "百万", "千万", "亿", "億", "万亿", "mn", "bn"}
ADDRESS = re.compile(r"9{1,3}(?:\.999){2,3}")
"""Shapes of versions and addresses, which numbers with separators of thousands may have, too."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the shapes of a column do not tell: ``examples`` of them, which ones are of ``zeros`` only, and which ones
    of ADDRESS have no group above 255 (``small_groups``). ``zero_decimals`` counts values such as ``0,123``, whose
    separator must be the decimal one."""

    examples: Mapping[str, str] = field(default_factory=dict)
    zeros: Collection[str] = ()
    small_groups: Collection[str] = ()
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
    parsed = {shape: found for shape in sorted(shapes) if (found := NumberShape.of(shape)) is not None}
    if any(sign in shape for shape in shapes for sign in DOWN) or all(found.minus for found in parsed.values()):
        parsed = {shape: found for shape, found in parsed.items() if not found.minus}
    if all(found.dash == "-" for found in parsed.values()):
        return None
    counts = {shape: shapes[shape] for shape in parsed}
    marks = _beside(parsed, counts)
    dashes = {parsed[shape].dash for shape in marks.usable}
    separators = {char for shape in marks.usable for char in parsed[shape].core if char in THOUSANDS} | (dashes & {","})
    best, most = ("", ""), -1
    for point, thousands in _candidates(separators, decimal):
        fitting = sum(counts[shape] for shape in marks.usable if parsed[shape].fits(point, thousands))
        is_preferred = facts.zero_decimals and best[0] not in separators and point in separators
        if fitting > most or (fitting == most and (is_preferred or (point in dashes and best[0] not in dashes))):
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
        allowed = {one for one in units if singular(one) == singular(unit)}
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
        either[singular(unit)] = either.get(singular(unit), 0) + count
    single = max((unit for unit in either if unit), key=lambda unit: either[unit], default="")
    if either.get(single, 0) < units.get("", 0) and single not in "%‰":
        return ""
    return max((unit for unit in units if singular(unit) == single), key=lambda unit: units[unit], default="")


def _doubted(
    chosen: ChosenNotation, fit: Mapping[str, NumberShape], facts: Facts, *, decimal: str | None, is_number: bool
) -> ChosenNotation | None:
    """The chosen notation with what else its values may mean; None if they are addresses."""
    notation, groups = chosen.notation, 0 if is_number or decimal else _equal_groups(chosen.notation, fit)
    are_addresses = groups > 0 and notation.thousands == "." and all(shape in facts.small_groups for shape in fit)
    if groups == 4 and are_addresses:
        return None
    if groups or (not is_number and not decimal and _are_short(notation, fit)):
        shape = next((one for one, found in fit.items() if found.unit), next(iter(fit)))
        example = facts.examples.get(shape, shape)
        number = pl.select(notation.expression(pl.lit(example))).item()
        value = "" if number is None else f" ({number:.15g})"  # an integer may be too large
        doubt = f"values such as {shown(example)} are read as numbers{value}, and may also be codes"
        return replace(chosen, doubt=doubt, settled_by="codes", may_be_codes=are_addresses or notation.multiplies)
    without = [shape for shape, found in fit.items() if not (found.unit or found.is_infinite or shape in facts.zeros)]
    if notation.divisor != 1 and without and not is_number:
        example = facts.examples.get(without[0], without[0])
        doubt = (
            f"numbers without {notation.unit} beside others with it, such as {shown(example)}, are read as if they "
            "had it, which is wrong if they are fractions: if so, write all values alike"
        )
        return replace(chosen, doubt=doubt, settled_by="type")
    is_clear = facts.zero_decimals or any(found.dash in (",", ".") for found in fit.values() if found.dash)
    if decimal is None and not is_clear and not any(sign in shape for shape in fit for sign in "٫٬"):
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
