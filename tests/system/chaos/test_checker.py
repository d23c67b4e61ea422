"""The checker sees what it is there to see: each kind of damage to a good record is found."""

from dataclasses import replace

import pytest

from epochd.core.events import Event, Type

from .checker import Outcome, Record, violations

ROWS = [{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.25}]
EXPECTED = Outcome(ROWS, b"weights")


def event(seq, attempt, type, **payload):
    return Event("t", seq, attempt, type, payload, 0.0)


def progress(seq, attempt, epoch):
    return event(seq, attempt, Type.PROGRESS, progress={"current_epoch": epoch})


LOG = (
    event(1, 0, Type.STATE, state="pending"),
    event(2, 1, Type.STATE, state="running"),
    event(3, 1, Type.STATE, state="running", started={}),
    progress(4, 1, 1),
    event(5, 1, Type.STATE, state="pending"),
    event(6, 2, Type.STATE, state="running"),
    progress(7, 2, 2),
    event(8, 2, Type.COMPLETE),
)
SEEN = [{"type": one.type, **one.payload} for one in LOG]
GOOD = Record("t", "completed", None, LOG, SEEN, EXPECTED, EXPECTED)


def without(events, *numbers):
    """The log without these events, numbered anew."""
    kept = [one for one in events if one.seq not in numbers]
    return [replace(one, seq=seq) for seq, one in enumerate(kept, 1)]


def test_a_good_record_is_good():
    assert violations(GOOD) == []


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ({"state": "failed", "error": {"code": "poison"}}, "acknowledged and is failed"),
        ({"log": [one for one in LOG if one.seq != 4]}, "numbers"),
        ({"log": [*LOG, event(9, 2, Type.COMPLETE)]}, "final events"),
        ({"log": LOG[:-1]}, "final events"),
        ({"log": without(LOG, 5)}, "while another ran"),
        ({"log": [*LOG[:6], progress(7, 1, 2), event(8, 2, Type.COMPLETE)]}, "event 7 is of attempt 1"),
        ({"log": [*LOG[:6], progress(7, 2, 1), event(8, 2, Type.COMPLETE)]}, "tells of the epochs [1, 1]"),
        ({"log": without(LOG, 4)}, "tells of the epochs [2]"),
        ({"seen": SEEN[:-1]}, "a client saw the final events []"),
        ({"seen": [*SEEN[:4], *SEEN[3:]]}, "a client saw the epochs [1, 1, 2]"),
        ({"outcome": None}, "no model"),
        ({"outcome": Outcome(ROWS[:1], b"weights")}, "history"),
        ({"outcome": Outcome(ROWS, b"weightz")}, "weights"),
    ],
)
def test_damage_is_found(damage, told):
    assert told in "\n".join(violations(replace(GOOD, **damage)))
