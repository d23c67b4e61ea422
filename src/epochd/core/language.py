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
"""The language of the public guide, for clients that state none."""
CATALOGUE = Path(__file__).parent / "locale" / "zh.po"
LONGEST = 20_000
"""Characters of a message; a longer one is left as it is."""
DEEPEST = 4
"""How many messages may stand inside one another."""
PLACEHOLDER = re.compile(r"\{(\d+)\}")
SEPARATORS = ("; ", ": ")
"""What joins several messages to one."""
current: ContextVar[Language] = ContextVar("language", default=DEFAULT)
"""The language of the request that is answered."""


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
        """What stands in the places of a text; None if it is not of this template."""
        if not (text.startswith(self.parts[0]) and text.endswith(self.parts[-1])):
            return None
        pattern = "(.+?)".join(map(re.escape, self.parts))
        found = re.fullmatch(pattern, text, re.DOTALL)
        return None if found is None else dict(zip(self.order, found.groups(), strict=True))

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
                inner = {n: self._any(value, depth - 1) if depth else value for n, value in values.items()}
                return template.filled(inner)
        return None

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


def of_environment(environ: Mapping[str, str] = os.environ) -> Language:
    """The language of a shell: that of ``EPOCHD_LANGUAGE``, or of the locale (``LC_ALL``, ``LC_MESSAGES``, ``LANG``);
    English for any other one."""
    for name in ("EPOCHD_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environ.get(name, ""):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"
