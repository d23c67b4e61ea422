"""The HTTP application: routes, middleware, and the service that its lifespan opens.

This process never imports a training framework; only workers do.
"""

from functools import partial

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware

from epochd import __version__
from epochd.api import dashboard, errors, leader, models, openapi, protocols, tasks
from epochd.api.datasets import routes as datasets
from epochd.api.language import RequestLanguage
from epochd.api.models.fast import FastPrediction
from epochd.api.predictions import routes as predictions
from epochd.api.security import BodyLimit, HostGuard, RootPath, UnhandledErrors
from epochd.api.service import Service
from epochd.api.system import agents, session, worker_files
from epochd.api.system import routes as system
from epochd.api.system.worker_reports import WorkerDoor, worker_router
from epochd.core.settings import Settings
from epochd.dispatch.workers.executor import Executor
from epochd.dispatch.workers.pool import LocalExecutor
from epochd.engines import registry
from epochd.engines.speeds import Speeds

ROUTERS = [
    system.health_router,
    protocols.health_router,
    session.router,
    worker_router,
    worker_files.router,
    agents.poll_router,
    *tasks.ROUTERS,
    predictions.router,
    datasets.router,
    *models.ROUTERS,
    *protocols.ROUTERS,
    system.router,
    agents.router,
]
"""Paths are searched in this order."""


def create_app(settings: Settings, *, executor: Executor | None = None, server_url: str | None = None) -> FastAPI:
    """The application for these settings, not started; its service is ``app.state.service``.

    ``executor`` replaces the local worker processes; ``server_url`` is the URL of this server for its own machine.
    """
    speeds = Speeds(settings.speeds_dir)

    def make_executor() -> Executor:
        return executor or LocalExecutor(settings, registry.preferred(), others=speeds.recent_engines())

    service = Service(settings, make_executor, server_url or f"http://127.0.0.1:{settings.port}", speeds)
    app = FastAPIOffline(
        title="epochd",
        version=__version__,
        summary="Train, watch, pause and resume; keep a portable model.",
        lifespan=lambda _: service.opened(),
        middleware=[
            Middleware(RootPath, prefix=settings.root_path),
            Middleware(RequestLanguage, default=settings.language),
            Middleware(UnhandledErrors),
            Middleware(HostGuard, settings=settings),
            Middleware(FastPrediction),
            Middleware(WorkerDoor),
            Middleware(BodyLimit),
        ],
    )
    app.state.service = service
    app.openapi = partial(openapi.describe, app)  # type: ignore[method-assign]
    errors.install(app)
    leader.install(app)
    for router in ROUTERS:
        app.router.routes.extend(router.routes)
    dashboard.install(app, settings)
    return app
