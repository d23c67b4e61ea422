"""The HTTP application: routes, middleware, and the service that its lifespan opens.

This process never imports a training framework; only workers do.
"""

from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from starlette.middleware import Middleware

from epochd import __version__
from epochd.api import errors, tasks
from epochd.api.datasets import routes as datasets
from epochd.api.deps import authorise
from epochd.api.responses import ErrorShape
from epochd.api.security import DATASETS_PATH, BodyLimit, HostGuard, UnhandledErrors
from epochd.api.service import Service
from epochd.api.system import routes as system
from epochd.api.system.worker_reports import worker_router
from epochd.core.settings import Settings
from epochd.dispatch.workers.executor import Executor
from epochd.dispatch.workers.pool import LocalExecutor
from epochd.engines import registry

PREFIX = "/api/v1/epoch-training"


def create_app(settings: Settings, *, executor: Executor | None = None, server_url: str | None = None) -> FastAPI:
    """The application for these settings, not started; its service is ``app.state.service``.

    ``executor`` replaces the local worker processes; ``server_url`` is the URL at which workers reach this server.
    """
    service = Service(
        settings,
        executor or LocalExecutor(settings, registry.preferred()),
        server_url or f"http://127.0.0.1:{settings.port}",
    )
    app = FastAPI(
        title="epochd",
        version=__version__,
        summary="Train, watch, pause and resume; keep a portable model.",
        lifespan=lambda _: service.opened(),
        middleware=[Middleware(UnhandledErrors), Middleware(HostGuard, settings=settings), Middleware(BodyLimit)],
    )
    app.state.service = service
    errors.install(app)
    app.include_router(system.health_router, tags=["server"])
    app.include_router(worker_router)
    of_all: dict[int | str, dict[str, Any]] = {401: {"model": ErrorShape}, 503: {"model": ErrorShape}}
    authorised = APIRouter(dependencies=[Depends(authorise)], responses=of_all)
    authorised.include_router(tasks.router, prefix=PREFIX, tags=["epoch training"])
    authorised.include_router(datasets.router, prefix=DATASETS_PATH, tags=["datasets"])
    authorised.include_router(system.router, prefix="/api/v1/system", tags=["server"])
    app.include_router(authorised)
    return app
