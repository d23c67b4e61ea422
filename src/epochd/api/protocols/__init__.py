"""Protocols of other servers, as views of the same models: the Open Inference Protocol and MLflow's scoring."""

from fastapi import APIRouter

from epochd.api.protocols import mlflow_scoring, open_inference

health_router = open_inference.health_router
router = APIRouter()
router.include_router(open_inference.router, prefix=open_inference.PREFIX)
router.include_router(mlflow_scoring.router, prefix=mlflow_scoring.PREFIX)
