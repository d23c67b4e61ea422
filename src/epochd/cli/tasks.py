"""Commands about tasks: submit and watch one, control it, show its log, list all."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from epochd.cli.console import (
    DEFAULT_URL,
    DETACHED,
    TaskId,
    Token,
    Url,
    connected,
    err,
    number,
    print_line,
    read_config,
    show,
    show_table,
    warn,
)
from epochd.cli.language import Spoken, chosen
from epochd.cli.predictions import watch_prediction
from epochd.cli.watching import show_comparison, watch_to_the_end
from epochd.core.errors import NotFound
from epochd.core.jobs import State, is_prediction
from epochd.report.drawing import draw
from epochd.report.language import FILE, Language, in_language


def train(
    config: Annotated[Path, Argument(help="A training config as a JSON file.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
    detach: Annotated[bool, Option("--detach", help="Submit the training, print the task's id and exit.")] = False,
) -> None:
    """Submit a training and watch it. Exit code 0: completed, 1: failed or cancelled, 2: invalid config."""
    values = read_config(config)
    with connected(url, token) as client:
        answer = client.start(values)
        for warning in answer.get("warnings", ()):
            warn(warning)
        if detach:
            print_line(answer["task_id"])
        else:
            raise Exit(watch_to_the_end(client, answer["task_id"]))


def watch(task_id: TaskId, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Watch a task from its beginning. Ctrl-C detaches; the task continues."""
    with connected(url, token) as client:
        if is_prediction(task_id):
            raise Exit(watch_prediction(client, task_id))
        raise Exit(watch_to_the_end(client, task_id))


def pause(task_id: TaskId, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Pause a task: save a checkpoint and free its slot for the next task."""
    with connected(url, token) as client:
        show(client.pause(task_id)["message"])


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
    with connected(url, token) as client:
        changes = {name: value for name, value in given.items() if value is not None}
        show(client.resume(task_id, **changes)["message"])


def prioritise(
    task_id: TaskId,
    priority: Annotated[int, Argument(help="From -100 to 100; tasks of higher priority start first.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Change the place in the queue of a task that waits or is paused. A negative number follows two dashes: -- -5."""
    with connected(url, token) as client:
        show(client.prioritise(task_id, priority)["message"])


def continue_(
    task_id: TaskId,
    epochs: Annotated[int, Option(help="The new total number of epochs.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Train a completed model for more epochs, as a new task."""
    with connected(url, token) as client:
        continued = client.continue_task(task_id, epochs)
    print_line(continued["task_id"])
    rates = continued.get("receipt", {}).get("learning_rate", {})  # an older server sends none
    before, after = rates.get("before"), rates.get("after")
    if before and after and after[0][1] > before[-1][1]:
        (last, used), (first, next_rate) = before[-1], after[0]
        text = f"the learning rate rises from {used:.3g} in epoch {last} to {next_rate:.3g} in epoch {first}"
        warn(text)


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
    with connected(url, token) as client:
        retried = client.retry(task_id, from_beginning=from_beginning, output_path=output_path)
        print_line(retried["task_id"])


def replay(
    task_id: TaskId,
    detach: Annotated[bool, Option("--detach", help="Start the training, print the new task's id and exit.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Repeat a completed training on the same data and show what differs. Exit code 0: nothing, 1: something."""
    with connected(url, token) as client:
        repeated = client.replay(task_id)["task_id"]
        if detach:
            print_line(repeated)
            return
        if code := watch_to_the_end(client, repeated):
            raise Exit(code)
        raise Exit(show_comparison(task_id, client.compare_replay(repeated)["comparison"]))


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
    with connected(url, token) as client:
        if not follow:
            for line in client.logs(task_id, attempt=attempt, tail=tail)["lines"]:
                print_line(line)
            return
        try:
            for event in client.follow(task_id, attempt=attempt, tail=tail):
                print_line(event["line"])
        except KeyboardInterrupt:
            raise Exit(DETACHED) from None


def report(
    model: Annotated[str, Argument(help="A task's id, or the folder of a model, for example .../models/latest.")],
    output: Annotated[Path | None, Option(help="The file to write. Default: <task id>.html.")] = None,
    lang: Annotated[
        Spoken | None, Option(help="The language that it shows first. Default: that of the command line.")
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Save the report of a model as one HTML file, which needs no network."""
    folder, first = Path(model), chosen() if lang is None else lang.value
    if folder.is_dir():
        page, name = local_report(folder, first), folder.resolve().name
    else:
        with connected(url, token) as client:
            page, name = client.report(model, first), model
    target = output or Path(f"{name}.html")
    target.write_text(page, encoding="utf-8")
    show(f"report written to {target}", to=err)


def local_report(folder: Path, lang: Language) -> str:
    """The report in a model's folder, which is drawn if it is not there yet. Raises NotFound."""
    draw(folder)
    try:
        return in_language((folder / FILE).read_bytes(), lang).decode("utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        raise NotFound(f"{folder} has no readable {FILE}: is it the folder of a model that has a report?") from None


def stop(task_id: TaskId, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Cancel a task; it cannot be resumed."""
    with connected(url, token) as client:
        show(client.stop(task_id)["message"])


def remove(
    task_id: TaskId,
    keep_model: Annotated[bool, Option("--keep-model", help="Keep the model's folder.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Remove a finished task with its checkpoints, logs and model."""
    with connected(url, token) as client:
        show(client.remove(task_id, keep_model=keep_model)["message"])


def tasks(
    state: Annotated[State | None, Option(help="Only tasks in this state.")] = None,
    name: Annotated[str | None, Option(help="Only tasks whose name contains this text.")] = None,
    dataset: Annotated[str | None, Option(help="Only tasks that are trained on this dataset.")] = None,
    owner: Annotated[str | None, Option(help="Only tasks of this user.")] = None,
    limit: Annotated[int, Option(help="The maximum number, newest first.")] = 20,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """List trainings, newest first; `epochd predictions` lists batch predictions."""
    with connected(url, token) as client:
        answer = client.tasks(state=state, name=name, dataset=dataset, owner=owner, limit=limit)
    found, rows = answer["tasks"], []
    for task in found:
        best = [number(task["best_metrics"].get(name)) for name in ("loss", "accuracy")]
        epoch = f"{task['current_epoch']}/{task['total_epochs']}"
        rows.append([task["task_id"], task["name"], task["state"], epoch, *best])
    show_table(["id", "name", "state", "epoch", "best loss", "best accuracy"], rows)
    if answer["total"] > len(found):
        show(f"{len(found)} of {answer['total']} tasks; --limit shows more")


COMMANDS = train, watch, pause, resume, prioritise, continue_, retry, replay, logs, report, stop, remove, tasks
"""In the order in which ``--help`` shows them."""
