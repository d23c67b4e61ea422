"""The responses about the server itself."""

from typing import Literal

from pydantic import ConfigDict, Field

from epochd.api.language import Told
from epochd.api.responses import Moment, Shape, Success


class Slots(Shape):
    total: int
    free: int


class DispatcherHealth(Shape):
    state: Literal["running", "dead"]
    error: Told | None


class MemoryHealth(Shape):
    """The memory limit of a training, and how it is enforced; null without EPOCHD_MEMORY_MB."""

    limit_mb: int | None
    mechanism: Literal["cgroup v2", "cgroup v1", "rlimit", "watch"] | None


class ServersHealth(Shape):
    """The part of this server among those that share its database (EPOCHD_SHARED)."""

    id: str
    role: Literal["leader", "standby"] = Field(description="The leader dispatches, a standby can take over.")
    term: int | None = Field(description="The newest term of a leader, counted from 1; null before the first one.")
    leader_url: str | None = Field(description="Where the other servers reach the leader; null if there is none.")
    lease_left: float | None = Field(description="Seconds until the leader is replaced unless it renews its lease.")


class Health(Shape):
    success: bool
    status: Literal["ok", "degraded"]
    message: Told
    version: str
    dispatcher: DispatcherHealth = Field(description="Of the leader, where several servers share the database.")
    servers: ServersHealth | None = Field(description="Null unless several servers share the database.")
    jobs: dict[str, int] = Field(description="The number of tasks in each state; empty without a database.")
    slots: Slots
    memory: MemoryHealth
    streams: int = Field(description="The number of open streams.")
    frameworks: list[str] = Field(description="The frameworks that are installed.")


class LoginBody(Shape):
    """What a browser logs in with."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(min_length=1, description="One of EPOCHD_TOKENS, or that of a user of EPOCHD_USERS.")


class SessionState(Success):
    """Whether a browser may use the API, and what its requests need."""

    token_required: bool = Field(description="Whether the API requires a token, or the cookie of a session.")
    logged_in: bool = Field(description="Whether the request had the cookie of a valid session.")
    user: str | None = Field(description="The name of the user; null without a session, or for a user without a name.")
    csrf_token: str | None = Field(
        description="What requests with the cookie that are neither GET nor HEAD send as `X-CSRF-Token`."
    )
    expires_at: Moment | None


class RunningTask(Shape):
    """A task that is running according to the database, and its process."""

    task_id: str
    attempt: int
    pid: int | None = Field(description="The process id of its worker; null until it has one.")
    is_alive: bool | None
    memory: int | None = Field(description="Private memory of the worker and its child processes, in bytes.")
    lease_left: float | None = Field(description="Seconds until the lease expires; negative once it has expired.")
    idle: float | None = Field(description="Seconds since the last finished step, as of the worker's last report.")


class GpuUser(Shape):
    pid: int
    gpu: int
    memory: int | None = Field(description="Bytes; null if the driver does not report it.")


class FindingShape(Shape):
    code: Literal[
        "running_without_process", "silent_worker", "process_without_job", "gpu_process_unknown", "ray_job_without_task"
    ]
    message: Told
    task_id: str | None
    attempt: int | None
    pid: int | None
    ray_job: str | None = None


class Reconciled(Success):
    message: Told
    running: list[RunningTask]
    gpu_users: list[GpuUser] = Field(description="Processes that use this machine's GPUs.")
    findings: list[FindingShape]


class QueueLine(Shape):
    """A task that waits."""

    position: int = Field(description="1 is the next task.")
    task_id: str
    kind: Literal["training", "prediction"]
    name: str
    dataset: str | None
    priority: int
    owner: str | None
    queued_at: Moment
    expected_start: Moment | None
    waiting_for: Told | None


class Queue(Success):
    queue: list[QueueLine]
    total: int = Field(description="The number of tasks that wait.")
    limit: int
    offset: int


class CpuShape(Shape):
    name: str
    logical: int = Field(description="Logical processors of the machine.")
    usable: int = Field(description="Those that the server may run on.")
    load: float | None = Field(description="The load average of the last minute.")


class MemoryShape(Shape):
    """Bytes."""

    total: int
    available: int
    limit: int = Field(description="Of server and all trainings; less than the total in a container.")


class GpuShape(Shape):
    """Memory is in bytes, null if the driver does not report it."""

    id: int
    name: str
    memory: int | None
    memory_used: int | None
    trains: bool = Field(description="Whether the server allocates it to trainings (EPOCHD_GPUS).")
    is_allocated: bool = Field(description="Whether a training has it now.")


class UsageShape(Shape):
    part: Literal["models", "checkpoints", "datasets", "predictions", "logs", "cache", "database"]
    bytes: int = Field(description="What it occupies on the disk.")
    files: int
    is_complete: bool = Field(description="False: there is more, but measuring it would take too long.")


class DiskShape(Shape):
    """The disk of the data folder, in bytes."""

    folder: str
    total: int
    free: int
    usage: list[UsageShape]


class MachineOf(Success):
    cpu: CpuShape
    memory: MemoryShape
    gpus: list[GpuShape]
    disk: DiskShape | None = Field(description="Null if the data folder is gone.")
    versions: dict[str, str | None] = Field(description="Software → version; null if it is not installed.")
    measured_at: Moment = Field(description="At most some 30 seconds ago.")


class Repaired(Reconciled):
    repairs: list[Told] = Field(description="The repairs that were made, in sentences.")


class AgentShape(Shape):
    """An agent that has joined, or a node of the Ray cluster."""

    name: str
    state: Literal["connected", "draining", "lost"] = Field(
        description="`connected`, `draining`, or `lost` after a lease without a word."
    )
    hostname: str
    version: str
    slots: int
    free_slots: int
    cpus: int
    memory: int = Field(description="Bytes.")
    gpus: list[int]
    frameworks: list[str]
    tasks: list[str] = Field(description="The tasks that it runs, or is about to run.")
    error: Told | None = Field(description="Why it can run nothing at present.")
    joined_at: Moment
    seen_at: Moment


class Agents(Shape):
    success: bool = True
    agents: list[AgentShape]
    ray_error: Told | None = Field(None, description="Why the Ray cluster cannot be used at present.")


class Drained(Success):
    message: Told
    tasks: list[str] = Field(description="The tasks that save a checkpoint and go on elsewhere.")
