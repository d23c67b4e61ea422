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
LONGEST = 20_000
"""Characters of a message; a longer one is left as it is."""
DEEPEST = 4
"""How many messages may stand inside one another."""
PLACEHOLDER = re.compile(r"\{(\d+)\}")
SEPARATORS = ("; ", ": ")
"""What joins several messages to one."""
QUOTES = "'\"`"
current: ContextVar[Language] = ContextVar("language", default="en")
"""The language of the request that is answered, or of the command that runs; elsewhere messages stay as written."""


@dataclass(frozen=True, slots=True)
class Template:
    """A message with places for what differs, and its translation, in which the places may be in another order."""

    parts: tuple[str, ...]
    order: tuple[int, ...]
    translation: str

    @classmethod
    def of(cls, message: str, translation: str) -> "Template":
        pieces = PLACEHOLDER.split(message)
        return cls(tuple(pieces[::2]), tuple(map(int, pieces[1::2])), translation)

    @property
    def size(self) -> int:
        """Characters that are always the same: the more, the surer the match."""
        return sum(map(len, self.parts))

    def match(self, text: str) -> dict[int, str] | None:
        """What stands in the places of a text, each as short as possible; None if it is not of this template.

        Takes linear time, which a regular expression does not: the text may be of a client.
        """
        first, *middle, last = self.parts
        if not (text.startswith(first) and text.endswith(last)):
            return None
        at, end, found = len(first), len(text) - len(last), []
        for part in middle:
            after = text.find(part, at + 1, end)
            if after < 0:
                return None
            found.append(text[at:after])
            at = after + len(part)
        return dict(zip(self.order, [*found, text[at:end]], strict=True)) if at < end else None

    def filled(self, values: Mapping[int, str]) -> str:
        """The translation with these values in its places."""
        return PLACEHOLDER.sub(lambda place: values.get(int(place[1]), ""), self.translation)


@dataclass(slots=True)
class Catalogue:
    """The translations of messages: those that are always the same, and templates by the first word of theirs."""

    exact: dict[str, str] = field(default_factory=dict)
    templates: dict[str, list[Template]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, translations: Mapping[str, str]) -> "Catalogue":
        """The catalogue of these messages; those without a translation are left out."""
        found = cls()
        for message, translation in translations.items():
            if translation and PLACEHOLDER.search(message):
                template = Template.of(message, translation)
                found.templates[_first_word(template.parts[0])].append(template)
            elif translation:
                found.exact[message] = translation
        for templates in found.templates.values():
            templates.sort(key=lambda template: -template.size)
        return found

    def translated(self, text: str) -> str:
        """The translation of a text, as far as it is known; the rest of it is left as it is."""
        return text if len(text) > LONGEST else self._any(text, DEEPEST)

    def knows(self, text: str) -> bool:
        """Whether the text, or each message that it is joined of, has a translation."""
        return self._whole(text, DEEPEST) is not None or any(
            all(self._whole(part, DEEPEST) is not None for part in text.split(sign))
            for sign in SEPARATORS
            if sign in text
        )

    def _any(self, text: str, depth: int) -> str:
        whole = self._whole(text, depth)
        if whole is not None or depth == 0:
            return text if whole is None else whole
        for sign in SEPARATORS:
            first, joined, rest = text.partition(sign)
            if joined and (one := self._whole(first, depth)) is not None:
                return one + _WIDE[sign] + self._any(rest, depth - 1)
            if joined and (other := self._any(rest, depth - 1)) != rest:
                return first + _WIDE[sign] + other
        return text

    def _whole(self, text: str, depth: int) -> str | None:
        """The translation of a text that is one message; None if it is none."""
        if (found := self.exact.get(text)) is not None:
            return found
        for template in self._candidates(text):
            values = template.match(text)
            if values is not None:
                return template.filled({number: self._inserted(value, depth) for number, value in values.items()})
        return None

    def _inserted(self, value: str, depth: int) -> str:
        """The translation of what stands in a place, unless it is a quoted value of a user."""
        is_quoted = value[0] in QUOTES and value[-1] == value[0] and value.count(value[0]) == 2
        return value if is_quoted or depth == 0 else self._any(value, depth - 1)

    def _candidates(self, text: str) -> Iterator[Template]:
        yield from self.templates.get(_first_word(text + " "), ())
        yield from self.templates.get("", ())


_WIDE = {"; ": "；", ": ": "："}


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
