"""The curves of a training for a chart."""

import json
import random

import pytest
from tests.support.house import row

from epochd.api.tasks.curves import Thinner
from epochd.core.events import ReportKind


def thinned(rows, points=10, first=1, last=None):
    thinner = Thinner(first, last or len(rows), points)
    for start in range(0, len(rows), 7):  # pages
        thinner.add([json.dumps(one) for one in rows[start : start + 7]])
    return thinner.finished(), thinner


def random_rows(count, seed=3):
    chance = random.Random(seed)
    return [{"epoch": n, "train_loss": chance.random(), "time_per_epoch": 0.5} for n in range(1, count + 1)]


@pytest.mark.parametrize("count", [0, 1, 9, 10])
def test_what_has_room_is_not_changed(count):
    rows = random_rows(count)
    found, thinner = thinned(rows)
    assert thinner.bucket == 1
    assert [{k: v for k, v in one.items() if k != "elapsed_seconds"} for one in found] == rows
    assert [one["elapsed_seconds"] for one in found] == [n / 2 for n in range(1, count + 1)]


@pytest.mark.parametrize("count", [11, 12, 57, 1_000, 4_321])
@pytest.mark.parametrize("first", [1, 6])
def test_each_bucket_keeps_its_extremes_in_their_order(count, first):
    rows = random_rows(count)
    found, thinner = thinned(rows, first=first)
    assert len(found) <= 10
    assert [one["epoch"] for one in found] == sorted({one["epoch"] for one in found})
    assert (found[0]["epoch"], found[-1]["epoch"]) == (first, count)
    buckets = {}
    for one in rows[first - 1 :]:
        buckets.setdefault((one["epoch"] - 1) // thinner.bucket, []).append(one)
    assert thinner.bucket == 1 or len(buckets) > 1
    at = 0
    for bucket in buckets.values():
        mine = found[at : at + min(2, len(bucket))]
        at += len(mine)
        values = [one["train_loss"] for one in bucket]
        assert {one["train_loss"] for one in mine} == {min(values), max(values)}
        if len(mine) == 2:
            is_rising = values.index(min(values)) < values.index(max(values))
            assert (mine[0]["train_loss"] < mine[1]["train_loss"]) == is_rising
        assert [one["elapsed_seconds"] for one in mine] == [
            n["epoch"] / 2 for n in (bucket[0], bucket[-1])[: len(mine)]
        ]
    assert at == len(found)


def test_values_that_are_not_defined_are_told_and_no_value_is_made_up():
    rows = [{"epoch": n, "a": None if n == 3 else n, "b": None, "time_per_epoch": None} for n in range(1, 41)]
    found, thinner = thinned(rows)
    assert thinner.missing == {"a": [1]}
    assert [one["b"] for one in found] == [None] * len(found)
    assert found[0]["a"] == 1
    assert found[0]["elapsed_seconds"] == 0


async def test_curves_and_the_stream_after_them_are_the_whole_training(house):
    task_id = await house.start(epochs=5)
    worker = await (await house.worker()).begin()
    await worker.epochs(1, 2)
    await worker.report(ReportKind.ROLLBACK, epoch=1, learning_rate=0.1, message="back")
    await worker.epochs(2, 3)
    found = (await house.get(f"/curves/{task_id}")).json()
    assert [{k: v for k, v in one.items() if k != "elapsed_seconds"} for one in found["rows"]] == [
        row(1),
        row(2),
        row(3),
    ]
    assert found["rows"] == [one | {"elapsed_seconds": 0.01 * (at + 1)} for at, one in enumerate(map(row, (1, 2, 3)))]
    assert [(one["event"]["type"], one["epoch"]) for one in found["events"]] == [
        ("state", 0),
        ("state", 0),
        ("state", 0),
        ("rollback", 2),
    ]
    assert (found["bucket"], found["first"], found["last"], found["total_epochs"], found["best_epoch"]) == (
        1,
        1,
        3,
        5,
        3,
    )
    history = (await house.get(f"/history/{task_id}")).json()["history"]
    assert history == list(map(row, (1, 2, 3)))
    await worker.epochs(4, 4)
    later = (await house.get(f"/curves/{task_id}")).json()
    assert later["last_seq"] == found["last_seq"] + 1


async def test_a_part_of_the_epochs_can_be_asked_for(house):
    task_id = await house.completed()
    found = (await house.get(f"/curves/{task_id}", params={"first": 2, "last": 99})).json()
    assert [one["epoch"] for one in found["rows"]] == [2, 3]
    assert (found["first"], found["last"]) == (2, 3)
    assert found["rows"][0]["elapsed_seconds"] == 0.02
    nothing = (await house.get(f"/curves/{task_id}", params={"first": 9})).json()
    assert (nothing["rows"], nothing["bucket"]) == ([], 1)


async def test_a_training_without_epochs_has_its_events(house):
    task_id = await house.start()
    found = (await house.get(f"/curves/{task_id}")).json()
    assert found["rows"] == []
    assert found["events"][0]["event"]["state"] == "pending"


async def test_an_unknown_task_is_404(house):
    assert (await house.get("/curves/epoch_training_20240101_120000_a1b2c3")).status_code == 404
