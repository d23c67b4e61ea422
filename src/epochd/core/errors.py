"""The one error tree.

A message says what was given, why it fails and what to do. The API turns any of these into the one
error shape ``{"success": false, "code", "message", "problems"}`` with the status given here; the
worker reports them with the same code.

    EpochdError
    ├── InvalidSpec          422  the config has problems (all of them are listed)
    ├── DataError            422  the dataset cannot be used as asked
    ├── SettingsError             the server's own settings make no sense
    ├── Unauthorized         401  token missing or wrong
    ├── Forbidden            403  host or origin not allowed
    ├── NotFound             404  no such task, no such dataset
    ├── TooLarge             413  more bytes than the server takes
    ├── IllegalMove          409  the task's state does not allow it
    ├── DataChanged          409  the dataset is not the one that the task was paused with
    ├── NameTaken            409  another dataset has this name
    ├── DatasetInUse         409  a task that is not finished needs the dataset
    ├── BuiltIn              409  the dataset comes with epochd and stays as it is
    ├── StaleAttempt         409  a newer attempt owns the task
    ├── FrameworkMissing     422  the framework asked for is not installed
    ├── OutOfSpace                the disk is full
    ├── Diverged                  the loss became infinite or NaN
    ├── RankFailed                one of the processes that train as one has died
    ├── CorruptFile               a checkpoint or artifact fails its manifest
    └── ServerUnreachable         the client cannot reach the server
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a request: where, what, and what to do about it."""

    field: str
    message: str
    hint: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


class EpochdError(Exception):
    """Base of every error that epochd raises on purpose."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = list(problems)

    def as_json(self) -> dict[str, Any]:
        """The one error shape of the API."""
        return {
            "success": False,
            "code": self.code,
            "message": self.message,
            "problems": [problem.as_json() for problem in self.problems],
        }


class ProblemsError(EpochdError):
    """An error that is a list of problems; its message is their summary."""

    status = 422

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{p.field}: {p.message}" for p in problems), problems)


class InvalidSpec(ProblemsError):
    code = "invalid_spec"


class DataError(ProblemsError):
    code = "data_error"


class FrameworkMissing(EpochdError):
    code = "framework_missing"
    status = 422


class SettingsError(EpochdError):
    code = "invalid_settings"


class Unauthorized(EpochdError):
    code = "unauthorized"
    status = 401


class Forbidden(EpochdError):
    code = "forbidden"
    status = 403


class NotFound(EpochdError):
    code = "not_found"
    status = 404


class TooLarge(EpochdError):
    code = "too_large"
    status = 413


class IllegalMove(EpochdError):
    code = "illegal_move"
    status = 409


class DataChanged(EpochdError):
    code = "data_changed"
    status = 409


class NameTaken(EpochdError):
    code = "name_taken"
    status = 409


class DatasetInUse(EpochdError):
    code = "dataset_in_use"
    status = 409


class BuiltIn(EpochdError):
    code = "built_in"
    status = 409


class StaleAttempt(EpochdError):
    code = "stale_attempt"
    status = 409


class OutOfSpace(EpochdError):
    """``needed_bytes`` have to be free before it makes sense to go on."""

    code = "disk_full"
    status = 507

    def __init__(self, message: str, needed_bytes: int = 0) -> None:
        super().__init__(message)
        self.needed_bytes = needed_bytes

    def as_report(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "problems": [], "needed_bytes": self.needed_bytes}


class Diverged(EpochdError):
    code = "diverged"


class RankFailed(EpochdError):
    code = "rank_failed"


class CorruptFile(EpochdError):
    code = "corrupt_file"


class ServerUnreachable(EpochdError):
    code = "server_unreachable"


def similar_names(name: str, known: Iterable[str], most: int) -> list[str]:
    """Up to ``most`` known names that resemble this one, whatever their case, the most similar first; only those that
    differ in nothing but case, if there are any."""
    folded: dict[str, list[str]] = {}
    for one in known:
        folded.setdefault(one.casefold(), []).append(one)
    same = folded.get(name.casefold())
    close = [] if same else get_close_matches(name.casefold(), list(folded), n=most, cutoff=ALIKE)
    return (same or [one for fold in close for one in folded[fold]])[:most]


class MethodNotAllowed(EpochdError):
    code = "method_not_allowed"
    status = 405


class BadRequest(EpochdError):
    code = "bad_request"
    status = 400


class InvalidRequest(EpochdError):
    code = "invalid_request"
    status = 422


class InternalError(EpochdError):
    code = "internal_error"


ALIKE = 0.6
"""How much of two names is the same, from 0 to 1, if one may be meant by the other; as ``difflib`` measures it."""
