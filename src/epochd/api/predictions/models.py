"""Which model a batch prediction uses: the folder that its name and version lead to.

A name is the id of a completed training, or the ``output_path`` of trainings; no part of it leads out of the artifact
store.
"""

import asyncio
from pathlib import Path

from epochd.api.service import Service
from epochd.artifact import files
from epochd.core.errors import NotFound
from epochd.core.jobs import TASK_ID, State, is_prediction
from epochd.core.text import shown
from epochd.store import jobs


async def find(service: Service, name: str, version: str | None) -> Path:
    """The folder of the model, whose name is the id of its training. Raises NotFound."""
    if not TASK_ID.fullmatch(name) or is_prediction(name):
        return await asyncio.to_thread(_in_store, service.settings.artifacts_dir, name, version)
    job = await jobs.get(service.db, name)
    if job.state is not State.COMPLETED or job.artifact is None:
        raise NotFound(f"task {name} has no model: it is {job.state}")
    folder = service.settings.data_dir / job.artifact
    if version not in (None, name) or not (folder / files.MANIFEST).is_file():
        raise NotFound(f"there is no model {name!r}" + (f" with the version {version!r:.200}" if version else ""))
    return folder


def _in_store(store: Path, name: str, version: str | None) -> Path:
    """The model in the folder ``name`` of the artifact store: the newest, or the one of this version."""
    parts = [part for part in name.split("/") if part]
    folder = store.joinpath(*parts)
    missing = NotFound(f"there is no model {shown(name)}: use the id of a completed training, or its output_path")
    if not parts or "\0" in name or any(part in (".", "..") or TASK_ID.fullmatch(part) for part in parts):
        raise missing
    try:
        chosen = (folder / files.LATEST).readlink().name if version in (None, files.LATEST) else str(version)
        found = folder / chosen
        if not TASK_ID.fullmatch(chosen) or not found.resolve().is_relative_to(store.resolve()):
            raise missing
        if (found / files.MANIFEST).is_file():
            return found
    except (OSError, RuntimeError, ValueError):
        raise missing from None
    raise NotFound(f"the model {shown(name)} has no version {shown(chosen)}")
