import pytest

from epochd.core.job_values import Checkpoint, JobError, MemoryCap, Revision, WorkerIdentity

CAP = {"path": "/sys/fs/cgroup/x", "before": 10, "limit": 20, "kills": 0, "ooms": 1}
FORMS = [
    (Checkpoint, {"path": "checkpoints/x/1", "epoch": 1, "step": 2, "bytes": 3}),
    (Checkpoint, {"path": "checkpoints/x/1", "epoch": 1, "step": 2, "bytes": 3, "restores": {"weights": True}}),
    (JobError, {"code": "diverged", "message": "inf", "problems": [{"field": "a", "message": "b", "hint": ""}]}),
    (JobError, {"code": "poison", "message": "died", "problems": [], "log_tail": ["last"]}),
    (JobError, {"code": "disk_full", "message": "no room", "problems": [], "needed_bytes": 0}),
    (Revision, {"at": 1.5, "changes": {"epochs": [3, 9]}}),
    (WorkerIdentity, {"pid": 7, "created": 1.5}),
    (WorkerIdentity, {"pid": 7, "created": 1.5, "hold": CAP}),
]


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_a_value_is_written_as_it_was_read_with_the_same_order_of_keys_and_with_unknown_ones(kind, form):
    form = form | {"of another version": [1]}
    assert list(kind.from_json(form).as_json().items()) == list(form.items())


def test_a_missing_key_is_named():
    with pytest.raises(KeyError, match="path"):
        Checkpoint.from_json({"epoch": 1})


def test_the_cap_of_a_worker_is_a_value_whose_total_includes_what_was_used_before():
    worker = WorkerIdentity.from_json({"pid": 7, "created": 1.5, "hold": CAP})
    assert worker.memory_cap == MemoryCap("/sys/fs/cgroup/x", before=10, limit=20, kills=0, ooms=1)
    assert worker.memory_cap.total == 30


def test_checkpoints_are_compared_by_position():
    assert Checkpoint("x", 2, 0).position > Checkpoint("x", 1, 9).position
