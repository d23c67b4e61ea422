"""The HTTP application: routes, middleware, and the service that its lifespan opens.

This process never imports a training framework; only workers do.
"""

from functools import partial

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware

from epochd import __version__
from epochd.api import dashboard, errors, models, openapi, protocols, tasks
from epochd.api.datasets import routes as datasets
from epochd.api.deps import authorise, known_parameters
from epochd.api.language import RequestLanguage
from epochd.api.models.fast import FastPrediction
from epochd.api.predictions import routes as predictions
from epochd.api.security import DATASETS_PATH, MODELS_PATH, BodyLimit, HostGuard, RootPath, UnhandledErrors
from epochd.api.service import Service
from epochd.api.system import routes as system
from epochd.api.system import session
from epochd.api.system.worker_reports import WorkerDoor, worker_router
from epochd.core.settings import Settings
from epochd.dispatch.workers.executor import Executor
from epochd.dispatch.workers.pool import LocalExecutor
from epochd.engines import registry
from epochd.engines.speeds import Speeds

PREFIX = "/api/v1/epoch-training"


def create_app(settings: Settings, *, executor: Executor | None = None, server_url: str | None = None) -> FastAPI:
    """The application for these settings, not started; its service is ``app.state.service``.

    ``executor`` replaces the local worker processes; ``server_url`` is the URL at which workers reach this server.
    """
    speeds = Speeds(settings.speeds_dir)
    executor = executor or LocalExecutor(settings, registry.preferred(), others=speeds.recent_engines())
    service = Service(settings, executor, server_url or f"http://127.0.0.1:{settings.port}", speeds)
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
    known = [Depends(known_parameters)]
    app.include_router(system.health_router, dependencies=known, tags=["server"])
    app.include_router(protocols.health_router, tags=["protocols"])
    app.include_router(session.router, prefix="/api/v1/session", dependencies=known, tags=["session"])
    app.include_router(worker_router)
    routers = [
        ("epoch training", PREFIX, tasks.router),
        ("predictions", "/api/v1/predictions", predictions.router),
        ("datasets", DATASETS_PATH, datasets.router),
        *(("models", MODELS_PATH, router) for router in models.ROUTERS),
        *(("protocols", prefix, router) for prefix, router in protocols.ROUTERS.items()),
        ("server", "/api/v1/system", system.router),
    ]
    # Not in a router of their own: FastAPI would analyse each route once more.
    for tag, prefix, router in routers:
        app.include_router(router, prefix=prefix, dependencies=[Depends(authorise), *known], tags=[tag])
    dashboard.install(app, settings)
    return app
