"""Do the database and the machine agree on what is running? For operators; most of it mends itself in time."""

from dataclasses import asdict

from fastapi import APIRouter

from epochd.api.deps import Opened
from epochd.api.system.responses import FindingShape, GpuUser, Reconciled, Repaired, RunningTask
from epochd.dispatch.reconcile import Snapshot

router = APIRouter()


@router.get("/reconcile", summary="Compare the tasks that run with the processes that do")
async def reconcile(service: Opened) -> Reconciled:
    """What runs by the database, what processes and GPUs say, and where they disagree. Changes nothing."""
    picture = await service.dispatcher.reconciler.compare()
    return Reconciled(message=_summed_up(picture), **_shown(picture))


@router.post("/reconcile", summary="Mend what the comparison finds")
async def repair(service: Opened) -> Repaired:
    """Take tasks from lost or silent workers, so that they go on from their checkpoints, and end processes without
    a task. Only what two looks within a second agree on is touched. `findings` is what was found before.
    """
    picture, done = await service.dispatcher.reconciler.repair()
    return Repaired(message=_summed_up(picture), repairs=done, **_shown(picture))


def _summed_up(picture: Snapshot) -> str:
    match len(picture.findings):
        case 0:
            return "the database and the system agree"
        case 1:
            return "there is 1 finding"
        case number:
            return f"there are {number} findings"


def _shown(picture: Snapshot) -> dict[str, list[object]]:
    return {
        "running": [RunningTask(**asdict(task)) for task in picture.running],
        "gpu_users": [GpuUser(**asdict(user)) for user in picture.gpu_users],
        "findings": [FindingShape(**asdict(finding)) for finding in picture.findings],
    }
