"""Commands about batch predictions: predict a dataset on the server and watch it, list all."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from typer import Argument, Exit, Option

from epochd.cli.console import (
    DEFAULT_URL,
    DETACHED,
    FAILED,
    Token,
    Url,
    connected,
    err,
    out,
    print_line,
    show,
    show_table,
    warn,
)
from epochd.cli.language import COMMA, chosen, localized, word
from epochd.core.columns import parse_options
from epochd.core.errors import InvalidSpec, Problem
from epochd.core.events import Type
from epochd.core.jobs import State
from epochd.core.text import visible

if TYPE_CHECKING:
    from epochd.client import Client


def predict_dataset(
    model: Annotated[str, Argument(help="The id of a completed training, or the output_path of trainings.")],
    dataset: Annotated[
        str, Argument(help="The dataset, as listed by `epochd datasets list`, or a path on the server.")
    ],
    version: Annotated[str | None, Option(help="With an output_path: the id of the training.")] = None,
    output: Annotated[Path | None, Option(help="Download the predictions into this file.")] = None,
    format: Annotated[str | None, Option(help="parquet or csv. Default: csv for an --output in .csv.")] = None,
    id_column: Annotated[list[str] | None, Option(help="A column that is passed through; can be repeated.")] = None,
    echo: Annotated[bool, Option("--echo", help="Pass all columns through.")] = False,
    skip_errors: Annotated[bool, Option("--skip-errors", help="Leave rows that cannot be scored empty.")] = False,
    no_probabilities: Annotated[bool, Option("--no-probabilities", help="Leave out the probabilities.")] = False,
    bom: Annotated[bool, Option("--bom", help="Begin a CSV file with a byte order mark, for Excel.")] = False,
    encoding: Annotated[str | None, Option(help="The encoding of a text file, such as gbk. Default: detected.")] = None,
    sheet: Annotated[str | None, Option(help="The sheet of a spreadsheet, by name or number from 1.")] = None,
    image_root: Annotated[str | None, Option(help="The folder on the server that paths of pictures are in.")] = None,
    name: Annotated[str | None, Option(help="A name for the list of predictions.")] = None,
    detach: Annotated[bool, Option("--detach", help="Print the task's id and exit.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Predict all rows of a dataset on the server, as a task that can be paused."""
    if detach and output is not None:
        hint = "omit one of them; a completed prediction is downloaded from GET /api/v1/predictions/{task_id}/output"
        raise InvalidSpec([Problem("--output", "--output and --detach are both set", hint)])
    is_csv = format == "csv" or (format is None and output is not None and output.suffix.lower() == ".csv")
    options = {
        "version": version,
        "output_format": "csv" if is_csv else format,
        "id_columns": id_column,
        "echo": echo or None,
        "on_error": "skip" if skip_errors else None,
        "probabilities": False if no_probabilities else None,
        "bom": bom or None,
        "encoding": encoding,
        "sheet": parse_options({} if sheet is None else {"sheet": sheet}).sheet,
        "image_root": image_root,
        "name": name,
    }
    given = {key: value for key, value in options.items() if value is not None}
    with connected(url, token) as client:
        task_id = client.predict_dataset(model, dataset, **given)["task_id"]
        if detach:
            print_line(task_id)
            return
        code = watch_prediction(client, task_id)
        if code == 0 and output is not None:
            download(client, task_id, output)
    raise Exit(code)


def download(client: "Client", task_id: str, output: Path) -> None:
    """Download the file of a prediction. Raises InvalidSpec if it cannot be written."""
    try:
        client.download_prediction(task_id, output)
    except OSError as error:
        reason = f"cannot be written: {error.strerror or error}"
        raise InvalidSpec([Problem(str(output), reason, "use a file on this machine")]) from None
    show(f"predictions written to {output}", to=err)


def watch_prediction(client: "Client", task_id: str) -> int:
    """Show the progress of a prediction until its end; return the exit code. Ctrl-C detaches."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    show(task_id, label=(word("prediction"), ""), to=err)
    try:
        with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
            row = progress.add_task("")
            for event in client.stream(task_id):
                done = event.get("progress") or {}
                text = progress_text(event)
                progress.update(
                    row, description=visible(text), completed=done.get("rows_done"), total=done.get("rows_total")
                )
                if text and not err.is_terminal:
                    print_line(text)
    except KeyboardInterrupt:
        show(f"Detached; the prediction continues. Watch it again with  epochd watch {task_id}", to=err)
        return DETACHED
    return conclude(client.prediction(task_id))


def progress_text(event: dict[str, Any]) -> str:
    """An event as a line; empty for one that is not shown."""
    match event["type"]:
        case Type.STATE if "started" not in event:
            return word(event["state"])
        case Type.PROGRESS:
            done = event["progress"]
            speed, skipped = done.get("rows_per_second"), done.get("skipped")
            parts = [
                localized(f"{done['rows_done']:,} of {done['rows_total']:,} rows"),
                localized(f"{speed:,.0f} rows/s") if speed else "",
                localized(f"{skipped:,} skipped") if skipped else "",
            ]
            return COMMA[chosen()].join(filter(None, parts))
        case Type.LOG:
            return localized(event["message"])
    return ""


def conclude(task: dict[str, Any]) -> int:
    """Print the outcome of a prediction; return the exit code."""
    if task["state"] != State.COMPLETED:
        error = task["error"] or {}
        show(error.get("message", ""), label=(word(task["state"]), "red"), to=err)
        return FAILED
    file, skipped = task["output"], task["progress"]["skipped"]
    text = f"{file['rows']:,} predictions, {file['bytes']:,} bytes"
    show(text, label=(word("completed"), "green"), to=err)
    show(f"file: {file['path']} in the server's data directory", to=err)
    if skipped:
        warn(f"{skipped:,} rows could not be scored; the first of them:")
        for problem in task["problems"]:
            show(f"  {localized(problem['message'])}", to=err)
    return 0


def list_predictions(
    state: Annotated[State | None, Option(help="Only predictions in this state.")] = None,
    name: Annotated[str | None, Option(help="Only predictions whose name contains this text.")] = None,
    limit: Annotated[int, Option(help="The maximum number, newest first.")] = 20,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """List batch predictions, newest first."""
    with connected(url, token) as client:
        answer = client.predictions(state=state, name=name, limit=limit)
    found = answer["predictions"]
    rows = [[task["task_id"], task["model"], task["dataset"], task["state"], _rows(task["progress"])] for task in found]
    show_table(["id", "model", "dataset", "state", "rows"], rows, to=out)
    if answer["total"] > len(found):
        show(f"{len(found)} of {answer['total']} predictions; --limit shows more")


def _rows(progress: dict[str, Any]) -> str:
    total = progress["rows_total"]
    return f"{progress['rows_done']:,}" + ("" if total is None else f"/{total:,}")
