"""The names that users choose: of datasets, columns, tasks, models and their aliases, in any script.

Unicode writes many letters in several ways: macOS names a file ``e`` with a combining accent where most keyboards send
``é``. Every name is composed (form C of UAX #15, https://unicode.org/reports/tr15/) where it enters, so that names that
look the same are the same.
"""

import unicodedata
from typing import Annotated, TypeVar

from pydantic import AfterValidator

from epochd.core.text import is_visible

NameOrNone = TypeVar("NameOrNone", str, str | None)

MAX_NAME, MAX_NAME_BYTES = 120, 240
"""Characters and UTF-8 bytes. File systems allow names of 255 bytes, with the suffix of a file."""
RESERVED_CHARACTERS = frozenset('/\\:*?"<>|')
"""Characters that separate paths, or that Windows does not allow in the name of a file.
https://learn.microsoft.com/windows/win32/fileio/naming-a-file"""
UNDECODABLE = "\ufffd"
"""What decoders put in the place of bytes that are not UTF-8."""
NAME_RULE = (
    f"use up to {MAX_NAME} visible characters of any script, without {' '.join(sorted(RESERVED_CHARACTERS))}, that do "
    "not begin with '.', '-' or '~'"
)


def composed(name: NameOrNone) -> NameOrNone:
    """The name with its letters composed; None stays None."""
    return name and unicodedata.normalize("NFC", name)


def trimmed(name: str) -> str:
    """The name with its letters composed, and without white space around it."""
    return composed(name.strip())


COMPOSED = AfterValidator(composed)
"""Marks a string of a config or a request that is a name."""
Name = Annotated[str, COMPOSED]


def defect(name: str) -> str:
    """Why a composed name cannot be that of a dataset or an alias, after 'it'; empty if it can."""
    if not name:
        return "is empty"
    if UNDECODABLE in name:
        return "is not encoded in UTF-8"
    if not is_visible(name):
        return "contains control, bidirectional or other invisible characters"
    if found := sorted(RESERVED_CHARACTERS & set(name)):
        return f"contains {found[0]!r}"
    if name[0] in ".-~":
        return f"begins with {name[0]!r}"
    if len(name) > MAX_NAME or len(name.encode()) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME} characters or {MAX_NAME_BYTES} bytes in UTF-8"
    return ""
