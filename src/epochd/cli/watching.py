"""The display of a running training: a live progress bar on a terminal, otherwise one line per epoch."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from epochd.cli.console import DETACHED, FAILED, err, number, out, print_line, show
from epochd.cli.language import localized, word
from epochd.core.events import Type
from epochd.core.jobs import State
from epochd.core.metric_table import METRICS, best_baseline
from epochd.core.text import visible

if TYPE_CHECKING:
    from epochd.client import Client

SCORES = ("val_accuracy", "train_accuracy", "val_r2", "train_r2")
"""The score that is shown is the first of these that a task has."""

MOMENT = 0.005
"""Phases of less seconds are not shown."""


def watch_to_the_end(client: "Client", task_id: str) -> int:
    """Show a task's events until the final one; return the exit code. Ctrl-C detaches; the task continues."""
    try:
        task = client.task(task_id)
        show(task_id, label=(task["name"], ""))
        with display(task["total_epochs"]) as show_event:
            for event in client.stream(task_id):
                show_event(event)
    except KeyboardInterrupt:
        print_line("", to=err)
        show(f"Detached; the training continues. Watch it again with  epochd watch {task_id}", to=err)
        show(f"Cancel it with  epochd stop {task_id}", to=err)
        return DETACHED
    return conclude(client.task(task_id))


@contextmanager
def display(epochs: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that shows events: in a live progress bar on a terminal, otherwise as lines."""
    if not out.is_terminal:
        yield print_event
        return
    state = TextColumn("{task.description}", markup=False)
    metrics = TextColumn("{task.fields[figures]}", markup=False, table_column=Column(no_wrap=False))
    with Progress(state, BarColumn(12), metrics, console=out) as progress:
        yield ProgressBar(progress, epochs).show


class ProgressBar:
    """The live progress bar of one task: state, progress and latest metrics."""

    def __init__(self, progress: Progress, epochs: int) -> None:
        self._progress = progress
        self._row = progress.add_task("", total=epochs, figures="")
        self._seconds: deque[float] = deque(maxlen=20)

    def show(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case Type.STATE:
                self._progress.update(self._row, description=visible(word(event["state"])))
                if "started" in event:
                    show(state_line(event), style="dim", to=self._progress.console)
            case Type.PROGRESS:
                progress, metrics = event["progress"], event["progress"]["latest_metrics"]
                epoch, epochs = progress["current_epoch"], progress["total_epochs"]
                self._seconds.append(metrics["time_per_epoch"])
                left = duration((epochs - epoch) * fmean(self._seconds))
                text = f"epoch {epoch}/{epochs}  {figures(metrics)}  ≤ {left} left"
                self._progress.update(self._row, completed=epoch, figures=localized(text))
            case Type.LOG:
                style = "yellow" if event.get("level") == "warning" else "dim"
                show(log_line(event), style=style, to=self._progress.console)
            case Type.ROLLBACK:
                show(event["message"], style="yellow", to=self._progress.console)
                self._progress.update(self._row, completed=event["epoch"], figures="")
            case Type.COMPLETE | Type.FAILED | Type.CANCELLED:
                self._progress.update(self._row, description=word("ended"))


def state_line(event: dict[str, Any]) -> str:
    """A ``state`` event as text; once the worker has started, with model size, framework, device and rows."""
    started = event.get("started")
    if started is None:
        return word(event["state"])
    rows = started["rows"]
    return localized(
        f"training {started['parameters']:,} parameters with {started['framework']} on {started['device']}: "
        f"{rows['train']:,} rows, {rows['validation']:,} for validation, task {started['task']}"
    )


def print_event(event: dict[str, Any]) -> None:
    """Print an event as one plain line, for pipes and log files."""
    match event["type"]:
        case Type.STATE:
            print_line(state_line(event))
        case Type.PROGRESS:
            progress = event["progress"]
            epoch, epochs = progress["current_epoch"], progress["total_epochs"]
            print_line(localized(f"epoch {epoch}/{epochs}  {figures(progress['latest_metrics'])}"))
        case Type.LOG:
            print_line(log_line(event))
        case Type.ROLLBACK:
            print_line(localized(event["message"]))


def log_line(event: dict[str, Any]) -> str:
    """A ``log`` event as text."""
    message = str(event["message"])
    return localized(f"warning: {message}" if event.get("level") == "warning" else message)


def figures(metrics: dict[str, Any]) -> str:
    """The metrics of one epoch that are shown; the validation score is preferred to the training score."""
    score = next((name for name in SCORES if metrics.get(name) is not None), SCORES[0])
    shown = {"train_loss": "loss", "val_loss": "val_loss", score: score.replace("_r2", "_R²"), "learning_rate": "lr"}
    return "  ".join(f"{shown[name]} {number(metrics[name])}" for name in shown if metrics.get(name) is not None)


def duration(seconds: float) -> str:
    """``h:mm:ss``, or ``m:ss`` under an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def show_metrics(metrics: dict[str, Any] | None) -> None:
    """Print the final metrics on validation and test rows, or else on the training rows, each beside its best baseline;
    nothing for a task of an older version, which has none."""
    if metrics is None:
        return
    held_out: list[str] = [side for side in ("validation", "test") if side in metrics]
    sides = held_out or ["train"]
    names = [name for name in METRICS if any(metrics[side].get(name) is not None for side in sides)]
    each, title = metrics.get("members"), localized("each network (mean ± std)")
    rows = [["", *(title for side in sides for title in (word(side), word("baseline"))), *([title] if each else [])]]
    rows += [
        [name, *(cell for side in sides for cell in _compared(metrics, side, name)), *_of_each(each, name)]
        for name in names
    ]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print_line("  ".join(map(set_cell_size, row, widths)).rstrip())
    if metrics.get("decision_threshold", 0.5) != 0.5:
        show(f"decision threshold {number(metrics['decision_threshold'])}")


def _compared(metrics: dict[str, Any], side: str, name: str) -> list[str]:
    """A metric on one side, and its best baseline."""
    value = metrics[side].get(name)
    best = best_baseline(metrics.get("baselines", {}).get(side, ()), name)
    return ["" if value is None else number(value), "" if best is None else f"{number(best[1])} ({word(best[0])})"]


def _of_each(members: dict[str, Any] | None, name: str) -> list[str]:
    """The mean and standard deviation of a metric over several networks, if there are several."""
    if members is None:
        return []
    mean, std = members["mean"].get(name), members["std"].get(name)
    return ["" if mean is None else f"{number(mean)} ± {number(std)}"]


def show_timings(timings: dict[str, float] | None) -> None:
    """Print where the time of a task went, in one line; nothing for a task of an older server."""
    if timings and (total := sum(timings.values())):
        parts = [localized(f"{phase} {seconds:.2f} s") for phase, seconds in timings.items() if seconds >= MOMENT]
        show(f"{total:.2f} s = {' + '.join(parts)}", label=(word("time"), ""))


def conclude(task: dict[str, Any]) -> int:
    """Print the outcome of a task; return the exit code."""
    if task["state"] == State.COMPLETED:
        best = task["best_metrics"]
        names = [name for name in ("loss", "accuracy", "r2") if best.get(name) is not None]
        kept = "  ".join(f"{name} {number(best[name])}" for name in names)
        text = f"{task['current_epoch']} epochs; best epoch {best['epoch']}: {kept}"
        show(text, label=(word("completed"), "green"))
        show_metrics(task["summary"].get("metrics"))
        show_timings(task.get("timings"))
        show(f"model: {task['artifact']} in the server's data directory")
        return 0
    show((task["error"] or {}).get("message", ""), label=(word(task["state"]), "red"))
    for line in (task["error"] or {}).get("log_tail", ()):
        print_line(line)
    show_timings(task.get("timings"))
    return FAILED


def show_comparison(task_id: str, comparison: dict[str, Any]) -> int:
    """Print how a repeated training differs from the first one; return the exit code."""
    if comparison["identical"]:
        text = f"all epochs, weights and scores equal those of {task_id} bit for bit"
        show(text, label=(word("identical"), "green"))
        return 0
    show(f"the training differs from {task_id}", label=(word("different"), "red"))
    epochs, first = comparison["history"]["epochs"], comparison["history"]["first_difference"]
    if epochs[0] != epochs[1]:
        show(f"{epochs[0]} at first, {epochs[1]} repeated", label=(word("epochs"), ""))
    if first is not None:
        before, after = first["values"]
        show(f"first difference: {first['metric']} of epoch {first['epoch']}: {before} and {after}")
    weights = comparison["weights"]
    if weights["differing"]:
        largest = weights["largest_difference"]
        count = len(weights["differing"])
        by_shape = f"weights: {count} tensors differ, their shapes differ"
        show(by_shape if largest is None else f"weights: {count} tensors differ, by up to {number(largest)}")
    for name, (before, after) in (comparison["scores"] | comparison["environment"]).items():
        show(f"{before} at first, {after} repeated", label=(name, ""))
    return FAILED
