"""What a worker reports is on the disk already, whole, at the moment it is reported."""

import pytest
from tests.support.reporters import RecordingReporter
from tests.support.tickets import ticket

from epochd.artifact import files
from epochd.core.events import ReportKind
from epochd.worker import transfer
from epochd.worker.execute import execute
from epochd.worker.transfer import SharedFolders


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


class Elsewhere(SharedFolders):
    """The folders of a server that takes nothing that is optional."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, folder, *, is_optional=False):
        if not is_optional:
            self.sent.append(folder.name)
        return not is_optional


def test_what_the_server_does_not_have_is_not_reported(tmp_path, monkeypatch):
    """A checkpoint that could not be sent is not told of, and the training goes on; its model must be sent."""
    folders, witness = Elsewhere(), RecordingReporter()
    monkeypatch.setattr(transfer, "of", lambda ticket, reporter: folders)
    given = ticket(tmp_path, dataset="iris", epochs=2, checkpoint_seconds=0.0)
    assert execute(given, witness) is ReportKind.COMPLETED
    assert ReportKind.CHECKPOINT not in witness.kinds
    assert folders.sent == ["task"]
