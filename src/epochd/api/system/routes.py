"""The health check, and for operators the queue, the machine, and the comparison of running tasks with processes."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from epochd import __version__
from epochd.api.deps import AUTHORISED, KNOWN_PARAMETERS, ServiceDep
from epochd.api.leader import AT_LEADER
from epochd.api.service import Service
from epochd.api.system.responses import (
    DispatcherHealth,
    GpuShape,
    Health,
    MachineOf,
    MemoryHealth,
    Queue,
    QueueLine,
    Reconciled,
    Repaired,
    ServersHealth,
    Slots,
)
from epochd.core.errors import Busy
from epochd.core.jobs import State
from epochd.dispatch.queue import BEYOND
from epochd.dispatch.reconcile import Snapshot
from epochd.engines import registry
from epochd.store import jobs

health_router = APIRouter(tags=["server"], dependencies=KNOWN_PARAMETERS)
"""Needs no token, so that load balancers and service managers can call it."""

router = APIRouter(prefix="/api/v1/system", tags=["server"], dependencies=AUTHORISED)

ANSWER_SECONDS = 5.0
"""How long the health check waits for the database."""


@health_router.get(
    "/health", operation_id="get_health", summary="Check the server's health", responses={503: {"model": Health}}
)
async def health(service: ServiceDep, response: Response) -> Health:
    """200 if trainings can run, otherwise 503."""
    failure, executor = _failure(service), service.executor.health()
    counts, database_error = await _counted(service)
    missing = None if service.engines else registry.none_installed()
    outage: str | None = database_error or failure or missing or executor.get("error")
    error = outage.splitlines()[0] if outage else None  # only the first line: a worker's output is not public
    if error is not None:
        response.status_code = 503
    return Health(
        success=error is None,
        status="ok" if error is None else "degraded",
        message=error or "trainings can run",
        version=__version__,
        dispatcher=DispatcherHealth(state="running" if failure is None else "dead", error=failure),
        jobs={state.value: number for state, number in counts.items()},
        servers=_servers(service),
        slots=_slots(service),
        memory=MemoryHealth(limit_mb=service.settings.memory_mb, mechanism=executor.get("memory")),
        streams=len(service.event_bus),
        frameworks=service.engines,
    )


def _failure(service: Service) -> str | None:
    """Why the server that dispatches, this one or another, cannot, or why this one does not know about the others."""
    if service.membership is None:
        return service.dispatcher.error
    leadership = service.membership.leadership
    if (lost := service.membership.listener.error or leadership.error) is not None:
        return lost
    if service.is_leader:
        return service.dispatcher.error
    if not leadership.is_led:
        return "no server dispatches: none has become the leader yet"
    return None if service.leader is None else service.leader.about.get("error")


def _slots(service: Service) -> Slots:
    """Those of the server that dispatches."""
    if service.leader is None:
        nodes = service.dispatcher.nodes
        return Slots(total=nodes.slots, free=nodes.free_slots if service.is_leader else 0)
    about = service.leader.about
    return Slots(total=about.get("slots", 0), free=about.get("free_slots", 0))


def _servers(service: Service) -> ServersHealth | None:
    if service.membership is None:
        return None
    leadership = service.membership.leadership
    leader, age = leadership.leader, leadership.age
    return ServersHealth(
        id=service.db.server or "",
        role="leader" if service.is_leader else "standby",
        term=leader and leader.term,
        leader_url=leader.url if leader and leadership.is_led else None,
        lease_left=None if age is None else round(service.settings.lease_seconds - age, 3),
    )


async def _counted(service: Service) -> tuple[dict[State, int], str | None]:
    """The number of jobs in each state, none if the database does not answer, and what is wrong with the storage."""
    error, counting = service.outage, service.count_jobs()
    await asyncio.wait({counting}, timeout=ANSWER_SECONDS)  # without cancelling it, which can take long as well
    if not counting.done():
        return {}, f"the database is not available: it did not answer for {ANSWER_SECONDS:g} s"
    try:
        return counting.result(), None if error is None else error.message
    except Busy as busy:
        return {}, busy.message


@router.get(
    "/reconcile",
    operation_id="compare_processes",
    summary="Compare running tasks with processes",
    dependencies=[AT_LEADER],
)
async def reconcile(service: ServiceDep) -> Reconciled:
    """The running tasks of the database, the machine's processes and GPUs, and the differences. Changes nothing."""
    return Reconciled(**_fields(await service.dispatcher.reconciler.compare()))


@router.post(
    "/reconcile",
    operation_id="repair_processes",
    summary="Repair what the comparison finds",
    dependencies=[AT_LEADER],
)
async def repair(service: ServiceDep) -> Repaired:
    """Requeue the tasks of lost or silent workers, which continue from their checkpoints, and end processes without a
    task. Only findings of two comparisons within a second are repaired. `findings` is the state before the repair.
    """
    snapshot, repairs = await service.dispatcher.reconciler.repair()
    return Repaired(repairs=repairs, **_fields(snapshot))


@router.get("/queue", operation_id="get_queue", summary="List the tasks that wait")
async def queue(
    service: ServiceDep,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> Queue:
    """Pending trainings and batch predictions with their positions, the next one first."""
    found, total = await jobs.waiting(service.db, limit=limit, offset=offset)
    foreseen = await service.dispatcher.queue.foreseen()
    lines = [
        QueueLine(
            position=position,
            task_id=job.id,
            kind=job.kind.value,
            name=job.spec.name,
            dataset=job.spec.dataset,
            priority=job.priority,
            owner=job.owner,
            queued_at=job.queued_at,
            expected_start=foreseen.get(job.id, BEYOND)[0],
            waiting_for=foreseen.get(job.id, BEYOND)[1],
        )
        for position, job in enumerate(found, start=offset + 1)
    ]
    return Queue(queue=lines, total=total, limit=limit, offset=offset)


@router.get(
    "/machine", operation_id="get_machine", summary="Measure the machine of the server", dependencies=[AT_LEADER]
)
async def measured(service: ServiceDep) -> MachineOf:
    """Processors, memory, GPUs, the disk with what uses it, and versions of the software. Answers for about 30 seconds
    with the same measurement."""
    found, measured_at = await service.machine()
    pool = service.dispatcher.gpus
    devices = [
        GpuShape(**asdict(gpu), trains=gpu.id in pool.owned, is_allocated=gpu.id in {*pool.owned} - {*pool.free})
        for gpu in found.gpus
    ]
    return MachineOf(**asdict(found) | {"gpus": devices}, measured_at=measured_at)


def _fields(snapshot: Snapshot) -> dict[str, Any]:
    number = len(snapshot.findings)
    summaries = {0: "the database and the system agree", 1: "there is 1 finding"}
    return {"message": summaries.get(number, f"there are {number} findings"), **asdict(snapshot)}
