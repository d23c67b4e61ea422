"""The health check, and for operators the comparison of the tasks in the database with the processes of the machine."""

from dataclasses import asdict

from fastapi import APIRouter, Response

from epochd import __version__
from epochd.api.deps import ServiceDep
from epochd.api.service import Service
from epochd.api.system.responses import (
    DispatcherHealth,
    FindingShape,
    GpuUser,
    Health,
    MemoryHealth,
    Reconciled,
    Repaired,
    RunningTask,
    Slots,
)
from epochd.dispatch.reconcile import Snapshot
from epochd.store import jobs

health_router = APIRouter()
"""Needs no token, so that load balancers and service managers can call it."""

router = APIRouter()


@health_router.get("/health", summary="Check the server's health", responses={503: {"model": Health}})
async def health(service: ServiceDep, response: Response) -> Health:
    """200 if trainings can run, otherwise 503."""
    error = _outage(service)
    if error is not None:
        response.status_code = 503
    counts = await jobs.counts(service.db)
    return Health(
        success=error is None,
        status="ok" if error is None else "degraded",
        message=error or "trainings can run",
        version=__version__,
        dispatcher=DispatcherHealth(
            state="running" if service.dispatcher.error is None else "dead", error=service.dispatcher.error
        ),
        jobs={state.value: number for state, number in counts.items()},
        slots=Slots(total=service.settings.slots, free=service.executor.free_slots),
        memory=MemoryHealth(limit_mb=service.settings.memory_mb, mechanism=service.executor.health().get("memory")),
        streams=len(service.event_bus),
    )


def _outage(service: Service) -> str | None:
    """Why no training can run now, None if they can. Only the first line: a worker's output is not public."""
    error: str | None = service.dispatcher.error or service.executor.health().get("error")
    return error.splitlines()[0] if error else None


@router.get("/reconcile", summary="Compare running tasks with processes")
async def reconcile(service: ServiceDep) -> Reconciled:
    """The running tasks of the database, the machine's processes and GPUs, and the differences. Changes nothing."""
    snapshot = await service.dispatcher.reconciler.compare()
    return Reconciled(message=_summary(snapshot), **_details(snapshot))


@router.post("/reconcile", summary="Repair what the comparison finds")
async def repair(service: ServiceDep) -> Repaired:
    """Requeue the tasks of lost or silent workers, which continue from their checkpoints, and end processes without a
    task. Only findings of two comparisons within a second are repaired. `findings` is the state before the repair.
    """
    snapshot, repairs = await service.dispatcher.reconciler.repair()
    return Repaired(message=_summary(snapshot), repairs=repairs, **_details(snapshot))


def _summary(snapshot: Snapshot) -> str:
    match len(snapshot.findings):
        case 0:
            return "the database and the system agree"
        case 1:
            return "there is 1 finding"
        case number:
            return f"there are {number} findings"


def _details(snapshot: Snapshot) -> dict[str, list[object]]:
    return {
        "running": [RunningTask(**asdict(task)) for task in snapshot.running],
        "gpu_users": [GpuUser(**asdict(user)) for user in snapshot.gpu_users],
        "findings": [FindingShape(**asdict(finding)) for finding in snapshot.findings],
    }
