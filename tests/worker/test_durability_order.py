"""What a worker reports is on the disk already, whole, at the moment it is reported."""

from pathlib import Path

import pytest

from epochd.artifact import files
from epochd.core import specs
from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.core.tickets import Ticket
from epochd.worker.execute import execute


class Witness:
    """Looks at what each report names, when it is made."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.seen: list[ReportKind] = []

    def emit(self, kind, payload):
        self.seen.append(kind)
        if kind is ReportKind.CHECKPOINT:
            files.verify(self.data_dir / payload["path"])
        if kind is ReportKind.COMPLETED:
            files.verify(self.data_dir / payload["artifact"])

    def command(self):
        return Command.CONTINUE

    def confirm(self):
        pass


@pytest.mark.parametrize("seconds", [0.0, 1000.0], ids=["often", "at the end"])
def test_a_checkpoint_and_a_model_are_whole_before_they_are_reported(tmp_path, seconds):
    spec = specs.parse({"dataset": "iris", "target_column": "target", "framework": "pytorch", "epochs": 2})
    about = {"task_id": "t", "attempt": 1, "token": "", "server_url": "", "dataset_roots": []}
    witness = Witness(tmp_path)
    ticket = Ticket(**about, spec=spec, data_dir=tmp_path, checkpoint_seconds=seconds)
    assert execute(ticket, witness) is ReportKind.COMPLETED
    assert witness.seen.count(ReportKind.CHECKPOINT) == (3 if seconds == 0 else 1)
