"""What has to be true of every task afterwards, whatever has happened to it. Each function returns what is not."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from epochd.core.events import FINAL_TYPES, Event, Type

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What a training has come to: its history without times, and the bytes of its weights."""

    history: Rows
    weights: bytes


@dataclass(frozen=True)
class Record:
    """One task that the server had acknowledged: where it stands, its log, and what a client saw of it live."""

    task_id: str
    state: str
    error: dict[str, Any] | None
    log: Sequence[Event]
    seen: Sequence[dict[str, Any]]
    outcome: Outcome | None
    expected: Outcome


def violations(record: Record) -> list[str]:
    """All that is wrong with a task, in sentences."""
    return [f"{record.task_id}: {wrong}" for check in CHECKS for wrong in check(record)]


def is_not_lost(record: Record) -> Iterator[str]:
    if record.state != "completed":
        yield f"it was acknowledged and is {record.state} ({record.error})"


def numbers_are_contiguous(record: Record) -> Iterator[str]:
    numbers = [event.seq for event in record.log]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"its events have the numbers {numbers}"


def ends_once(record: Record) -> Iterator[str]:
    ends = [event.seq for event in record.log if event.type in FINAL_TYPES]
    if len(ends) != 1 or ends[0] != record.log[-1].seq:
        yield f"its final events are {ends} of {len(record.log)}"


def has_one_attempt_at_a_time(record: Record) -> Iterator[str]:
    """An attempt begins after the one before it has lost the task, and nothing of a former one comes later."""
    for before, after in pairwise(record.log):
        if after.attempt < before.attempt:
            yield f"event {after.seq} is of attempt {after.attempt}, after one of attempt {before.attempt}"
    moves = [
        event.payload["state"] for event in record.log if event.type is Type.STATE and "started" not in event.payload
    ]
    for first, second in pairwise(moves):
        if first == second == "running":
            yield "an attempt began while another ran"


def tells_each_epoch_once(record: Record) -> Iterator[str]:
    told = [_epoch(event.payload) for event in record.log if event.type is Type.PROGRESS]
    if told != list(range(1, len(told) + 1)):
        yield f"its log tells of the epochs {told}"


def was_followed_without_gap(record: Record) -> Iterator[str]:
    """A reader that fell behind may miss progress, but gets none twice, and always the last event."""
    told = [_epoch(event) for event in record.seen if event["type"] == Type.PROGRESS]
    if any(second <= first for first, second in pairwise(told)):
        yield f"a client saw the epochs {told}"
    ends = [event["type"] for event in record.seen if event["type"] in FINAL_TYPES]
    if len(ends) != 1 or record.seen[-1]["type"] not in FINAL_TYPES:
        yield f"a client saw the final events {ends}"


def comes_out_as_expected(record: Record) -> Iterator[str]:
    if record.outcome is None:
        yield "it left no model"
        return
    if record.outcome.history != record.expected.history:
        yield "its history is not that of the undisturbed training"
    if record.outcome.weights != record.expected.weights:
        yield "its weights are not those of the undisturbed training"


CHECKS: tuple[Callable[[Record], Iterator[str]], ...] = (
    is_not_lost,
    numbers_are_contiguous,
    ends_once,
    has_one_attempt_at_a_time,
    tells_each_epoch_once,
    was_followed_without_gap,
    comes_out_as_expected,
)


def _epoch(payload: dict[str, Any]) -> int:
    return int(payload["progress"]["current_epoch"])
