"""``epochd logs``: what the workers of a task have printed, and what they print from now on."""

from typing import Annotated

import typer

from epochd.cli.console import DETACHED, TaskId, Token, Url
from epochd.client import DEFAULT_URL, Client


def logs(
    task_id: TaskId,
    attempt: Annotated[int | None, typer.Option(help="Which attempt; by default the newest.")] = None,
    tail: Annotated[int, typer.Option(help="How many of the last lines.")] = 200,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the task has ended; ctrl-C leaves.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Show what a task's worker has printed."""
    with Client(url, token) as client:
        if not follow:
            for line in client.logs(task_id, attempt=attempt, tail=tail)["lines"]:
                typer.echo(line)
            return
        try:
            for event in client.follow(task_id, attempt=attempt, tail=tail):
                typer.echo(event["line"])
        except KeyboardInterrupt:
            raise typer.Exit(DETACHED) from None
