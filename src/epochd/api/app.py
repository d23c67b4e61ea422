"""The HTTP application: its routes, what stands before them, and what is open while it runs.

No framework is imported in this process, now or later: workers do that. Building the app touches nothing
outside memory; its lifespan opens the database, the live feed and the dispatcher.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI
from starlette.middleware import Middleware

from epochd import __version__
from epochd.api import errors
from epochd.api.datasets import routes
from epochd.api.deps import authorise
from epochd.api.responses import ErrorShape
from epochd.api.security import DATASETS_PATH, BodyLimit, FaultNet, HostGuard
from epochd.api.service import Service
from epochd.api.system import health, worker_reports
from epochd.api.system import routes as system
from epochd.api.tasks import control, lineage, logs, queries, removal, resume, start, stream
from epochd.core.settings import Settings
from epochd.dispatch.workers.executor import Executor
from epochd.dispatch.workers.pool import LocalExecutor
from epochd.engines import registry

PREFIX = "/api/v1/epoch-training"
SYSTEM_PREFIX = "/api/v1/system"


def create_app(settings: Settings, *, executor: Executor | None = None, server_url: str | None = None) -> FastAPI:
    """The application for these settings.

    ``executor`` stands in for local worker processes; ``server_url`` is where workers reach this server.
    The open parts are at ``app.state.service`` (a ``Service``).
    """
    app = FastAPI(
        title="epochd",
        version=__version__,
        summary="Train, watch, pause and resume; keep a portable model.",
        lifespan=_lifespan,
        middleware=[Middleware(FaultNet), Middleware(HostGuard, settings=settings), Middleware(BodyLimit)],
    )
    app.state.service = Service(
        settings,
        executor or LocalExecutor(settings, registry.preferred()),
        server_url or f"http://127.0.0.1:{settings.port}",
    )
    errors.install(app)
    app.include_router(health.router, tags=["server"])
    app.include_router(worker_reports.router)
    app.include_router(_public())
    return app


def _public() -> APIRouter:
    """The routes that a token opens."""
    router = APIRouter(dependencies=[Depends(authorise)], responses={401: {"model": ErrorShape}})
    for room in (start, queries, stream, control, resume, lineage, logs, removal):
        router.include_router(room.router, prefix=PREFIX, tags=["epoch training"])
    router.include_router(routes.router, prefix=DATASETS_PATH, tags=["datasets"])
    router.include_router(system.router, prefix=SYSTEM_PREFIX, tags=["server"])
    return router


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    async with service.opened():
        yield
