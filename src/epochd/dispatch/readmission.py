"""Requeues jobs that a full disk has blocked, once enough space is free; and those that an object store has blocked,
which try it again."""

import logging
import math
import shutil
import time

from epochd.core.errors import OutOfSpace, StorageUnavailable
from epochd.core.settings import Settings
from epochd.store import jobs
from epochd.store.db import Database

logger = logging.getLogger(__name__)

CHECK_SECONDS = 10.0
MARGIN = 1.1  # the free space has to exceed the need by this factor, or the job could be blocked again at once
MAX_WAIT_SECONDS = 3600.0
RESET_SECONDS = 600.0  # a job that was not blocked again for this long starts with the shortest wait the next time


class Readmission:
    """Requeues blocked jobs. The wait doubles for a job that is blocked again, for example by a quota."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._data_dir = settings.data_dir
        self._has_storage = settings.storage is not None
        self._last: dict[str, tuple[float, float]] = {}  # when it was requeued (monotonic), and the next wait

    async def check(self) -> None:
        """Requeue the blocked jobs that fit on the disk, in the order in which they were queued; and those for which it
        is time to try the object store again."""
        if self._has_storage:
            for job in await jobs.blocked(self._db, StorageUnavailable.code):
                if self._is_due(job.id):
                    message = "the object store is tried again"
                    await self._requeue(job.id, StorageUnavailable.code, message)
        blocked = await jobs.blocked(self._db, OutOfSpace.code)
        if not blocked:
            return
        free = shutil.disk_usage(self._data_dir).free
        for job in blocked:
            needed = (job.error and job.error.needed_bytes) or 0
            if MARGIN * needed <= free and self._is_due(job.id):
                sizes = f"{free / 2**20:,.0f} MiB are free on the disk and {needed / 2**20:,.0f} MiB are needed"
                free -= needed
                message = f"{sizes}: the training continues"
                await self._requeue(job.id, OutOfSpace.code, message)

    async def _requeue(self, task_id: str, code: str, message: str) -> None:
        if await jobs.unblock(self._db, task_id, code, message):
            logger.info("task %s: %s", task_id, message)

    def _is_due(self, task_id: str) -> bool:
        now = time.monotonic()
        at, wait = self._last.get(task_id, (-math.inf, 0.0))
        if now - at < wait:
            return False
        is_reset = now - at > RESET_SECONDS + wait
        self._last[task_id] = now, CHECK_SECONDS if is_reset else min(2 * wait, MAX_WAIT_SECONDS)
        return True
