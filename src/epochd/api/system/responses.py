"""The shapes of what the API answers about the server itself."""

from typing import Literal

from pydantic import Field

from epochd.api.responses import Shape, Success


class Slots(Shape):
    total: int
    free: int


class DispatcherHealth(Shape):
    state: Literal["running", "dead"]
    error: str | None


class MemoryHealth(Shape):
    """How much a training may take, and what sees to it; null without EPOCHD_MEMORY_MB."""

    limit_mb: int | None
    mechanism: Literal["cgroup v2", "cgroup v1", "rlimit", "watch"] | None


class Health(Shape):
    success: bool
    status: Literal["ok", "degraded"]
    message: str
    version: str
    dispatcher: DispatcherHealth
    jobs: dict[str, int]
    slots: Slots
    memory: MemoryHealth
    streams: int = Field(description="How many streams are open.")


class RunningTask(Shape):
    """A task that runs by the database, and its process."""

    task_id: str
    attempt: int
    pid: int | None = Field(description="Its worker; null while it waits for one.")
    is_alive: bool | None
    memory: int | None = Field(description="Bytes that the worker and all that it started have for themselves.")
    lease_left: float | None = Field(description="Seconds; negative once the worker has been silent for too long.")
    idle: float | None = Field(description="Seconds without a finished step, when the worker last reported.")


class GpuUser(Shape):
    pid: int
    gpu: int
    memory: int | None = Field(description="Bytes; null where the driver does not tell.")


class FindingShape(Shape):
    code: Literal["running_without_process", "silent_worker", "process_without_job", "gpu_process_unknown"]
    message: str
    task_id: str | None
    attempt: int | None
    pid: int | None


class Reconciled(Success):
    message: str
    running: list[RunningTask]
    gpu_users: list[GpuUser] = Field(description="Processes that compute on this machine's GPUs.")
    findings: list[FindingShape]


class Repaired(Reconciled):
    repairs: list[str] = Field(description="What was done, in sentences.")
