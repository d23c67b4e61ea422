"""The texts of a report in English and Chinese, and how numbers are written."""

from collections.abc import Mapping
from dataclasses import dataclass
from unicodedata import east_asian_width

from markupsafe import Markup, escape

from epochd.core.text import visible
from epochd.report import chinese, english

LANGUAGES: dict[str, Mapping[str, str]] = {"en": english.TEXTS, "zh": chinese.TEXTS}
LARGEST_PLAIN, SMALLEST_PLAIN = 1e15, 1e-4
"""Numbers outside these bounds are written with an exponent."""
ZERO = 1e-12
"""What is smaller is rounding."""


@dataclass(frozen=True, slots=True)
class Both:
    """A text in both languages, not escaped."""

    en: str
    zh: str

    @property
    def joined(self) -> str:
        """Both, for places where the language cannot be switched."""
        return self.en if self.en == self.zh else f"{self.en} · {self.zh}"

    def __html__(self) -> Markup:
        """Both, of which the page shows one."""
        if self.en == self.zh:
            return escape(self.en)
        return Markup('<span lang="en">{}</span><span lang="zh">{}</span>').format(self.en, self.zh)


def say(key: str, **values: object) -> Both:
    """The text of this key; ``values`` are filled in for its ``{names}``: texts in both languages, texts from outside,
    and numbers."""
    shown = {name: value if isinstance(value, Both) else plain(value) for name, value in values.items()}
    found = {
        language: texts[key].format(**{n: getattr(v, language) for n, v in shown.items()})
        for language, texts in LANGUAGES.items()
    }
    return Both(found["en"], found["zh"])


def plain(value: object) -> Both:
    """A number, or a text from outside, which is the same in both languages."""
    text = visible(value) if isinstance(value, str) else number(value)
    return Both(text, text)


def named(prefix: str, name: str) -> Both:
    """The text of a name that the code knows, such as that of a metric; otherwise the name."""
    key = f"{prefix}_{name}"
    return say(key) if key in english.TEXTS else plain(name)


def metric(name: str) -> Both:
    """The text of a metric, or of a column of the history, such as ``val_auc``."""
    side, _, rest = name.partition("_")
    return say(f"metric_of_{side}", metric=metric(rest)) if side in ("train", "val") else named("metric", name)


def number(value: object) -> str:
    """Four significant digits, separated thousands; a dash for None. Anything else as Python shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return visible(str(value))
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) < ZERO:
        return "0"
    if not SMALLEST_PLAIN <= abs(value) < LARGEST_PLAIN:
        return f"{value:.3g}"
    if abs(value) >= 9_999.5:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def score(value: float | None) -> str:
    """A figure from 0 to 1."""
    return "–" if value is None else f"{value:.4f}"


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def fitting(text: str, most: int) -> str:
    """The text cut to ``most`` columns, of which wide (Chinese) characters take two."""
    text, size = visible(text), 0
    for position, char in enumerate(text):
        size += 2 if east_asian_width(char) in "WF" else 1
        if size > most:
            return f"{text[: max(1, position - 1)]}…"
    return text
