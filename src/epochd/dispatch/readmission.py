"""Jobs that were put aside because there was no room for them go on by themselves once there is room."""

import logging
import shutil
import time
from dataclasses import dataclass

from epochd.core.errors import OutOfSpace
from epochd.core.jobs import Job
from epochd.core.settings import Settings
from epochd.store import jobs
from epochd.store.db import Database

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
MARGIN = 1.1
"""So much more than a job needs has to be free, or it would be back at once."""
LONGEST_SECONDS = 3600.0
CALM_SECONDS = 600.0
"""A job that got on for so long after it was let in has found room."""


@dataclass(slots=True)
class Try:
    """When a job was let in again (monotonic), and how long it has to wait if that was in vain."""

    at: float
    wait: float


class Readmission:
    """Lets jobs in again. One that finds no room after all (a quota, say) is tried less and less often."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._data_dir = settings.data_dir
        self._tries: dict[str, Try] = {}

    async def look(self) -> None:
        """Put back in the queue what fits on the disk, the longest queued first."""
        waiting = await jobs.held(self._db, OutOfSpace.code)
        if not waiting:
            return
        free = shutil.disk_usage(self._data_dir).free
        for job in waiting:
            needed = _needed(job)
            if MARGIN * needed <= free and self._may(job.id):
                free -= needed
                await self._readmit(job, free + needed, needed)

    def _may(self, task_id: str) -> bool:
        last, now = self._tries.get(task_id), time.monotonic()
        if last is None or now - last.at > CALM_SECONDS + last.wait:
            self._tries[task_id] = Try(now, LOOK_SECONDS)
            return True
        if now - last.at < last.wait:
            return False
        self._tries[task_id] = Try(now, min(2 * last.wait, LONGEST_SECONDS))
        return True

    async def _readmit(self, job: Job, free: int, needed: int) -> None:
        message = (
            f"{free / 2**20:,.0f} MiB are free on the disk and {needed / 2**20:,.0f} MiB are needed: "
            "the training tries to go on"
        )
        if await jobs.readmit(self._db, job.id, OutOfSpace.code, message):
            logger.info("task %s: %s", job.id, message)


def _needed(job: Job) -> int:
    return int((job.error or {}).get("needed_bytes", 0))
