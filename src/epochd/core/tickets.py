"""What a worker is handed: everything it needs for one attempt, and no other credential.

A ticket travels to the worker's standard input as one JSON line, so that its token never stands on a
command line or in an environment.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from epochd.core.datasets import CheckedDataset
from epochd.core.jobs import AttemptKey
from epochd.core.specs import TrainingSpec

RANK_FAILED = 71
"""The exit code of a worker that lost one of the processes it trained with; the attempt counts as a crash."""


class Ticket(BaseModel):
    """One attempt at one job. Paths are absolute; times are in seconds."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    task_id: str
    attempt: int
    token: str
    """Authorises reports of this attempt only."""
    server_url: str
    spec: TrainingSpec
    """The spec with ``framework``, ``dataset`` and ``task`` resolved by the server."""
    data_dir: Path
    """Artifacts go to ``artifacts/``, checkpoints to ``checkpoints/<task_id>/`` below it."""
    dataset_roots: list[Path]
    checked: CheckedDataset | None = None
    """What the server found in the dataset when it checked the config; None where it no longer knows."""
    registered: dict[str, Path] = {}
    """Where the registered datasets that the spec names lie."""
    checkpoint: str | None = None
    """The newest checkpoint that the server knows of, relative to ``data_dir``; None if there is none."""
    reported_epochs: int = 0
    """How many epochs the server has been told of."""
    threads: int = 1
    """How many CPU threads this slot may use at most."""
    gpus: list[int] = []
    """Ids of the GPUs that belong to this attempt alone; none means the CPU."""
    resident_mb: int = 256
    """More encoded data than this, in MiB, are streamed from ``cache/``."""
    cache_mb: int = 20_480
    """What the encoded rows in ``cache/`` may take together, in MiB."""
    lease_seconds: float = 15.0
    checkpoint_seconds: float = 30.0
    grace_seconds: float = 900.0
    """How long to train on without a server."""
    log_mb: int = 16
    memory_mb: int | None = None
    """How much memory the training may take; None: no limit."""
    is_held: bool = False
    """The kernel holds the training to that; the worker need not."""

    @property
    def key(self) -> AttemptKey:
        return self.task_id, self.attempt

    @property
    def artifact_dir(self) -> Path:
        """``<data_dir>/artifacts/<output_path>/<task_id>``."""
        return self.data_dir / "artifacts" / self.spec.artifact_folder / self.task_id

    @property
    def cache_dir(self) -> Path:
        """For what can be made again: encoded rows, compiled programs."""
        return self.data_dir / "cache"

    @property
    def log_path(self) -> Path:
        """``<data_dir>/logs/<task_id>/<attempt>.log``."""
        return self.data_dir / "logs" / self.task_id / f"{self.attempt}.log"

    @property
    def checkpoints_dir(self) -> Path:
        return self.data_dir / "checkpoints" / self.task_id
