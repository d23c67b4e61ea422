"""The routes about the server itself: health, the comparison of tasks with processes, and the workers' reports."""

from epochd.api.system.routes import health_router, router
from epochd.api.system.worker_reports import worker_router

__all__ = ["health_router", "router", "worker_router"]
