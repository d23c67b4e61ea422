"""Options and arguments that several commands have, so that they read the same in each of them."""

from typing import Annotated

import typer

Url = Annotated[str, typer.Option(envvar="EPOCHD_URL", help="The server's address.")]
Token = Annotated[
    str | None, typer.Option(envvar="EPOCHD_TOKEN", help="A bearer token of the server; better set in the environment.")
]
TaskId = Annotated[str, typer.Argument(help="The task's id, as `epochd tasks` shows it.")]
