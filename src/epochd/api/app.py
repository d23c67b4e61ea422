"""The HTTP application: routes, middleware, and the lifespan that opens the service.

This process never imports a training framework; only workers do. Creating the app has no side effects: its lifespan
opens the database, the event bus and the dispatcher.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI
from starlette.middleware import Middleware

from epochd import __version__
from epochd.api import datasets, errors, system, tasks
from epochd.api.deps import authorise
from epochd.api.responses import ErrorShape
from epochd.api.security import DATASETS_PATH, BodyLimit, HostGuard, UnhandledErrors
from epochd.api.service import Service
from epochd.core.settings import Settings
from epochd.dispatch.workers.executor import Executor
from epochd.dispatch.workers.pool import LocalExecutor
from epochd.engines import registry

PREFIX = "/api/v1/epoch-training"
SYSTEM_PREFIX = "/api/v1/system"


def create_app(settings: Settings, *, executor: Executor | None = None, server_url: str | None = None) -> FastAPI:
    """The application for these settings.

    ``executor`` replaces the local worker processes; ``server_url`` is the URL at which workers reach this server.
    The service is at ``app.state.service``.
    """
    app = FastAPI(
        title="epochd",
        version=__version__,
        summary="Train, watch, pause and resume; keep a portable model.",
        lifespan=_lifespan,
        middleware=[Middleware(UnhandledErrors), Middleware(HostGuard, settings=settings), Middleware(BodyLimit)],
    )
    app.state.service = Service(
        settings,
        executor or LocalExecutor(settings, registry.preferred()),
        server_url or f"http://127.0.0.1:{settings.port}",
    )
    errors.install(app)
    app.include_router(system.health_router, tags=["server"])
    app.include_router(system.worker_router)
    authorised = APIRouter(dependencies=[Depends(authorise)], responses={401: {"model": ErrorShape}})
    authorised.include_router(tasks.router, prefix=PREFIX, tags=["epoch training"])
    authorised.include_router(datasets.router, prefix=DATASETS_PATH, tags=["datasets"])
    authorised.include_router(system.router, prefix=SYSTEM_PREFIX, tags=["server"])
    app.include_router(authorised)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    async with service.opened():
        yield
