"""The client class, with a method for every request of the API. The command line, scripts and tests use it."""

import json
from collections.abc import Callable, Iterator, Mapping
from os import PathLike, fstat
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import httpx

from epochd.client.connection import DEFAULT_URL, LONG_TIMEOUT, Connection
from epochd.client.models import ModelRequests
from epochd.core.events import FINAL_TYPES, Type
from epochd.core.jobs import is_prediction
from epochd.core.language import Language
from epochd.core.specs import TrainingSpec

TASKS = "/api/v1/epoch-training"
DATASETS = "/api/v1/datasets"
PREDICTIONS = "/api/v1/predictions"
CHUNK_BYTES = 1 << 18


class Client(ModelRequests):
    """A client of one server. Use it in a ``with`` block, or call ``close`` at the end. ``transport`` replaces the
    network, so that a test needs no socket. ``language`` is that of messages, ``zh`` or ``en``; default: that of
    ``EPOCHD_LANGUAGE`` or the locale."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        language: Language | None = None,
    ) -> None:
        self._connection = Connection(url, token, transport, language)
        self._request = self._connection.request

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def start(self, config: Mapping[str, Any] | TrainingSpec) -> dict[str, Any]:
        """Submit a training; the answer has its ``task_id``. Raises InvalidSpec or DataError with every problem."""
        return self._request("POST", f"{TASKS}/start", json=_as_json(config))

    def validate(self, config: Mapping[str, Any] | TrainingSpec) -> dict[str, Any]:
        """Validate a config without starting it; the answer has ``valid`` and ``problems``."""
        return self._request("POST", f"{TASKS}/validate", json=_as_json(config))

    def progress(self, task_id: str) -> dict[str, Any]:
        return self._request("GET", _path(f"{TASKS}/progress", task_id))

    def history(self, task_id: str) -> dict[str, Any]:
        return self._request("GET", _path(f"{TASKS}/history", task_id))

    def curves(self, task_id: str, points: int | None = None) -> dict[str, Any]:
        """The history in at most ``points`` rows (default: 2,000): of more epochs, the minimum and maximum of each
        metric in each bucket of epochs."""
        return self._request("GET", _path(f"{TASKS}/curves", task_id), {"points": points})

    def task(self, task_id: str) -> dict[str, Any]:
        """Everything that is known of one task; ``timings`` are the seconds of each phase of its attempts."""
        return self._request("GET", _path(f"{TASKS}/tasks", task_id))

    def tasks(
        self,
        *,
        state: str | None = None,
        name: str | None = None,
        dataset: str | None = None,
        owner: str | None = None,
        config: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> dict[str, Any]:
        """List tasks, newest first; ``name`` matches a part of the name, ``dataset`` and ``owner`` the whole one. With
        ``config`` each has its config."""
        chosen = {"state": state, "name": name, "dataset": dataset, "owner": owner}
        query = {**chosen, "config": config or None, "limit": limit, "offset": offset}
        return self._request("GET", f"{TASKS}/tasks", query)

    def pause(self, task_id: str, wait: float | None = None) -> dict[str, Any]:
        """Pause a training or a batch prediction; wait up to ``wait`` seconds (default: the server's setting) until its
        checkpoint is saved."""
        return self._request("POST", _action("pause", task_id), {"wait": wait})

    def resume(self, task_id: str, **changes: Any) -> dict[str, Any]:
        """Resume a paused training, with optional changes to its config (such as ``epochs``), or a batch prediction.

        Raises DataChanged if its dataset has changed, unless ``allow_changed_data`` is true, and InvalidSpec for fields
        that cannot be changed. The ``receipt`` in the answer shows the future learning rates before and after.
        """
        return self._request("POST", _action("resume", task_id), json=changes or None)

    def prioritise(self, task_id: str, priority: int) -> dict[str, Any]:
        """Change the priority of a pending or paused training or batch prediction, from -100 to 100. Raises IllegalMove
        for any other task, InvalidSpec for any other number."""
        return self._request("POST", _action("priority", task_id), json={"priority": priority})

    def continue_task(self, task_id: str, epochs: int, **changes: Any) -> dict[str, Any]:
        """Continue a completed task up to ``epochs`` epochs in total; the answer has the new task's id."""
        return self._request("POST", _path(f"{TASKS}/continue", task_id), json={"epochs": epochs, **changes})

    def retry(self, task_id: str, *, from_beginning: bool = False, output_path: str | None = None) -> dict[str, Any]:
        """Retry a failed or cancelled task from its newest checkpoint; the answer has the new task's id.

        A completely trained task whose model could not be saved is not trained again. ``output_path`` saves the model
        in another folder.
        """
        options = {"from_beginning": from_beginning} | ({} if output_path is None else {"output_path": output_path})
        return self._request("POST", _path(f"{TASKS}/retry", task_id), json=options)

    def replay(self, task_id: str) -> dict[str, Any]:
        """Repeat a completed task with the same config on the same data; the answer has the new task's id. Raises
        DataChanged if its dataset has changed."""
        return self._request("POST", _path(f"{TASKS}/replay", task_id))

    def compare_replay(self, task_id: str) -> dict[str, Any]:
        """The ``comparison`` of a completed replay with the task that it repeats."""
        return self._request("GET", _path(f"{TASKS}/replay", task_id), timeout=LONG_TIMEOUT)

    def logs(self, task_id: str, *, attempt: int | None = None, tail: int = 200) -> dict[str, Any]:
        """The last ``lines`` of an attempt's log (default: the newest attempt)."""
        return self._request("GET", _action("logs", task_id), {"attempt": attempt, "tail": tail})

    def follow(self, task_id: str, *, attempt: int | None = None, tail: int = 200) -> Iterator[dict[str, Any]]:
        """The last lines of a task's log, then new lines as they are written, as dicts of ``attempt`` and ``line``.

        Continues across attempts and lost connections until the task has ended. Raises the errors of ``stream``.
        """
        query = {"attempt": attempt, "tail": tail, "follow": "true"}
        return self._connection.events(_action("logs", task_id), query, ends=True)

    def report(self, task_id: str, lang: str | None = None) -> str:
        """The report of a task's model: an HTML page that shows the language ``lang`` first, ``en`` (the default) or
        ``zh``. Raises NotFound if the model has none, IllegalMove if the task is not complete."""
        return self._connection.text(f"{_path(f'{TASKS}/tasks', task_id)}/report", {"lang": lang})

    def report_values(self, task_id: str) -> dict[str, Any]:
        """What the figures of that report show, as numbers. Raises the errors of ``report``."""
        return self._request("GET", f"{_path(f'{TASKS}/tasks', task_id)}/report/values")

    def stop(self, task_id: str, wait: float | None = None) -> dict[str, Any]:
        """Cancel a task and wait up to ``wait`` seconds until its worker has stopped."""
        return self._request("POST", _action("stop", task_id), {"wait": wait})

    def remove(self, task_id: str, *, keep_model: bool = False) -> dict[str, Any]:
        """Remove a finished task and its files, including the model unless ``keep_model``; with a batch prediction its
        file of predictions. Raises IllegalMove."""
        if is_prediction(task_id):
            return self._request("DELETE", _path(PREDICTIONS, task_id))
        return self._request("DELETE", _path(f"{TASKS}/tasks", task_id), {"keep_model": keep_model or None})

    def predict_dataset(self, model: str, dataset: str, **options: Any) -> dict[str, Any]:
        """Predict all rows of a dataset as a task; the answer has its ``task_id``.

        ``model`` is the id of a completed training or an ``output_path``; ``options`` are those of ``PredictionSpec``,
        such as ``output_format``, ``id_columns``, ``on_error``. Raises InvalidSpec, DataError or NotFound.
        """
        return self._request("POST", PREDICTIONS, json={"model": model, "dataset": dataset, **options})

    def prediction(self, task_id: str) -> dict[str, Any]:
        """Everything that is known of one batch prediction: state, progress, file, rows that could not be scored."""
        return self._request("GET", _path(PREDICTIONS, task_id))

    def predictions(
        self,
        *,
        state: str | None = None,
        name: str | None = None,
        owner: str | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> dict[str, Any]:
        """List batch predictions, newest first; ``name`` matches a part of the name, ``owner`` the whole one."""
        query = {"state": state, "name": name, "owner": owner, "limit": limit, "offset": offset}
        return self._request("GET", PREDICTIONS, query)

    def download_prediction(
        self,
        task_id: str,
        file: str | PathLike[str],
        *,
        progress: Callable[[int, int], None] = lambda received, total: None,
    ) -> Path:
        """Write the file of a completed prediction to ``file``, which appears once it is complete; its path.
        ``progress`` is called with the bytes received so far and the total. Raises IllegalMove, or OSError."""
        target = Path(file)
        temporary = target.with_name(f".{target.name}.part")
        try:
            with temporary.open("wb") as content:
                self._connection.download(f"{_path(PREDICTIONS, task_id)}/output", content, progress)
            return temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def datasets(self, *, name: str | None = None, limit: int = 50, offset: int = 0) -> dict[str, Any]:
        """List registered datasets, newest first, then the built-in ones; ``name`` matches a part of the name."""
        return self._request("GET", DATASETS, {"name": name, "limit": limit, "offset": offset})

    def dataset(self, name: str) -> dict[str, Any]:
        """All details of one dataset: schema, profile of each column, first rows."""
        return self._request("GET", _path(DATASETS, name), timeout=LONG_TIMEOUT)

    def upload_dataset(
        self,
        file: str | PathLike[str],
        name: str | None = None,
        *,
        replace: bool = False,
        encoding: str | None = None,
        sheet: str | int | None = None,
        columns: Mapping[str, Any] | None = None,
        progress: Callable[[int, int], None] = lambda sent, total: None,
    ) -> dict[str, Any]:
        """Upload a file as a stream; ``progress`` is called with the bytes sent so far and the total. ``encoding`` of a
        text file, ``sheet`` of a spreadsheet and ``columns`` say how it is read.

        The default name is that of the file. Raises OSError if the file cannot be read.
        """
        path = Path(file)
        query = {"name": name, "filename": path.name, "replace": replace or None, "encoding": encoding, "sheet": sheet}
        query |= {"columns": None if columns is None else json.dumps(columns)}
        with path.open("rb") as content:
            total = fstat(content.fileno()).st_size
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(total)}
            body = _chunks(content, total, progress)
            return self._request("POST", DATASETS, query, content=body, headers=headers, timeout=LONG_TIMEOUT)

    def register_dataset(self, name: str, path: str, *, replace: bool = False, **options: Any) -> dict[str, Any]:
        """Register a file or folder on the server under a name. ``options``: ``encoding``, ``sheet``, ``columns``."""
        body = {"name": name, "path": path} | {key: value for key, value in options.items() if value is not None}
        return self._request("POST", DATASETS, {"replace": replace or None}, json=body, timeout=LONG_TIMEOUT)

    def change_dataset(self, name: str, **options: Any) -> dict[str, Any]:
        """Change how a dataset is read: ``encoding``, ``sheet`` and ``columns``; None removes an option. Raises
        DatasetInUse while a task that is not finished needs the dataset."""
        return self._request("PATCH", _path(DATASETS, name), json=options, timeout=LONG_TIMEOUT)

    def query_dataset(
        self,
        name: str,
        connection: str,
        query: str,
        *,
        replace: bool = False,
        columns: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Save the rows of a query on one of the server's connections as a dataset."""
        body: dict[str, Any] = {"name": name, "connection": connection, "query": query}
        body |= {} if columns is None else {"columns": columns}
        options = {"replace": replace or None}
        return self._request("POST", DATASETS, options, json=body, timeout=LONG_TIMEOUT)

    def refresh_dataset(self, name: str) -> dict[str, Any]:
        """Run the query of a dataset again and save the new rows."""
        return self._request("POST", f"{_path(DATASETS, name)}/refresh", timeout=LONG_TIMEOUT)

    def remove_dataset(self, name: str) -> dict[str, Any]:
        """Remove a dataset. Raises DatasetInUse while a task that is not finished needs it."""
        return self._request("DELETE", _path(DATASETS, name))

    def health(self) -> dict[str, Any]:
        return self._request("GET", "/health")

    def queue(self, *, limit: int = 50, offset: int = 0) -> dict[str, Any]:
        """Pending trainings and batch predictions with their positions, the next one first."""
        return self._request("GET", "/api/v1/system/queue", {"limit": limit, "offset": offset})

    def agents(self) -> dict[str, Any]:
        """The machines that run trainings besides that of the server, in ``agents``."""
        return self._request("GET", "/api/v1/system/agents")

    def drain_agent(self, name: str) -> dict[str, Any]:
        """Give an agent nothing more to run; ``tasks`` are those that go on elsewhere. Raises NotFound."""
        return self._request("POST", f"{_path('/api/v1/system/agents', name)}/drain")

    def machine(self) -> dict[str, Any]:
        """The machine of the server: processors, memory, GPUs, the disk and what uses it, versions of the software."""
        return self._request("GET", "/api/v1/system/machine", timeout=LONG_TIMEOUT)

    def stream(self, task_id: str, last_event_id: int | None = None) -> Iterator[dict[str, Any]]:
        """The task's events (see ``core.events.Type``) as dicts, from the first or after ``last_event_id``.

        After a lost connection the stream resumes after the last event received, so that no event is lost or returned
        twice. Ends after the final event; raises ServerUnreachable if the server stays unreachable.
        """
        last = "" if last_event_id is None else str(last_event_id)
        name = "stream" if is_prediction(task_id) else "stream-progress"
        for event in self._connection.events(_action(name, task_id), {}, last, ends=False):
            if event.get("type") in set(Type):
                yield event
                if event["type"] in FINAL_TYPES:
                    return


def _as_json(config: Mapping[str, Any] | TrainingSpec) -> dict[str, Any]:
    """Only the fields that were set, so that the server applies its defaults and no option is inapplicable."""
    if isinstance(config, TrainingSpec):
        return config.model_dump(mode="json", exclude_unset=True)
    return dict(config)


def _chunks(content: BinaryIO, total: int, progress: Callable[[int, int], None]) -> Iterator[bytes]:
    """The first ``total`` bytes of a file, the number that the request has announced."""
    sent = 0
    progress(sent, total)
    while chunk := content.read(min(CHUNK_BYTES, total - sent)):
        yield chunk
        sent += len(chunk)
        progress(sent, total)


def _action(name: str, task_id: str) -> str:
    """The path of an action on a task of any kind."""
    return f"{_path(PREDICTIONS, task_id)}/{name}" if is_prediction(task_id) else _path(f"{TASKS}/{name}", task_id)


def _path(folder: str, name: str) -> str:
    return f"{folder}/{quote(name, safe='')}"
