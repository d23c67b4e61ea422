"""The error classes of epochd.

A message says what was given, why it fails and what to do. The API answers each with the status given here and the
body ``{"success": false, "code", "message", "problems"}``; the worker reports the same codes.

    EpochdError              500
    ├── ProblemsError        422  an error that lists several problems
    │   ├── InvalidSpec      422  the config is invalid
    │   ├── DataError        422  the dataset cannot be used as requested
    │   └── RowsNotScored    422  rows cannot be scored by the model
    ├── FrameworkMissing     422  the requested framework is not installed
    ├── SettingsError             the server's settings are invalid
    ├── BadRequest           400  the request is malformed
    ├── Unauthorized         401  the token is missing or wrong
    ├── Forbidden            403  the host or origin is not allowed
    ├── CsrfFailed           403  the CSRF token of a browser's session is missing or wrong
    ├── NotFound             404  no such task, dataset or path
    ├── MethodNotAllowed     405  the path does not support this method
    ├── IllegalMove          409  the task's state does not allow it
    ├── DataChanged          409  the dataset has changed since the task was paused
    ├── NameTaken            409  another dataset has this name
    ├── DatasetInUse         409  a task that is not finished needs the dataset
    ├── BuiltIn              409  the dataset is built in and cannot be changed
    ├── ModelInUse           409  an alias leads to the model
    ├── StaleAttempt         409  a newer attempt of the task has started
    ├── AgentNameTaken       409  another agent with this name is connected
    ├── TooLarge             413  the body is larger than the limit
    ├── InvalidRequest       422  a parameter of the request is invalid
    ├── InternalError        500  an unexpected error, logged with its traceback
    ├── Busy                 503  the server cannot take the request now; the answer says when to repeat it
    ├── NotLeader            503  another server that shares the database has taken over the queue
    ├── StorageUnavailable   503  the object store does not take or give what a task needs
    ├── OutOfSpace           507  the disk is full
    ├── Diverged                  the loss became infinite or NaN
    ├── AgentLost                 an agent is not connected to the server any more
    ├── RankFailed                a process of a multi-process training has died
    ├── WrongProcess              a worker process cannot train a ticket as it has to be trained
    ├── CorruptFile               a checkpoint or artifact does not match its manifest
    ├── FileNotReadable           a checkpoint or artifact belongs to another user
    ├── ModelNotSaved             the training is complete, but its model could not be saved
    └── ServerUnreachable         the client cannot reach the server
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, ClassVar

from epochd.core.text import cut

MAX_PROBLEMS = 100
"""Problems that an error lists."""
OTHERS_HINT = "correct the listed ones first"
MAX_MESSAGE, MAX_FIELD = 2_000, 200
"""Characters of a message or hint, and of a field's name, in a problem."""
MAX_PROBLEMS_BYTES, MAX_SUMMARY = 40_000, 12_000
"""Bytes of all problems of an error as JSON, and characters of its message: an answer stays below 100 kB."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a request: the field, the cause, and what to do."""

    field: str
    message: str
    hint: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def bounded(problems: Sequence[Problem]) -> list[Problem]:
    """At most the first ``MAX_PROBLEMS`` problems, cut to a length that can be read, and how many more there are."""
    if problems and problems[-1].hint == OTHERS_HINT:  # an error that another process has bounded
        return list(problems)
    shown: list[Problem] = []
    size = 0
    for problem in problems[:MAX_PROBLEMS]:
        short = Problem(
            cut(problem.field, MAX_FIELD), cut(problem.message, MAX_MESSAGE), cut(problem.hint, MAX_MESSAGE)
        )
        size += len(json.dumps(short.as_json(), ensure_ascii=False).encode("utf-8", "surrogatepass"))
        if size > MAX_PROBLEMS_BYTES and shown:
            break
        shown.append(short)
    if more := len(problems) - len(shown):
        field = cut(problems[len(shown)].field, MAX_FIELD)
        shown.append(Problem(field, f"{more:,} more problems", OTHERS_HINT))
    return shown


class EpochdError(Exception):
    """Base class of every error that epochd raises."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init_subclass__(cls, *, code: str = "error", status: int = 500) -> None:
        cls.code, cls.status = code, status

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        self.message = cut(message, MAX_SUMMARY)
        super().__init__(self.message)
        self.problems = bounded(problems)

    def as_json(self) -> dict[str, Any]:
        """The body of the API's answer."""
        problems = [problem.as_json() for problem in self.problems]
        return {"success": False, "code": self.code, "message": self.message, "problems": problems}


class ProblemsError(EpochdError, status=422):
    """An error that is a list of problems; its message is their summary."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        shown = bounded(problems)
        super().__init__("; ".join(f"{p.field}: {p.message}" for p in shown), shown)


class InvalidSpec(ProblemsError, code="invalid_spec", status=422): ...


class DataError(ProblemsError, code="data_error", status=422): ...


class RowsNotScored(ProblemsError, code="rows_not_scored", status=422): ...


class FrameworkMissing(EpochdError, code="framework_missing", status=422): ...


class SettingsError(EpochdError, code="invalid_settings"): ...


class Unauthorized(EpochdError, code="unauthorized", status=401): ...


class Forbidden(EpochdError, code="forbidden", status=403): ...


class CsrfFailed(EpochdError, code="csrf_failed", status=403): ...


class NotFound(EpochdError, code="not_found", status=404): ...


class TooLarge(EpochdError, code="too_large", status=413): ...


class UnsupportedMediaType(EpochdError, code="unsupported_media_type", status=415): ...


class IllegalMove(EpochdError, code="illegal_move", status=409): ...


class DataChanged(EpochdError, code="data_changed", status=409): ...


class NameTaken(EpochdError, code="name_taken", status=409): ...


class DatasetInUse(EpochdError, code="dataset_in_use", status=409): ...


class BuiltIn(EpochdError, code="built_in", status=409): ...


class ModelInUse(EpochdError, code="model_in_use", status=409): ...


class StaleAttempt(EpochdError, code="stale_attempt", status=409): ...


class AgentNameTaken(EpochdError, code="agent_name_taken", status=409): ...


class AgentLost(EpochdError, code="agent_lost"): ...


class OutOfSpace(EpochdError, code="disk_full", status=507):
    """``needed_bytes`` must be free before the operation can succeed."""

    def __init__(self, message: str, needed_bytes: int = 0) -> None:
        super().__init__(message)
        self.needed_bytes = needed_bytes

    def as_report(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "problems": [], "needed_bytes": self.needed_bytes}


class Diverged(EpochdError, code="diverged"):
    """``member`` is the number of the network that has diverged, from 0."""

    member: int = 0


class RankFailed(EpochdError, code="rank_failed"): ...


class WrongProcess(EpochdError, code="wrong_process"):
    """``needs``: the threads and devices that the process of the training has to have, such as ``1x1``."""

    def __init__(self, message: str, needs: str) -> None:
        super().__init__(message)
        self.needs = needs


class CorruptFile(EpochdError, code="corrupt_file"): ...


class FileNotReadable(EpochdError, code="file_not_readable"): ...


class ModelNotSaved(EpochdError, code="model_not_saved"): ...


class ModelDiffers(EpochdError, code="model_differs"): ...


class ServerUnreachable(EpochdError, code="server_unreachable"): ...


class MethodNotAllowed(EpochdError, code="method_not_allowed", status=405): ...


class BadRequest(EpochdError, code="bad_request", status=400): ...


class InvalidRequest(EpochdError, code="invalid_request", status=422): ...


class InternalError(EpochdError, code="internal_error"): ...


class Busy(EpochdError, code="busy", status=503):
    """``retry_seconds`` is sent as ``Retry-After``."""

    def __init__(self, message: str, retry_seconds: int) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class NotLeader(EpochdError, code="not_leader", status=503): ...


class StorageUnavailable(EpochdError, code="storage_unavailable", status=503): ...


def error_codes(base: type[EpochdError] = EpochdError) -> list[str]:
    """The codes of an error class and all classes below it, sorted."""
    return sorted({base.code}.union(*(error_codes(kind) for kind in base.__subclasses__())))


MIN_SIMILARITY = 0.6
"""How similar two names must be, from 0 to 1 as ``difflib`` measures it, for one to be a suggestion for the other."""
MAX_COMPARED, MAX_COMPARED_LENGTH = 2_000, 100
"""Known names that are compared with a name, and characters of a name that is compared: difflib is quadratic."""


def similar_names(name: str, known: Iterable[str], most: int) -> list[str]:
    """Up to ``most`` known names that are similar to this one, ignoring case, the most similar first.

    If some names differ in case only, these alone are returned.
    """
    by_folded: dict[str, list[str]] = {}
    for candidate in known:
        by_folded.setdefault(candidate.casefold(), []).append(candidate)
    if same := by_folded.get(name.casefold()):
        return same[:most]
    if len(name) > MAX_COMPARED_LENGTH:
        return []
    compared = islice((folded for folded in by_folded if len(folded) <= 2 * MAX_COMPARED_LENGTH), MAX_COMPARED)
    close = get_close_matches(name.casefold(), compared, n=most, cutoff=MIN_SIMILARITY)
    return [candidate for folded in close for candidate in by_folded[folded]][:most]
