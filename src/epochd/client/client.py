"""All that the server can be asked: the command line, the scripts and the tests speak through this class.

It needs nothing of epochd but ``core``, so a program that only submits and watches pays for neither
the server nor a framework.
"""

from collections.abc import Callable, Iterator, Mapping
from os import PathLike, fstat
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import httpx

from epochd.client import streams
from epochd.client.connection import DEFAULT_URL, LONG_TIMEOUT, Connection
from epochd.core.events import FINAL_TYPES, Type
from epochd.core.specs import TrainingSpec

PREFIX = "/api/v1/epoch-training"
DATASETS = "/api/v1/datasets"
PIECE_BYTES = 1 << 18


class Client:
    """Speaks to one server. Use it in a ``with`` block, or call ``close`` at the end.

    ``transport`` takes the place of the network, so that a test can answer without a socket.
    """

    def __init__(
        self, url: str = DEFAULT_URL, token: str | None = None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._connection = Connection(url, token, transport)
        self._request = self._connection.request

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def start(self, config: Mapping[str, Any] | TrainingSpec) -> dict[str, Any]:
        """Submit a training; the answer has its ``task_id``. InvalidSpec and DataError list every problem."""
        return self._request("POST", f"{PREFIX}/start", json=_as_json(config))

    def validate(self, config: Mapping[str, Any] | TrainingSpec) -> dict[str, Any]:
        """Check a config without starting it; ``valid`` and ``problems`` are in the answer."""
        return self._request("POST", f"{PREFIX}/validate", json=_as_json(config))

    def progress(self, task_id: str) -> dict[str, Any]:
        return self._request("GET", _path("progress", task_id))

    def history(self, task_id: str) -> dict[str, Any]:
        return self._request("GET", _path("history", task_id))

    def task(self, task_id: str) -> dict[str, Any]:
        """Everything that is known of one task."""
        return self._request("GET", _path("tasks", task_id))

    def tasks(
        self, *, state: str | None = None, name: str | None = None, limit: int = 50, offset: int = 0
    ) -> dict[str, Any]:
        """Tasks, newest first; ``name`` matches a part of the name."""
        query = {"state": state, "name": name, "limit": limit, "offset": offset}
        return self._request("GET", f"{PREFIX}/tasks", params=_given(query))

    def pause(self, task_id: str, wait: float | None = None) -> dict[str, Any]:
        """Pause, waiting up to ``wait`` seconds (absent: the server's setting) for the checkpoint to be safe."""
        return self._request("POST", _path("pause", task_id), params=_given({"wait": wait}))

    def resume(self, task_id: str, **changes: Any) -> dict[str, Any]:
        """Go on with a paused task, with these changes to its config (such as ``epochs``).

        Raises DataChanged if its dataset has changed, unless ``allow_changed_data`` is true, and InvalidSpec for what
        cannot be changed. The ``receipt`` in the answer shows the learning rates to come before and after.
        """
        options: dict[str, Any] = {"json": changes} if changes else {}
        return self._request("POST", _path("resume", task_id), **options)

    def continue_task(self, task_id: str, epochs: int, **changes: Any) -> dict[str, Any]:
        """Train a completed task's model on, until it has so many epochs in all; the answer names the new task."""
        return self._request("POST", _path("continue", task_id), json={"epochs": epochs, **changes})

    def retry(self, task_id: str, *, from_beginning: bool = False) -> dict[str, Any]:
        """Try a failed or cancelled task again, from its last checkpoint; the answer names the new task."""
        return self._request("POST", _path("retry", task_id), json={"from_beginning": from_beginning})

    def logs(self, task_id: str, *, attempt: int | None = None, tail: int = 200) -> dict[str, Any]:
        """The last ``lines`` that an attempt has printed (absent: the newest)."""
        return self._request("GET", _path("logs", task_id), params=_given({"attempt": attempt, "tail": tail}))

    def follow(self, task_id: str, *, attempt: int | None = None, tail: int = 200) -> Iterator[dict[str, Any]]:
        """What a task's workers print, as dicts of ``attempt`` and ``line``: the last lines first, then new ones.

        Goes on over attempts and broken connections until the task has ended. Raises like ``stream``.
        """
        query = _given({"attempt": attempt, "tail": tail}) | {"follow": "true"}
        return streams.events(self._connection, _path("logs", task_id), query, ends=True)

    def stop(self, task_id: str, wait: float | None = None) -> dict[str, Any]:
        """Cancel for good, waiting like ``pause``."""
        return self._request("POST", _path("stop", task_id), params=_given({"wait": wait}))

    def remove(self, task_id: str, *, keep_model: bool = False) -> dict[str, Any]:
        """Remove a finished task with all that belongs to it, its model too unless that is kept. Raises IllegalMove."""
        return self._request("DELETE", _path("tasks", task_id), params=_given({"keep_model": keep_model or None}))

    def datasets(self, *, name: str | None = None, limit: int = 50, offset: int = 0) -> dict[str, Any]:
        """Registered datasets, newest first, then the built-in ones; ``name`` matches a part of the name."""
        return self._request("GET", DATASETS, params=_given({"name": name, "limit": limit, "offset": offset}))

    def dataset(self, name: str) -> dict[str, Any]:
        """Everything that is known of one dataset: schema, profile of each column, first rows."""
        return self._request("GET", _dataset_path(name), timeout=LONG_TIMEOUT)

    def upload_dataset(
        self,
        file: str | PathLike[str],
        name: str | None = None,
        *,
        replace: bool = False,
        progress: Callable[[int, int], None] = lambda sent, total: None,
    ) -> dict[str, Any]:
        """Send a file, which is streamed; ``progress`` is told the bytes sent so far and all.

        The dataset's name is the file's unless one is given. Raises OSError if the file cannot be read.
        """
        path = Path(file)
        query = _given({"name": name, "filename": path.name, "replace": replace or None})
        with path.open("rb") as content:
            total = fstat(content.fileno()).st_size
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(total)}
            body = _pieces(content, total, progress)
            return self._request("POST", DATASETS, params=query, content=body, headers=headers, timeout=LONG_TIMEOUT)

    def register_dataset(self, name: str, path: str, *, replace: bool = False) -> dict[str, Any]:
        """Give a name to a file or folder that the server can read already."""
        return self._bring({"name": name, "path": path}, replace)

    def query_dataset(self, name: str, connection: str, query: str, *, replace: bool = False) -> dict[str, Any]:
        """Keep the rows that a query gives on one of the server's connections."""
        return self._bring({"name": name, "connection": connection, "query": query}, replace)

    def refresh_dataset(self, name: str) -> dict[str, Any]:
        """Run a dataset's query again."""
        return self._request("POST", f"{_dataset_path(name)}/refresh", timeout=LONG_TIMEOUT)

    def remove_dataset(self, name: str) -> dict[str, Any]:
        """Remove a dataset. Raises DatasetInUse while a task that is not finished needs it."""
        return self._request("DELETE", _dataset_path(name))

    def _bring(self, values: dict[str, str], replace: bool) -> dict[str, Any]:
        query = _given({"replace": replace or None})
        return self._request("POST", DATASETS, params=query, json=values, timeout=LONG_TIMEOUT)

    def health(self) -> dict[str, Any]:
        return self._request("GET", "/health")

    def stream(self, task_id: str, last_event_id: int | None = None) -> Iterator[dict[str, Any]]:
        """The task's events (see ``core.events.Type``) as dicts, from the first or after ``last_event_id``.

        A broken connection is taken up again behind the last event seen, so that none is lost or comes
        twice. Ends after the final event; raises ServerUnreachable when the server stays away.
        """
        last = "" if last_event_id is None else str(last_event_id)
        for event in streams.events(self._connection, _path("stream-progress", task_id), {}, last, ends=False):
            if event.get("type") in set(Type):
                yield event
                if event["type"] in FINAL_TYPES:
                    return


def _as_json(config: Mapping[str, Any] | TrainingSpec) -> dict[str, Any]:
    """Only what was set, so that the server fills in its defaults and no option is out of place."""
    if isinstance(config, TrainingSpec):
        return config.model_dump(mode="json", exclude_unset=True)
    return dict(config)


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in query.items() if value is not None}


def _pieces(content: BinaryIO, total: int, progress: Callable[[int, int], None]) -> Iterator[bytes]:
    """A file's first ``total`` bytes, which is what the request has promised to bring."""
    sent = 0
    progress(sent, total)
    while piece := content.read(min(PIECE_BYTES, total - sent)):
        yield piece
        sent += len(piece)
        progress(sent, total)


def _dataset_path(name: str) -> str:
    return f"{DATASETS}/{quote(name, safe='')}"


def _path(verb: str, task_id: str) -> str:
    return f"{PREFIX}/{verb}/{quote(task_id, safe='')}"
