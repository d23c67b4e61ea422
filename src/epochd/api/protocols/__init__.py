"""Protocols of other servers, as views of the same models: the Open Inference Protocol and MLflow's scoring."""

from epochd.api.protocols import mlflow_scoring, open_inference

health_router = open_inference.health_router
ROUTERS = open_inference.router, mlflow_scoring.router
