"""What an agent and its server tell each other.

An agent runs attempts on another machine. It sends its ``AgentState`` in long polls, and the server answers each with
``AgentOrders``. Both are whole: whatever is lost on the way is told again in the next poll, and telling it twice does
no harm.
"""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from epochd.core.jobs import AttemptKey
from epochd.core.tickets import AnyTicket

AGENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""The name of an agent, by default that of its machine."""


class AgentExit(BaseModel):
    """The end of an attempt on an agent, as ``dispatch.workers.executor.Exit``. ``error`` is set if it could not be
    launched; ``limit`` and ``peak`` (bytes) if it was killed for its memory."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    key: AttemptKey
    returncode: int = 0
    log_tail: list[str] = []
    limit: int | None = None
    peak: int | None = None
    error: str | None = None


class AgentState(BaseModel):
    """What an agent is and does at this moment."""

    model_config = ConfigDict(defer_build=True)

    session: Annotated[str, Field(min_length=8, max_length=64)]
    """Random for each start of the agent, which then knows nothing of attempts that it had before."""
    version: Annotated[str, Field(max_length=50)]
    hostname: Annotated[str, Field(max_length=255)] = ""
    cpus: int = 1
    memory: int = 0
    """Bytes that its trainings may take together."""
    slots: Annotated[int, Field(ge=1, le=1024)]
    gpus: list[int] = []
    """The ids of its GPUs for trainings."""
    frameworks: list[str] = []
    """Engines whose framework is installed."""
    warm: list[str] = []
    """Those that a process has imported."""
    held: list[AttemptKey] = []
    """Attempts that it has received and whose end it has not reported."""
    held_gpus: list[list[int]] = []
    """The GPUs of each of them."""
    launched: list[AttemptKey] = []
    """Those of them that a worker has."""
    exits: list[AgentExit] = []
    """Ends that the server has not acknowledged."""
    is_draining: bool = False
    """Whether it takes no more attempts, and leaves once it has none."""
    is_leaving: bool = False
    """Whether this is its last message."""
    error: Annotated[str, Field(max_length=4000)] | None = None
    """Why it can launch nothing at present."""
    wait: Annotated[float, Field(ge=0, le=60)] = 0.0
    """How long the server may wait for orders before it answers, in seconds."""


class AgentOrders(BaseModel):
    """What an agent has to do now."""

    model_config = ConfigDict(defer_build=True)

    tickets: list[AnyTicket] = []
    """Attempts to launch, unless it has them."""
    kill: list[AttemptKey] = []
    acknowledged: list[AttemptKey] = []
    """Attempts whose end the server knows."""
    drain: bool = False
    now: float = 0.0
    """The server's clock, in seconds since the Unix epoch."""
    lease_seconds: float = 15.0
    """How long the server may hear nothing of an agent before it counts as lost."""
