"""Commands about tasks: submit one and watch it, steer it, see which there are."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from epochd.cli.console import TaskId, Token, Url, err, number, out, read_config, table_of
from epochd.cli.watching import watch_to_the_end
from epochd.client import DEFAULT_URL, Client
from epochd.core.jobs import State


def train(
    config: Annotated[Path, typer.Argument(help="A training config as a JSON file.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
    detach: Annotated[bool, typer.Option("--detach", help="Submit, print the task's id and leave.")] = False,
) -> None:
    """Submit a training and watch it. Exit code 0: completed, 1: failed or cancelled, 2: refused."""
    values = read_config(config)
    with Client(url, token) as client:
        answer = client.start(values)
        for warning in answer.get("warnings", ()):
            err.print(f"[yellow]warning:[/yellow] {escape(str(warning))}")
        if detach:
            typer.echo(answer["task_id"])
        else:
            raise typer.Exit(watch_to_the_end(client, answer["task_id"]))


def watch(task_id: TaskId, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Watch a task from its first epoch on; ctrl-C leaves it running."""
    with Client(url, token) as client:
        raise typer.Exit(watch_to_the_end(client, task_id))


def pause(task_id: TaskId, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Pause a task: its place is saved and its slot goes to the next one."""
    with Client(url, token) as client:
        typer.echo(client.pause(task_id)["message"])


def resume(
    task_id: TaskId,
    allow_changed_data: Annotated[
        bool, typer.Option("--allow-changed-data", help="Go on although the dataset has changed since.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(help="Train until there are so many epochs, more than before.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Another learning rate from now on.")] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Go on with a paused task exactly where it stood, or with changes."""
    changes = {
        "allow_changed_data": allow_changed_data or None,
        "epochs": epochs,
        "learning_rate": learning_rate,
    }
    with Client(url, token) as client:
        answer = client.resume(task_id, **{name: value for name, value in changes.items() if value is not None})
        typer.echo(answer["message"])


def continue_(
    task_id: TaskId,
    epochs: Annotated[int, typer.Option(help="How many epochs the model shall have in all.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Train a completed model for longer, as a new task."""
    with Client(url, token) as client:
        typer.echo(client.continue_task(task_id, epochs)["task_id"])


def retry(
    task_id: TaskId,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Leave its checkpoint aside.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Try a failed or cancelled task again, as a new task."""
    with Client(url, token) as client:
        typer.echo(client.retry(task_id, from_beginning=from_beginning)["task_id"])


def stop(task_id: TaskId, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Cancel a task for good."""
    with Client(url, token) as client:
        typer.echo(client.stop(task_id)["message"])


def remove(
    task_id: TaskId,
    keep_model: Annotated[bool, typer.Option("--keep-model", help="Leave the model's folder where it is.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Remove a finished task with its checkpoints, logs and model."""
    with Client(url, token) as client:
        typer.echo(client.remove(task_id, keep_model=keep_model)["message"])


def tasks(
    state: Annotated[State | None, typer.Option(help="Only tasks in this state.")] = None,
    name: Annotated[str | None, typer.Option(help="Only tasks with this in their name.")] = None,
    limit: Annotated[int, typer.Option(help="How many, newest first.")] = 20,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """List tasks, newest first."""
    with Client(url, token) as client:
        answer = client.tasks(state=state, name=name, limit=limit)
    titles = ["id", "name", "state", "epoch", "best loss", "best accuracy"]
    out.print(table_of(titles, map(task_cells, answer["tasks"])))
    if answer["total"] > len(answer["tasks"]):
        out.print(f"{len(answer['tasks'])} of {answer['total']} tasks; --limit shows more")


def task_cells(task: dict[str, Any]) -> list[str]:
    best = task["best_metrics"]
    return [
        task["task_id"],
        task["name"],
        task["state"],
        f"{task['current_epoch']}/{task['total_epochs']}",
        number(best.get("loss")),
        number(best.get("accuracy")),
    ]
