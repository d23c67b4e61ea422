"""Shared by all commands: consoles, tables, errors, number format, exit codes and common options."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from typer import Argument, Option

from epochd.core.errors import DataError, EpochdError, FrameworkMissing, InvalidSpec, Problem, SettingsError

FAILED, REFUSED, DETACHED = 1, 2, 130
"""Exit codes: the command failed; the input was invalid and nothing was started; ctrl-C, the training continues."""

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def exit_code(error: EpochdError) -> int:
    return REFUSED if isinstance(error, InvalidSpec | DataError | FrameworkMissing | SettingsError) else FAILED


def show_error(error: EpochdError) -> None:
    """Print an error: a single problem as a sentence, several problems as a table."""
    if len(error.problems) > 1:
        err.print(f"[red]error:[/red] {len(error.problems)} problems")
        err.print(table_of(["field", "problem", "what to do"], [astuple(problem) for problem in error.problems]))
        return
    err.print(f"[red]error:[/red] {escape(error.message)}")
    for problem in error.problems:
        err.print(f"  {escape(problem.hint)}")


def table_of(titles: list[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(*(Column(title, overflow="fold", no_wrap=title == "id") for title in titles), show_edge=False)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


Url = Annotated[str, Option(envvar="EPOCHD_URL", help="The server's address.")]
TOKEN_HELP = "A bearer token of the server; set it in the environment to keep it out of the shell history."
Token = Annotated[str | None, Option(envvar="EPOCHD_TOKEN", help=TOKEN_HELP)]
TaskId = Annotated[str, Argument(help="The task's id, as listed by `epochd tasks`.")]


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises InvalidSpec."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSpec([Problem(str(path), f"cannot be read as JSON: {error}", "provide a JSON file")]) from None
    if not isinstance(values, dict):
        message = f"contains a JSON {type(values).__name__}, but a config is an object"
        raise InvalidSpec([Problem(str(path), message, "see the files in examples/")])
    return values
