"""Reading the log of a job."""

import pytest

from epochd.core.events import ReportKind
from epochd.store import attempts, events
from epochd.store.db import Database
from tests.support.attempts import claimed, epoch, history, started


async def test_after_goes_on_from_any_place_in_pages(db: Database) -> None:
    attempt = await started(db)
    await attempt.send(*[attempt.next(ReportKind.EPOCH, epoch(i)) for i in range(1, 6)])
    assert [event.seq for event in await events.after(db, attempt.id, 0)] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.seq for event in await events.after(db, attempt.id, 3, limit=2)] == [4, 5]
    assert await events.after(db, attempt.id, 7) == []


async def test_an_unknown_job_has_no_events(db: Database) -> None:
    assert await events.after(db, "epoch_training_20260101_000000_abcdef", 0) == []


async def test_the_log_of_one_job_holds_nothing_of_another(db: Database) -> None:
    one, other = await started(db), await started(db)
    await other.say(ReportKind.EPOCH, epoch(1))
    assert {event.task_id for event in await one.log()} == {one.id}
    assert await history(db, one.id) == []


async def test_history_has_one_row_per_epoch_of_which_the_newest_attempts_stands(db: Database) -> None:
    first = await started(db)
    await first.send(*[first.next(ReportKind.EPOCH, epoch(i, 0.9)) for i in (1, 2)])
    await attempts.release_attempt(db, first.id, 1, reason="restart")
    second = await claimed(db)
    await second.send(*[second.next(ReportKind.EPOCH, epoch(i, 0.1)) for i in (2, 3)])
    rows = await history(db, first.id)
    assert [(row["epoch"], row["train_loss"]) for row in rows] == [(1, 0.9), (2, 0.1), (3, 0.1)]


async def test_the_log_counts_on_over_attempts_without_gaps(db: Database) -> None:
    first = await started(db)
    await first.say(ReportKind.EPOCH, epoch(1))
    await attempts.release_attempt(db, first.id, 1, reason="restart")
    second = await claimed(db)
    await second.say(ReportKind.EPOCH, epoch(2))
    log = await second.log()
    assert [(event.seq, event.attempt) for event in log] == [(1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (6, 2)]
    assert (await second.job()).last_seq == 6


async def test_a_history_of_many_pages_is_the_same_as_of_one(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAGE_EVENTS", 2)
    first = await started(db)
    await first.send(*[first.next(ReportKind.EPOCH, epoch(i, 0.9)) for i in range(1, 8)])
    assert [row["epoch"] for row in await history(db, first.id)] == [1, 2, 3, 4, 5, 6, 7]
    await attempts.release_attempt(db, first.id, 1, reason="restart")
    second = await claimed(db)
    await second.send(*[second.next(ReportKind.EPOCH, epoch(i, 0.1)) for i in (5, 6)])
    back = {"epoch": 4, "learning_rate": 0.1, "message": "diverged"}
    await second.say(ReportKind.ROLLBACK, back)
    await second.send(*[second.next(ReportKind.EPOCH, epoch(i, 0.2)) for i in (5, 6)])
    rows = await history(db, first.id)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["train_loss"] for row in rows] == [0.9, 0.9, 0.9, 0.9, 0.2, 0.2]
    for start in range(1, 8):
        async with db.read() as connection:
            progress = await events.effective_progress(connection, first.id, start)
        assert [shown["latest_metrics"] for shown in progress.values()] == rows[start - 1 :]
        assert list(progress) == list(range(start, 7))
