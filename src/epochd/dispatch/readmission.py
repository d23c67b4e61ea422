"""Requeues jobs that a full disk has blocked, once enough space is free."""

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

CHECK_SECONDS = 10.0
MARGIN = 1.1
"""The free space has to exceed what a job needs by this factor, or the job could be blocked again at once."""
MAX_WAIT_SECONDS = 3600.0
RESET_SECONDS = 600.0
"""A job that was not blocked again for this long starts with the shortest wait the next time."""


@dataclass(slots=True)
class Readmitted:
    """When a job was requeued (monotonic), and the wait before the next time if it is blocked again."""

    at: float
    wait: float


class Readmission:
    """Requeues blocked jobs. The wait doubles for a job that is blocked again, for example by a quota."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._data_dir = settings.data_dir
        self._last: dict[str, Readmitted] = {}

    async def check(self) -> None:
        """Requeue the blocked jobs that fit on the disk, in the order in which they were queued."""
        blocked = await jobs.blocked(self._db, OutOfSpace.code)
        if not blocked:
            return
        free = shutil.disk_usage(self._data_dir).free
        for job in blocked:
            needed = (job.error and job.error.needed_bytes) or 0
            if MARGIN * needed <= free and self._is_due(job.id):
                free -= needed
                await self._requeue(job, free + needed, needed)

    def _is_due(self, task_id: str) -> bool:
        last, now = self._last.get(task_id), time.monotonic()
        if last is None or now - last.at > RESET_SECONDS + last.wait:
            self._last[task_id] = Readmitted(now, CHECK_SECONDS)
            return True
        if now - last.at < last.wait:
            return False
        self._last[task_id] = Readmitted(now, min(2 * last.wait, MAX_WAIT_SECONDS))
        return True

    async def _requeue(self, job: Job, free: int, needed: int) -> None:
        message = (
            f"{free / 2**20:,.0f} MiB are free on the disk and {needed / 2**20:,.0f} MiB are needed: "
            "the training continues"
        )
        if await jobs.unblock(self._db, job.id, OutOfSpace.code, message):
            logger.info("task %s: %s", job.id, message)
