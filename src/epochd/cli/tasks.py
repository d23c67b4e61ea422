"""Commands about tasks: submit and watch one, control it, show its log, list all."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from epochd.cli.console import (
    DETACHED,
    TaskId,
    Token,
    Url,
    err,
    number,
    print_line,
    read_config,
    show,
    show_table,
)
from epochd.cli.predictions import watch_prediction
from epochd.cli.watching import watch_to_the_end
from epochd.client import DEFAULT_URL, Client
from epochd.core.jobs import State, is_prediction


def train(
    config: Annotated[Path, Argument(help="A training config as a JSON file.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
    detach: Annotated[bool, Option("--detach", help="Submit the training, print the task's id and exit.")] = False,
) -> None:
    """Submit a training and watch it. Exit code 0: completed, 1: failed or cancelled, 2: invalid config."""
    values = read_config(config)
    with Client(url, token) as client:
        answer = client.start(values)
        for warning in answer.get("warnings", ()):
            show(("warning:", "yellow"), f" {warning}", to=err)
        if detach:
            print_line(answer["task_id"])
        else:
            raise Exit(watch_to_the_end(client, answer["task_id"]))


def watch(task_id: TaskId, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Watch a task from its beginning. Ctrl-C detaches; the task continues."""
    with Client(url, token) as client:
        if is_prediction(task_id):
            raise Exit(watch_prediction(client, task_id))
        raise Exit(watch_to_the_end(client, task_id))


def pause(task_id: TaskId, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Pause a task: save a checkpoint and free its slot for the next task."""
    with Client(url, token) as client:
        print_line(client.pause(task_id)["message"])


def resume(
    task_id: TaskId,
    allow_changed_data: Annotated[
        bool, Option("--allow-changed-data", help="Resume even if the dataset has changed since the pause.")
    ] = False,
    epochs: Annotated[int | None, Option(help="The new total number of epochs, more than before.")] = None,
    learning_rate: Annotated[float | None, Option(help="The new learning rate.")] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Resume a paused task exactly where it stopped, optionally with changes."""
    given = {"allow_changed_data": allow_changed_data or None, "epochs": epochs, "learning_rate": learning_rate}
    with Client(url, token) as client:
        changes = {name: value for name, value in given.items() if value is not None}
        print_line(client.resume(task_id, **changes)["message"])


def continue_(
    task_id: TaskId,
    epochs: Annotated[int, Option(help="The new total number of epochs.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Train a completed model for more epochs, as a new task."""
    with Client(url, token) as client:
        print_line(client.continue_task(task_id, epochs)["task_id"])


def retry(
    task_id: TaskId,
    from_beginning: Annotated[
        bool, Option("--from-beginning", help="Start from the beginning instead of the newest checkpoint.")
    ] = False,
    output_path: Annotated[str | None, Option(help="Save the model in this folder of the artifact store.")] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Retry a failed or cancelled task, as a new task."""
    with Client(url, token) as client:
        retried = client.retry(task_id, from_beginning=from_beginning, output_path=output_path)
        print_line(retried["task_id"])


def logs(
    task_id: TaskId,
    attempt: Annotated[int | None, Option(help="The attempt. Default: the newest.")] = None,
    tail: Annotated[int, Option(help="The number of last lines to show.")] = 200,
    follow: Annotated[
        bool, Option("--follow", help="Show new lines until the task has ended; ctrl-C detaches.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Show the output of a task's worker."""
    with Client(url, token) as client:
        if not follow:
            for line in client.logs(task_id, attempt=attempt, tail=tail)["lines"]:
                print_line(line)
            return
        try:
            for event in client.follow(task_id, attempt=attempt, tail=tail):
                print_line(event["line"])
        except KeyboardInterrupt:
            raise Exit(DETACHED) from None


def stop(task_id: TaskId, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Cancel a task; it cannot be resumed."""
    with Client(url, token) as client:
        print_line(client.stop(task_id)["message"])


def remove(
    task_id: TaskId,
    keep_model: Annotated[bool, Option("--keep-model", help="Keep the model's folder.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Remove a finished task with its checkpoints, logs and model."""
    with Client(url, token) as client:
        print_line(client.remove(task_id, keep_model=keep_model)["message"])


def tasks(
    state: Annotated[State | None, Option(help="Only tasks in this state.")] = None,
    name: Annotated[str | None, Option(help="Only tasks whose name contains this text.")] = None,
    limit: Annotated[int, Option(help="The maximum number, newest first.")] = 20,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """List trainings, newest first; `epochd predictions` lists batch predictions."""
    with Client(url, token) as client:
        answer = client.tasks(state=state, name=name, limit=limit)
    found, rows = answer["tasks"], []
    for task in found:
        best = [number(task["best_metrics"].get(name)) for name in ("loss", "accuracy")]
        epoch = f"{task['current_epoch']}/{task['total_epochs']}"
        rows.append([task["task_id"], task["name"], task["state"], epoch, *best])
    show_table(["id", "name", "state", "epoch", "best loss", "best accuracy"], rows)
    if answer["total"] > len(found):
        show(f"{len(found)} of {answer['total']} tasks; --limit shows more")


COMMANDS = train, watch, pause, resume, continue_, retry, logs, stop, remove, tasks
"""In the order in which ``--help`` shows them."""
