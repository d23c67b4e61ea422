"""The routes about trainings."""

from epochd.api.tasks import control, curves, lineage, live, logs, queries, replay, report, resume, start, stream

MODULES = start, queries, curves, stream, live, control, resume, lineage, replay, logs, report
ROUTERS = [module.router for module in MODULES]
