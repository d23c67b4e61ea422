"""Removing a task for good, with everything that belongs to it.

It is noted, then its row goes, and its files after it (``artifact.removal``), so a task that is listed is a whole
one. Whoever follows the task is told to connect again, and gets 404 then.
"""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from epochd.api.deps import Opened, Speaking
from epochd.api.messages import Text
from epochd.api.tasks.control import RESPONSES
from epochd.api.tasks.responses import Removed
from epochd.artifact import removal
from epochd.core.errors import IllegalMove, OutOfSpace
from epochd.store import jobs

router = APIRouter()

KeepModel = Annotated[bool, Query(description="Leave the model's folder, and what `latest` leads to, as it is.")]


@router.delete("/tasks/{task_id}", summary="Remove a finished training", responses=RESPONSES)
async def remove(task_id: str, service: Opened, speaker: Speaking, keep_model: KeepModel = False) -> Removed:
    """Delete a completed, failed or cancelled task: its row, events, checkpoints, logs and model."""
    async with service.removing:
        job = await jobs.get(service.db, task_id)
        jobs.check_removable(job)
        noted = await asyncio.to_thread(removal.write_note, service.settings, job, keep_model=keep_model)
        try:
            await jobs.remove(service.db, task_id)
        except (IllegalMove, OutOfSpace):  # the row is there still
            noted.unlink()
            raise
        service.feed.drop(job.id)
        await asyncio.to_thread(removal.complete, service.settings, noted)
    return Removed(task_id=job.id, message=speaker.say(Text.REMOVED), artifact=job.artifact if keep_model else None)
