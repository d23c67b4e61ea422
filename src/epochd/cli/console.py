"""Shared by all commands: output, tables, errors, number format, exit codes and common options.

Everything that a command prints passes through ``show``, ``show_table`` or ``print_line``, which escape what a terminal
would execute: names, columns, messages and log lines may come from anyone who can write to the server.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Column, Table
from rich.text import Text
from typer import Argument, Option, echo

from epochd.cli.language import COLON, chosen, localized, word
from epochd.core.errors import DataError, EpochdError, FrameworkMissing, InvalidSpec, Problem, SettingsError
from epochd.core.text import indented, visible

if TYPE_CHECKING:
    from epochd.client import Client

FAILED, REFUSED, DETACHED = 1, 2, 130
"""Exit codes: the command failed; the input was invalid and nothing was started; ctrl-C, the training continues."""

# Neither markup nor emoji codes: ``[red]`` and ``:bomb:`` in a name are the name.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def show(text: str, *, label: tuple[str, str] = ("", ""), style: str = "", to: Console = out) -> None:
    """Print one message in the language of the command line, in a style; a label and its style may stand before it."""
    title, title_style = label
    before = indented(title) + COLON[chosen()] if title else ""
    to.print(Text.assemble((before, title_style), (indented(localized(text)), style)))


def warn(text: str) -> None:
    """Print a warning."""
    show(text, label=(word("warning"), "yellow"), to=err)


def print_line(line: str, to: Console = out) -> None:
    """Print a plain line with its tabs, for programs that read it and for logs. It is not translated."""
    echo(indented(line), err=to is err)


def exit_code(error: EpochdError) -> int:
    return REFUSED if isinstance(error, InvalidSpec | DataError | FrameworkMissing | SettingsError) else FAILED


def show_error(error: EpochdError) -> None:
    """Print an error: a single problem as a sentence, several problems as a table."""
    if len(error.problems) > 1:
        show(f"{len(error.problems)} problems", label=(word("error"), "red"), to=err)
        rows = ([one.field, localized(one.message), localized(one.hint)] for one in error.problems)
        show_table(["field", "problem", "what to do"], rows, to=err)
        return
    show(error.message, label=(word("error"), "red"), to=err)
    for problem in error.problems:
        if problem.hint:
            show(f"  {localized(problem.hint)}", to=err)


def show_table(titles: list[str], rows: Iterable[Sequence[str]], to: Console = out) -> None:
    """Print rows under titles, which are translated; the cells are not."""
    columns = (Column(word(title), overflow="fold", no_wrap=title == "id") for title in titles)
    table = Table(*columns, show_edge=False)
    for row in rows:
        table.add_row(*map(visible, row))
    to.print(table)


def size(count: int) -> str:
    """A number of bytes in the unit that suits it."""
    return decimal(count).replace("bytes", word("bytes"))


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


DEFAULT_URL = "http://127.0.0.1:8000"
"""That of ``epochd.client``."""
Url = Annotated[str, Option(envvar="EPOCHD_URL", help="The server's address.")]
TOKEN_HELP = "A bearer token of the server; set it in the environment to keep it out of the shell history."
Token = Annotated[str | None, Option(envvar="EPOCHD_TOKEN", help=TOKEN_HELP)]
TaskId = Annotated[str, Argument(help="The task's id, as listed by `epochd tasks`.")]


def connected(url: str, token: str | None) -> "Client":
    """A client of the server, to be closed."""
    from epochd.client import Client  # noqa: PLC0415 - 0.05 s for httpx, which ``serve`` and ``--help`` do not need

    return Client(url, token)


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises InvalidSpec."""
    try:
        values = json.loads(path.read_bytes())  # detects UTF-8, UTF-16 and UTF-32, with a byte order mark or without
    except (OSError, ValueError) as error:
        raise InvalidSpec([Problem(str(path), f"cannot be read as JSON: {error}", "provide a JSON file")]) from None
    if not isinstance(values, dict):
        message = f"contains a JSON {type(values).__name__}, but a config is an object"
        raise InvalidSpec([Problem(str(path), message, "see the files in examples/")])
    return values
