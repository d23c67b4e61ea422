"""The agents: their polls, and for operators the list of them and the drain of one."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from epochd.api.deps import AUTHORISED, ServiceDep
from epochd.api.leader import AT_LEADER
from epochd.api.responses import ErrorShape
from epochd.api.security import WORKERS_PATH
from epochd.api.system.responses import Agents, AgentShape, Drained
from epochd.core.agents import AGENT_NAME, AgentState
from epochd.dispatch.workers.remote import RemoteExecutor

poll_router = APIRouter(prefix=f"{WORKERS_PATH}agents", include_in_schema=False)
router = APIRouter(prefix="/api/v1/system/agents", tags=["server"], dependencies=AUTHORISED)

AgentName = Annotated[str, Path(pattern=f"^{AGENT_NAME.pattern}$", description="The name of an agent.")]
NodeName = Annotated[
    str, Path(pattern=f"^(ray:)?{AGENT_NAME.pattern}$", description="The name of an agent or of a Ray node.")
]


@poll_router.post("/{name}/poll", dependencies=[AT_LEADER])
async def poll(name: AgentName, request: Request, service: ServiceDep) -> Response:
    """Take the state of an agent, and answer with its orders, as ``core.agents.AgentOrders``."""
    try:
        state = AgentState.model_validate_json(await request.body())
    except ValidationError as error:
        errors = [{**entry, "loc": ("body", *entry["loc"])} for entry in error.errors(include_url=False)]
        raise RequestValidationError(errors) from None
    orders = await service.dispatcher.poll_agent(name, state)
    return Response(orders.model_dump_json(), media_type="application/json")


@router.get("", operation_id="list_agents", summary="List the agents", dependencies=[AT_LEADER])
async def list_agents(service: ServiceDep) -> Agents:
    """The machines that run trainings besides that of the server, by name."""
    found, ray = service.dispatcher.nodes.remote, service.dispatcher.ray
    shapes = [_shape(agent, agent.state) for agent in found if agent.state is not None]
    return Agents(agents=shapes, ray_error=None if ray is None else ray.error)


@router.post(
    "/{name}/drain",
    operation_id="drain_agent",
    summary="Drain an agent",
    dependencies=[AT_LEADER],
    responses={404: {"model": ErrorShape, "description": "No such agent"}},
)
async def drain(name: NodeName, service: ServiceDep) -> Drained:
    """Give an agent nothing more to run. What it runs saves a checkpoint and continues elsewhere, exactly; then the
    agent ends."""
    tasks = await service.dispatcher.drain_agent(name)
    return Drained(message=f"agent {name} takes no more tasks and ends once it has none", tasks=tasks)


def _shape(agent: RemoteExecutor, state: AgentState) -> AgentShape:
    status = "draining" if agent.is_draining else "connected"
    return AgentShape(
        name=agent.name,
        state=status if agent.is_connected else "lost",
        hostname=state.hostname,
        version=state.version,
        slots=state.slots,
        free_slots=agent.free_slots,
        cpus=state.cpus,
        memory=state.memory,
        gpus=state.gpus,
        frameworks=state.frameworks,
        tasks=sorted({task_id for task_id, _ in agent.attempts}),
        error=state.error.splitlines()[0] if state.error else None,
        joined_at=agent.joined_at,
        seen_at=agent.seen_at,
    )
