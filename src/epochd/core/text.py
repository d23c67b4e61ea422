"""Text from outside (names, columns, paths, log lines, environment variables) that is shown on a terminal, written to
a log, or sent in a header.

Such a text may contain characters that a terminal executes (escape sequences), that move the cursor, or that reorder
what stands beside them. They are shown escaped, as ``repr`` would show them.
"""

import re
import reprlib

MAX_SHOWN = 200
"""Characters of a value that a message repeats."""
BRIEF = reprlib.Repr()
BRIEF.maxlevel, BRIEF.maxlist, BRIEF.maxtuple, BRIEF.maxdict = 3, 20, 20, 20
BRIEF.maxstring = BRIEF.maxlong = BRIEF.maxother = MAX_SHOWN
JOINERS = "\u200c\u200d"
"""Without them some Persian and Indic words, and composed emoji, are written wrongly."""
MAX_TOKEN_CHARACTERS = 4096
"""Servers and proxies limit a request's headers to 8 KiB or more."""
TOKEN_RULE = f"a token consists of 1 to {MAX_TOKEN_CHARACTERS:,} visible ASCII characters, without spaces"
TOKEN = re.compile(rf"[!-~]{{1,{MAX_TOKEN_CHARACTERS}}}")


def cut(text: str, most: int = MAX_SHOWN) -> str:
    """The text, or its beginning and three dots if it is longer."""
    return text if len(text) <= most else text[: most - 3] + "..."


def shown(value: object, most: int = MAX_SHOWN) -> str:
    """A value as ``repr`` shows it, cut; a large one is cut before it is formatted."""
    return cut(BRIEF.repr(value), most)


def is_visible(text: str) -> bool:
    """Whether ``visible`` changes nothing."""
    return text.isprintable() or all(map(_is_visible, text))


def visible(text: str, keep: str = "") -> str:
    """The text with control, format and bidirectional characters, line separators and surrogates as ``\\x1b``.

    Printable characters of all scripts, their spaces and joiners are left alone, and so are the characters in ``keep``,
    such as tabs in a log line. A backslash is not doubled: the result is for reading, not for parsing.
    """
    if is_visible(text):
        return text
    return "".join(char if _is_visible(char) or char in keep else _escaped(char) for char in text)


def indented(text: str) -> str:
    """A text of several lines, ``visible``, with each line after the first indented by a tab as PostgreSQL's log does:
    no line of a value from outside can be mistaken for one of the program."""
    return "\n\t".join(visible(line, keep="\t") for line in text.split("\n"))


def is_token(text: str) -> bool:
    """Whether a bearer token can be sent in a header: 1 to 4,096 visible ASCII characters (RFC 6750, section 2.1, is
    narrower, but clients and proxies accept these)."""
    return TOKEN.fullmatch(text) is not None


def _is_visible(char: str) -> bool:
    """Printable, or a space of any width: ``isprintable`` rejects all spaces but the ASCII one."""
    return char.isprintable() or char in JOINERS or (char.isspace() and char > "\x9f" and char not in "\u2028\u2029")


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
