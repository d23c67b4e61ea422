"""The language of what people read: English, in which every message is written, or Chinese.

A message is written where its cause is known, and is translated where a person reads it: by the API, by the command
line. In between it is stored, sent by workers, and logged as it is. The catalogue (``locale/zh.po``, in the format of
gettext) has a template for each message, with ``{0}``, ``{1}`` … for what is different each time; a message is matched
with its template, and what was inserted is translated too if it is a message itself.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

Language = Literal["zh", "en"]
DEFAULT: Language = "zh"
"""The language of the public guide, for clients of the API that state none."""
CATALOGUE = Path(__file__).parent / "locale" / "zh.po"
LONGEST = 4_000
"""Characters of a message; a longer one is left as it is."""
DEEPEST = 6
"""How many messages may stand inside one another."""
PLACEHOLDER = re.compile(r"\{(\d+)\}")
WIDE = {"; ": "；", ": ": "："}
"""What joins several messages to one, and how Chinese writes it."""
NUMBER = re.compile(r"[\d,]+")
ONE_VALUE = re.compile(r"""'[^']*'|"[^"]*"|[^\s;]*""")
"""What may stand in a place of a template that has hardly any text of its own."""
BETWEEN_CHINESE = re.compile(r"(?<=[\u4e00-\u9fff，。；：）]) (?=[\u4e00-\u9fff，。；：（])")
"""A space that a place needs beside Latin letters only."""
SHORT = 9
QUOTED = re.compile(r"""'[^']*'|"[^"]*"|[\d,.]+|\{.*\}|\[.*\]""", re.DOTALL)
"""What is never a message."""
current: ContextVar[Language] = ContextVar("language", default="en")
"""The language of the request that is answered, or of the command that runs; elsewhere messages stay as written."""


@dataclass(frozen=True, slots=True)
class Template:
    """A message with places for what differs, and its translation, in which the places may be in another order."""

    parts: tuple[str, ...]
    order: tuple[int, ...]
    translation: str
    size: int
    """Characters that are always the same: the more, the surer the match."""
    longest: str
    """The longest part, which rules most texts out at once."""

    @classmethod
    def of(cls, message: str, translation: str) -> "Template":
        pieces = PLACEHOLDER.split(message)
        parts = tuple(pieces[::2])
        order = tuple(map(int, pieces[1::2]))
        return cls(parts, order, translation, sum(map(len, parts)), max(parts, key=len))

    def match(self, text: str, *, joined: bool) -> dict[int, str] | None:
        """What stands in the places of a text; None if it is not of this template. Unless ``joined``, nothing in a
        place may itself be joined of several messages."""
        if not (text.startswith(self.parts[0]) and text.endswith(self.parts[-1])):
            return None
        ends = self._ends(text, 1, len(self.parts[0]), joined, set())
        if ends is None:
            return None
        starts = [0, *ends[:-1]]
        return {
            number: text[start + len(part) : end]
            for number, part, start, end in zip(self.order, self.parts, starts, ends, strict=False)
        }

    def _ends(self, text: str, number: int, start: int, joined: bool, failed: set[tuple[int, int]]) -> list[int] | None:
        """Where the parts from this one on begin in a text, each as early as possible; None if they do not fit.

        ``start`` is where the place before it begins. What has ``failed`` is not tried again, so that the time is not
        exponential, as that of a regular expression is: the text may be a client's.
        """
        if number == len(self.parts):
            return [] if start == len(text) else None
        if (number, start) in failed:
            return None
        for at in self._places(text, number, start, joined):
            ends = self._ends(text, number + 1, at + len(self.parts[number]), joined, failed)
            if ends is not None:
                return [at, *ends]
        failed.add((number, start))
        return None

    def _places(self, text: str, number: int, start: int, joined: bool) -> Iterator[int]:
        """Where a part may begin, if the place before it begins at ``start``."""
        before, part = self.parts[number - 1], self.parts[number]
        if before.endswith(("row ", "line ")):
            latest = end_of(NUMBER, text, start)
        elif self.size < SHORT:
            latest = end_of(ONE_VALUE, text, start)
        else:
            separator = -1 if joined else text.find("; ", start)
            latest = len(text) if separator < 0 else separator
        if number == len(self.parts) - 1:
            at = len(text) - len(part)
            yield from (at,) if start <= at <= latest else ()
        elif not part:  # two places side by side: what both may be is that of the second, unless it is a number
            yield from (latest,) if before.endswith(("row ", "line ")) and latest > 0 else (start,)
        else:
            at = text.find(part, start)
            while start <= at <= latest:
                yield at
                at = text.find(part, at + 1)

    def filled(self, values: Mapping[int, str]) -> str:
        """The translation with these values in its places. Spaces inside a value belong to it."""
        kept = {number: value.replace(" ", "\0") for number, value in values.items()}
        text = PLACEHOLDER.sub(lambda place: kept.get(int(place[1]), ""), self.translation)
        return BETWEEN_CHINESE.sub("", text).replace("\0", " ")


def end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Where the match of a pattern ends; 0 if there is none."""
    found = pattern.match(text, start)
    return 0 if found is None else found.end()


@dataclass(slots=True)
class Catalogue:
    """The translations of messages: those that are always the same; and templates by their first word, with those that
    may begin with any word in each list."""

    exact: dict[str, str] = field(default_factory=dict)
    templates: dict[str, list[Template]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, translations: Mapping[str, str]) -> "Catalogue":
        """The catalogue of these messages; those without a translation are left out."""
        found = cls()
        for message, translation in translations.items():
            if translation:
                found._add(message, translation)
            for sign, wide in WIDE.items():  # a part that follows another one, which is translated by itself
                if translation and message.startswith(sign):
                    found._add(message.removeprefix(sign), translation.removeprefix(wide))
                if translation and message.endswith(sign):
                    found._add(message.removesuffix(sign), translation.removesuffix(wide))
        anywhere = found.templates.pop("", [])
        for templates in (*found.templates.values(), anywhere):
            templates += anywhere if templates is not anywhere else ()
            templates.sort(key=lambda template: -template.size)
        found.templates[""] = anywhere
        return found

    def _add(self, message: str, translation: str) -> None:
        if not PLACEHOLDER.search(message):
            self.exact[message] = translation
            return
        template = Template.of(message, translation)
        self.templates[_first_word(template.parts[0])].append(template)

    def translated(self, text: str) -> str:
        """The translation of a text, as far as it is known; the rest of it is left as it is."""
        return text if len(text) > LONGEST else self._any(text, DEEPEST)

    def knows(self, text: str) -> bool:
        """Whether the text, or each message that it is joined of, has a translation."""
        if self._whole(text, 0, joined=False) is not None:
            return True
        parts = text.split("; ")
        if len(parts) > 1:
            return all(self.knows(part) for part in parts) or self._whole(text, 0, joined=True) is not None
        return any(self._whole(rest, 0, joined=False) is not None for rest in _after_names(text))

    def _any(self, text: str, depth: int) -> str:
        inner = text.strip()
        if depth == 0 or not inner or QUOTED.fullmatch(inner):
            return text
        found = self._whole(inner, depth, joined=False)
        if found is None:
            joined, is_complete = self._joined(inner, "; ", depth)
            whole = None if is_complete else self._whole(inner, depth, joined=True)
            found = whole or joined or self._joined(inner, ": ", depth)[0]
        return text if found is None else text.replace(inner, found, 1)

    def _joined(self, text: str, sign: str, depth: int) -> tuple[str | None, bool]:
        """The translation of messages that this sign joins, as far as they are known (None if none is), and whether all
        of them are."""
        parts = re.split(f'(?<!"){sign}(?![^{{]*}})', text)  # not inside JSON
        if len(parts) == 1:
            return None, False
        found = [self._any(part, depth - 1) for part in parts]
        unknown = [part == one and not QUOTED.fullmatch(part) for part, one in zip(parts, found, strict=True)]
        return (None if all(unknown) else WIDE[sign].join(found)), not any(unknown)

    def _whole(self, text: str, depth: int, *, joined: bool) -> str | None:
        """The translation of a text that is one message; None if it is none."""
        if (found := self.exact.get(text)) is not None:
            return found
        for template in self._candidates(text):
            if template.longest in text and (values := template.match(text, joined=joined)) is not None:
                return template.filled(
                    {n: self._any(value, depth - 1) if depth else value for n, value in values.items()}
                )
        return None

    def _candidates(self, text: str) -> list[Template]:
        """The templates that may match, those with most text of their own first."""
        return self.templates.get(_first_word(text + " ")) or self.templates[""]


def _after_names(text: str) -> Iterator[str]:
    """What follows each colon."""
    while ": " in text:
        text = text.partition(": ")[2]
        yield text


def _first_word(text: str) -> str:
    """The first word of a text if it is complete; empty if the text is part of it."""
    word, space, _ = text.partition(" ")
    return word if space else ""


@cache
def chinese() -> Catalogue:
    """The catalogue of Chinese, read once."""
    from babel.messages.pofile import read_po  # noqa: PLC0415 - a tenth of a second that English does not need

    with CATALOGUE.open("rb") as file:
        return Catalogue.of({str(entry.id): str(entry.string) for entry in read_po(file) if entry.id})


def translated(text: str, language: Language | None = None) -> str:
    """A message in this language; None: in that of the request."""
    return chinese().translated(text) if text and (language or current.get()) == "zh" else text


def preferred(accept_language: str | None) -> Language | None:
    """The language that a header such as ``en-GB,zh;q=0.8`` prefers; the first of equal ones. None if it names neither,
    or prefers any other one (``*``).

    A simplified form of RFC 9110 section 12.5.4: subtags are ignored.
    """
    known: dict[str, Language | None] = {"en": "en", "zh": "zh", "*": None}
    best: tuple[float, Language | None] = (0.0, None)
    for entry in (accept_language or "").split(","):
        tag, _, parameters = entry.partition(";")
        name = tag.strip().lower().split("-")[0]
        if name in known and (quality := _quality(parameters)) > best[0]:
            best = (quality, known[name])
    return best[1]


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    try:
        return float(value) if name.strip().lower() == "q" else 1.0
    except ValueError:
        return 0.0


def of_environment(environ: Mapping[str, str] = os.environ) -> Language:
    """The language of a shell: that of ``EPOCHD_LANGUAGE``, or of the locale (``LC_ALL``, ``LC_MESSAGES``, ``LANG``);
    English for any other one."""
    for name in ("EPOCHD_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environ.get(name, ""):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"
