"""The ``epochd`` command: serve, train, watch, steer, predict.

Commands that talk to a server go through ``epochd.client`` alone. The server and the prediction code are
imported by the two commands that need them, so that ``epochd train`` and ``--help`` answer at once.
"""

import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Column, Table

import epochd
from epochd.client import DEFAULT_URL, Client
from epochd.core import settings as server_settings
from epochd.core.errors import DataError, EpochdError, FrameworkMissing, InvalidSpec, Problem, SettingsError
from epochd.core.events import Type
from epochd.core.jobs import State

FAILED, REFUSED, DETACHED = 1, 2, 130
"""Exit codes: it went wrong; it was never begun, change what you gave; ctrl-C, the training goes on."""

SCORES = ("val_accuracy", "train_accuracy", "val_r2", "train_r2")
"""In this order the first that a task has is the score that is shown."""

app = typer.Typer(
    help="Train models on a server: submit a config, watch every epoch, pause, resume, predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
datasets = typer.Typer(help="The server's datasets: list, add, show, refresh, remove.", no_args_is_help=True)
app.add_typer(datasets, name="datasets")
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line; errors become a message and an exit code, never a traceback."""
    try:
        app()
    except EpochdError as error:
        show_error(error)
        raise SystemExit(exit_code(error)) from None


def exit_code(error: EpochdError) -> int:
    return REFUSED if isinstance(error, InvalidSpec | DataError | FrameworkMissing | SettingsError) else FAILED


def show_error(error: EpochdError) -> None:
    """One problem reads best as a sentence, several as a table."""
    if len(error.problems) > 1:
        err.print(f"[red]error:[/red] {len(error.problems)} problems")
        err.print(table_of(["field", "problem", "what to do"], [astuple(problem) for problem in error.problems]))
        return
    err.print(f"[red]error:[/red] {escape(error.message)}")
    for problem in error.problems:
        err.print(f"  {escape(problem.hint)}")


def table_of(titles: list[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(show_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title == "id")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def setting(name: str) -> Any:
    """The option of one server setting; its help text is the settings table's own."""
    field = server_settings.Settings.model_fields[name]
    text = (field.description or "").replace("``", "")
    return typer.Option(help=text, show_default=str(field.get_default(call_default_factory=True) or "none"))


@app.command(
    epilog="Each option can also be set as EPOCHD_<NAME>; EPOCHD_TOKENS, EPOCHD_DATABASE_URL and EPOCHD_CONNECTIONS "
    "only so."
)
def serve(
    data_dir: Annotated[Path | None, setting("data_dir")] = None,
    host: Annotated[str | None, setting("host")] = None,
    port: Annotated[int | None, setting("port")] = None,
    allowed_hosts: Annotated[str | None, setting("allowed_hosts")] = None,
    data_roots: Annotated[str | None, setting("data_roots")] = None,
    default_dataset: Annotated[str | None, setting("default_dataset")] = None,
    upload_mb: Annotated[int | None, setting("upload_mb")] = None,
    slots: Annotated[int | None, setting("slots")] = None,
    gpus: Annotated[str | None, setting("gpus")] = None,
    jobs_per_worker: Annotated[int | None, setting("jobs_per_worker")] = None,
    resident_mb: Annotated[int | None, setting("resident_mb")] = None,
    cache_mb: Annotated[int | None, setting("cache_mb")] = None,
    memory_mb: Annotated[int | None, setting("memory_mb")] = None,
    lease_seconds: Annotated[float | None, setting("lease_seconds")] = None,
    checkpoint_seconds: Annotated[float | None, setting("checkpoint_seconds")] = None,
    grace_seconds: Annotated[float | None, setting("grace_seconds")] = None,
    hang_seconds: Annotated[float | None, setting("hang_seconds")] = None,
    log_mb: Annotated[int | None, setting("log_mb")] = None,
    pause_wait_seconds: Annotated[float | None, setting("pause_wait_seconds")] = None,
    log_level: Annotated[str | None, setting("log_level")] = None,
) -> None:
    """Run the training server until ctrl-C or SIGTERM."""
    settings = server_settings.load(**locals())
    from epochd.api.server import serve as run_server  # noqa: PLC0415 - 0.5 s that only this command needs

    run_server(settings)


Url = Annotated[str, typer.Option(envvar="EPOCHD_URL", help="The server's address.")]
Token = Annotated[
    str | None, typer.Option(envvar="EPOCHD_TOKEN", help="A bearer token of the server; better set in the environment.")
]
TaskId = Annotated[str, typer.Argument(help="The task's id, as `epochd tasks` shows it.")]


@app.command()
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


def read_config(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSpec([Problem(str(path), f"cannot be read as JSON: {error}", "give a JSON file")]) from None
    if not isinstance(values, dict):
        problem = f"holds a JSON {type(values).__name__}, but a config is an object"
        raise InvalidSpec([Problem(str(path), problem, "see the files in examples/")])
    return values


@app.command()
def watch(task_id: TaskId, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Watch a task from its first epoch on; ctrl-C leaves it running."""
    with Client(url, token) as client:
        raise typer.Exit(watch_to_the_end(client, task_id))


@app.command()
def pause(task_id: TaskId, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Pause a task: its place is saved and its slot goes to the next one."""
    with Client(url, token) as client:
        typer.echo(client.pause(task_id)["message"])


@app.command()
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


@app.command("continue")
def continue_(
    task_id: TaskId,
    epochs: Annotated[int, typer.Option(help="How many epochs the model shall have in all.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Train a completed model for longer, as a new task."""
    with Client(url, token) as client:
        typer.echo(client.continue_task(task_id, epochs)["task_id"])


@app.command()
def retry(
    task_id: TaskId,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Leave its checkpoint aside.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Try a failed or cancelled task again, as a new task."""
    with Client(url, token) as client:
        typer.echo(client.retry(task_id, from_beginning=from_beginning)["task_id"])


@app.command()
def logs(
    task_id: TaskId,
    attempt: Annotated[int | None, typer.Option(help="Which attempt; by default the newest.")] = None,
    tail: Annotated[int, typer.Option(help="How many of the last lines.")] = 200,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Show what a task's worker has printed."""
    with Client(url, token) as client:
        for line in client.logs(task_id, attempt=attempt, tail=tail)["lines"]:
            typer.echo(line)


@app.command()
def stop(task_id: TaskId, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Cancel a task for good."""
    with Client(url, token) as client:
        typer.echo(client.stop(task_id)["message"])


@app.command()
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


DatasetName = Annotated[str, typer.Argument(help="The dataset's name, as `epochd datasets list` shows it.")]


@datasets.command("list")
def list_datasets(
    name: Annotated[str | None, typer.Option(help="Only datasets with this in their name.")] = None,
    limit: Annotated[int, typer.Option(help="How many, newest first.")] = 50,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """List the datasets that a config can name."""
    with Client(url, token) as client:
        answer = client.datasets(name=name, limit=limit)
    titles = ["name", "kind", "rows", "columns", "size"]
    out.print(table_of(titles, map(dataset_cells, answer["datasets"])))
    if answer["total"] > len(answer["datasets"]):
        out.print(f"{len(answer['datasets'])} of {answer['total']} datasets; --limit shows more")


def dataset_cells(dataset: dict[str, Any]) -> list[str]:
    counts = [f"{dataset['rows']:,}", f"{dataset['columns']:,}"]
    return [dataset["name"], dataset["kind"], *counts, decimal(dataset["bytes"])]


@datasets.command("add")
def add_dataset(
    file: Annotated[Path | None, typer.Argument(help="A file of this machine, to be uploaded.")] = None,
    name: Annotated[str | None, typer.Option(help="The dataset's name; a file's own by default.")] = None,
    path: Annotated[str | None, typer.Option(help="A path that the server can read: nothing is copied.")] = None,
    connection: Annotated[str | None, typer.Option(help="A connection of the server, for --query.")] = None,
    query: Annotated[str | None, typer.Option(help="A SELECT whose rows are kept.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the dataset that has this name.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Upload a file, or register a path of the server or the rows of a query."""
    with Client(url, token) as client:
        match file, path, connection, query:
            case Path(), None, None, None:
                added = upload(client, file, name, replace)
            case None, str(), None, None if name:
                added = client.register_dataset(name, path, replace=replace)
            case None, None, str(), str() if name:
                added = client.query_dataset(name, connection, query, replace=replace)
            case _:
                hint = "give a file, or --name and --path, or --name, --connection and --query"
                raise InvalidSpec([Problem("datasets add", "it is not clear what to add", hint)])
    size = f"{added['rows']:,} rows, {added['columns']:,} columns"
    out.print(f"[green]{escape(added['name'])}[/green]: {size}, {decimal(added['bytes'])}")


def upload(client: Client, file: Path, name: str | None, replace: bool) -> dict[str, Any]:
    """Send a file, with a bar on a terminal. Raises InvalidSpec if it cannot be read."""
    try:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
            row = progress.add_task(f"uploading {escape(file.name)}")

            def show(sent: int, total: int) -> None:
                done = " sent, the server reads it" if sent == total else ""
                progress.update(row, completed=sent, total=total, description=escape(file.name) + done)

            return client.upload_dataset(file, name, replace=replace, progress=show)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise InvalidSpec([Problem(str(file), reason, "give a file of this machine")]) from None


@datasets.command("show")
def show_dataset(name: DatasetName, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Show a dataset's columns: types, missing and distinct values, range, frequent values."""
    with Client(url, token) as client:
        found = client.dataset(name)
    if found["state"] != "ready":
        out.print(f"{escape(name)} is {found['state']}: {found['received_bytes']:,} bytes so far")
        return
    size = f"{found['rows']:,} rows, {found['columns']:,} columns, {decimal(found['bytes'])}"
    out.print(f"{escape(name)} ({found['kind']}): {size}, fingerprint {found['fingerprint'][:12]}")
    titles = ["column", "type", "missing", "distinct", "min", "mean", "max", "most frequent"]
    out.print(table_of(titles, map(column_cells, found["profile"])))


def column_cells(column: dict[str, Any]) -> list[str]:
    distinct = column.get("distinct")
    about = "~" if column.get("distinct_is_estimate") else ""
    frequent = ", ".join(f"{top['value']} ({top['count']:,})" for top in (column.get("top") or [])[:3])
    return [
        column["name"],
        column["type"],
        f"{column['missing']:,}",
        "" if distinct is None else f"{about}{distinct:,}",
        *(figure(column.get(name)) for name in ("min", "mean", "max")),
        frequent,
    ]


def figure(value: object) -> str:
    """A number, a date or nothing, for a table's cell."""
    return "" if value is None else number(value) if isinstance(value, float) else str(value)


@datasets.command("refresh")
def refresh_dataset(name: DatasetName, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Run a dataset's query again and keep the new rows."""
    with Client(url, token) as client:
        out.print(f"{escape(name)}: {client.refresh_dataset(name)['rows']:,} rows")


@datasets.command("remove")
def remove_dataset(name: DatasetName, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Remove a dataset, with its file if it was uploaded or queried."""
    with Client(url, token) as client:
        client.remove_dataset(name)
    out.print(f"{escape(name)} is removed")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A model folder, for example .../models/latest.")],
    file: Annotated[Path, typer.Argument(help="The rows to score: CSV, TSV or Parquet.")],
    output: Annotated[Path | None, typer.Option(help="Where to write the CSV; absent: standard output.")] = None,
) -> None:
    """Score a file with a finished model. No server and no framework is needed."""
    from epochd.artifact.predict import predict_file  # noqa: PLC0415 - Polars is 0.2 s that only this needs

    found = predict_file(model, file)
    if output is None:
        sys.stdout.write(found.write_csv())
    else:
        found.write_csv(output)
        err.print(f"{found.height} predictions written to {escape(str(output))}")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"epochd {epochd.__version__}")


def watch_to_the_end(client: Client, task_id: str) -> int:
    """Show a task's events until the last one; return the exit code. Ctrl-C leaves the task alone."""
    try:
        task = client.task(task_id)
        out.print(f"{escape(task['name'])}: {task_id}")
        with display(task["total_epochs"]) as show:
            for event in client.stream(task_id):
                show(event)
    except KeyboardInterrupt:
        err.print(
            f"\nDetached; the training goes on. Come back with  epochd watch {task_id}\n"
            f"End it with  epochd stop {task_id}"
        )
        return DETACHED
    return conclude(client.task(task_id))


@contextmanager
def display(epochs: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What shows events: a live bar on a terminal, a line per epoch elsewhere."""
    if not out.is_terminal:
        yield print_event
        return
    wrapping = Column(no_wrap=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(12),
        TextColumn("{task.fields[figures]}", table_column=wrapping),
    )
    with Progress(*columns, console=out) as progress:
        yield Bar(progress, epochs).show


class Bar:
    """The live bar of one task: its state, how far it is, and the newest figures."""

    def __init__(self, progress: Progress, epochs: int) -> None:
        self._progress = progress
        self._row = progress.add_task("", total=epochs, figures="")
        self._seconds: deque[float] = deque(maxlen=20)

    def show(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case Type.STATE:
                self._progress.update(self._row, description=event["state"])
                if "started" in event:
                    self._progress.console.print(escape(state_line(event)), style="dim")
            case Type.PROGRESS:
                self._show_epoch(event["progress"])
            case Type.LOG:
                self._progress.console.print(escape(event["message"]), style="dim")
            case Type.COMPLETE | Type.FAILED | Type.CANCELLED:
                self._progress.update(self._row, description="ended")

    def _show_epoch(self, progress: dict[str, Any]) -> None:
        epoch, epochs = progress["current_epoch"], progress["total_epochs"]
        self._seconds.append(progress["latest_metrics"]["time_per_epoch"])
        left = duration((epochs - epoch) * fmean(self._seconds))
        text = f"epoch {epoch}/{epochs}  {figures(progress['latest_metrics'])}  ≤ {left} left"
        self._progress.update(self._row, completed=epoch, figures=text)


def state_line(event: dict[str, Any]) -> str:
    """A ``state`` event in words; once the worker has begun, with what trains on what."""
    started = event.get("started")
    if started is None:
        return str(event["state"])
    rows = started["rows"]
    return (
        f"training {started['parameters']:,} parameters with {started['framework']} on {started['device']}: "
        f"{rows['train']:,} rows, {rows['validation']:,} to validate, task {started['task']}"
    )


def print_event(event: dict[str, Any]) -> None:
    """One plain line, for pipes and log files."""
    match event["type"]:
        case Type.STATE:
            typer.echo(state_line(event))
        case Type.PROGRESS:
            progress = event["progress"]
            epoch = f"epoch {progress['current_epoch']}/{progress['total_epochs']}"
            typer.echo(f"{epoch}  {figures(progress['latest_metrics'])}")
        case Type.LOG:
            typer.echo(event["message"])


def figures(metrics: dict[str, Any]) -> str:
    """The figures of one epoch that a person watches; validation stands before training where both exist."""
    score = next((n for n in SCORES if metrics.get(n) is not None), SCORES[0])
    named = {
        "loss": metrics["train_loss"],
        "val_loss": metrics["val_loss"],
        score.replace("_r2", "_R²"): metrics.get(score),
        "lr": metrics["learning_rate"],
    }
    return "  ".join(f"{name} {number(value)}" for name, value in named.items() if value is not None)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def duration(seconds: float) -> str:
    """``h:mm:ss``, or ``m:ss`` under an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def conclude(task: dict[str, Any]) -> int:
    """Say how a task ended; return the exit code."""
    if task["state"] == State.COMPLETED:
        best = task["best_metrics"]
        kept = "  ".join(
            f"{name} {number(best.get(name))}" for name in ("loss", "accuracy", "r2") if best.get(name) is not None
        )
        out.print(f"[green]completed[/green] after {task['current_epoch']} epochs; best epoch {best['epoch']}: {kept}")
        out.print(f"model: {escape(task['artifact'])} in the server's data directory")
        return 0
    out.print(f"[red]{task['state']}[/red] {escape((task['error'] or {}).get('message', ''))}")
    for line in (task["error"] or {}).get("log_tail", ()):
        out.print(escape(line), style="dim")
    return FAILED


if __name__ == "__main__":
    main()
