"""Is the server well? One cheap answer for people, load balancers and service managers; no token needed."""

from fastapi import APIRouter, Response

from epochd import __version__
from epochd.api.deps import Opened
from epochd.api.service import Service
from epochd.api.system.responses import DispatcherHealth, Health, MemoryHealth, Slots
from epochd.store import jobs

router = APIRouter()


@router.get("/health", summary="Is the server well?", responses={503: {"model": Health}})
async def health(service: Opened, response: Response) -> Health:
    """200 while trainings can run, 503 when they cannot."""
    error = ailment(service)
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
        streams=len(service.feed),
    )


def ailment(service: Service) -> str | None:
    """Why no training can run at the moment, in one line: what a worker printed is not for everybody."""
    error: str | None = service.dispatcher.error or service.executor.health().get("error")
    return error.splitlines()[0] if error else None
