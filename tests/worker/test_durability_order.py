"""What a worker reports is on the disk already, whole, at the moment it is reported."""

import pytest
from tests.support.reporters import RecordingReporter
from tests.support.tickets import ticket

from epochd.artifact import files
from epochd.core.events import ReportKind
from epochd.worker.execute import execute


@pytest.mark.parametrize("seconds", [0.0, 1000.0], ids=["often", "at the end"])
def test_a_checkpoint_and_a_model_are_whole_before_they_are_reported(tmp_path, seconds):
    def look(kind, payload):
        if kind is ReportKind.CHECKPOINT:
            files.verify(tmp_path / payload["path"])
        if kind is ReportKind.COMPLETED:
            files.verify(tmp_path / payload["artifact"])

    witness = RecordingReporter(look=look)
    given = ticket(tmp_path, dataset="iris", epochs=2, checkpoint_seconds=seconds)
    assert execute(given, witness) is ReportKind.COMPLETED
    assert witness.kinds.count(ReportKind.CHECKPOINT) == (3 if seconds == 0 else 1)
