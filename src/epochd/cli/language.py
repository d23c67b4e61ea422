"""The language of the command line: that of ``--language``, or of the environment (``core.language``).

Commands describe themselves in English, and typer and click, which parse the arguments, know no other language. So the
tree of commands is translated once before it runs, and their errors when they are shown.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from enum import StrEnum
from functools import partial
from inspect import cleandoc
from typing import Annotated, Any

from typer import Context, Option

from epochd.core.language import Language, of_environment, translated

OPTION = "--language"
VARIABLE = "EPOCHD_LANGUAGE"
COLON: dict[Language, str] = {"zh": "：", "en": ": "}
COMMA: dict[Language, str] = {"zh": "，", "en": ", "}
TITLES = (
    *("ARGUMENTS_PANEL_TITLE", "OPTIONS_PANEL_TITLE", "COMMANDS_PANEL_TITLE", "ERRORS_PANEL_TITLE", "DEFAULT_STRING"),
    *("ENVVAR_STRING", "REQUIRED_LONG_STRING", "ABORTED_TEXT", "RICH_HELP"),
)
"""The texts of typer that stand in every help and error, as they are named in ``typer.rich_utils``."""


METAVARS = ("options_metavar", "subcommand_metavar")
"""What a command's usage ends with, as its attributes are named."""


class Spoken(StrEnum):
    ZH = "zh"
    EN = "en"


LanguageOption = Annotated[
    Spoken | None, Option(OPTION, help="The language of what is printed. Default: that of EPOCHD_LANGUAGE or LANG.")
]


def chosen() -> Language:
    """The language in which this process speaks to a person."""
    return of_environment(os.environ)


def localized(text: str) -> str:
    """A message in the language of the command line."""
    return translated(text, chosen())


def word(text: str) -> str:
    """A label or a title in the language of the command line. It has an entry of its own in the catalogue, so that a
    column called ``name`` keeps its name in messages."""
    return translated(f"word: {text}", chosen()).removeprefix("word: ")


def choose(arguments: Sequence[str]) -> None:
    """Let ``--language`` decide for all that follows, wherever it stands: parsing may end at an error before it."""
    before_end = arguments[: arguments.index("--")] if "--" in arguments else arguments
    for index, argument in enumerate(before_end):
        name, _, value = argument.partition("=")
        given = value or "".join(before_end[index + 1 : index + 2])
        if name == OPTION and given in tuple(Spoken):
            os.environ[VARIABLE] = given


def accept_everywhere(command: Any) -> None:
    """Make each command accept the option ``--language`` of the program."""
    option = copy(next(one for one in command.params if OPTION in one.opts))
    option.hidden, option.expose_value = True, False  # read by ``choose``; only shown by ``epochd --help``
    for one in _tree(command):
        if not any(OPTION in parameter.opts for parameter in one.params):
            one.params.append(option)


@contextmanager
def spoken(command: Any) -> Iterator[None]:
    """Run a tree of commands whose help and errors are in the language of the command line."""
    if chosen() == "en":
        yield
        return
    from typer import rich_utils  # noqa: PLC0415 - 0.1 s that only help and errors need

    before = {name: getattr(rich_utils, name) for name in (*TITLES, *WRAPPED)}
    for one in _tree(command):
        _translate(one)
    try:
        for name in TITLES:
            setattr(rich_utils, name, word(before[name]))
        for name, wrapper in WRAPPED.items():
            setattr(rich_utils, name, partial(wrapper, before[name]))
        yield
    finally:
        for name, value in before.items():
            setattr(rich_utils, name, value)


def _tree(command: Any) -> Iterator[Any]:
    """A command and all below it."""
    yield command
    for child in getattr(command, "commands", {}).values():
        yield from _tree(child)


def _translate(command: Any) -> None:
    """Translate what a command says of itself and of its parameters."""
    for name, translate in {"help": localized, "epilog": localized, **dict.fromkeys(METAVARS, word)}.items():
        if text := getattr(command, name, None):
            setattr(command, name, translate(cleandoc(text)))
    for parameter in [*command.params, command.get_help_option(Context(command))]:
        parameter.help = localized(parameter.help or "")
    command.get_usage = partial(_usage, command.get_usage)


def _usage(write: Any, context: Any) -> str:
    text = str(write(context))
    return text.replace("Usage: ", word("Usage") + COLON[chosen()], 1)


def _show_error(show: Any, error: Any) -> None:
    """Show an error of the arguments; its text is made of parts that differ."""
    text = localized(error.format_message())
    error.format_message = lambda: text
    show(error)


def _folded(make: Any, **options: Any) -> Any:
    """A text that may end a line after each character, as Chinese has no spaces; else the rest of it is cut off."""
    text = make(**options)
    text.overflow = "fold"
    return text


WRAPPED: dict[str, Any] = {"rich_format_error": _show_error, "_make_rich_text": _folded}
"""Functions of ``typer.rich_utils``, and what is called with them instead."""
