"""Distances in time as a config writes them: ``15min``, ``1h``, ``1d``, ``1mo``, or plain numbers for numeric times."""

import re
from dataclasses import dataclass
from typing import Literal, Self

Unit = Literal["seconds", "months", "numbers"]
SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "min": 60.0,
    "h": 3_600.0,
    "d": 86_400.0,
    "w": 604_800.0,
}
MONTHS = {"mo": 1.0, "q": 3.0, "y": 12.0}
"""Units whose length depends on the calendar."""
WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)?\s*([a-z]+)\s*", re.IGNORECASE)
WHOLE = 1e-6
"""How far a count may be from a whole number that it stands for."""
HINT = "write a number and a unit: s, min, h, d, w, mo, q or y, as in '15min', '1h' or '1mo'"
MONTHS_OR_MINUTES = "'m' can mean minutes and months: write 'min' or 'mo'"


@dataclass(frozen=True, slots=True)
class Duration:
    """An amount above 0 of seconds, of calendar months, or of the units of a numeric time column."""

    amount: float
    unit: Unit

    @classmethod
    def parse(cls, written: str | float) -> Self:
        """The duration that a config gives. Raise ValueError, whose text is the hint."""
        if not isinstance(written, str):
            return cls(float(written), "numbers")
        found = WRITTEN.fullmatch(written)
        if found is None:
            raise ValueError(HINT)
        count, name = float(found[1] or 1), found[2].lower()
        if name == "m":
            raise ValueError(MONTHS_OR_MINUTES)
        if count <= 0 or name not in {*SECONDS, *MONTHS}:
            raise ValueError(HINT)
        return cls(count * MONTHS[name], "months") if name in MONTHS else cls(count * SECONDS[name], "seconds")

    def shown(self) -> str:
        """As a config would write it: in the largest unit of which it is a whole number below 1,000 (``25h``), or in
        the largest one of which it is at least one."""
        if self.unit == "numbers":
            return f"{self.amount:g}"
        units = {"mo": 1.0} if self.unit == "months" else {name: SECONDS[name] for name in ("d", "h", "min", "s", "ms")}
        counts = {name: self.amount / size for name, size in units.items()}
        whole = [name for name, count in counts.items() if 0.5 < count < 1_000 and abs(count - round(count)) < WHOLE]
        name = next(iter([*whole, *(name for name, count in counts.items() if count >= 1), *reversed(units)]))
        return f"{round(counts[name], 3):g}{name}"
