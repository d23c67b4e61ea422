"""The routes about registered datasets."""

from epochd.api.datasets.routes import router

__all__ = ["router"]
