"""The executor for a node of a real Ray cluster, with the one route of the server that its workers need."""

import asyncio
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from epochd.core.errors import NotFound
from epochd.core.settings import Settings
from epochd.core.tickets import Claim
from epochd.dispatch.workers.executor import OnExit
from epochd.dispatch.workers.ray import RayCluster, RayExecutor
from tests.support.proxy import free_ports
from tests.support.ray_cluster import RayCluster as Processes

REPOSITORY = Path(__file__).parents[2]


class ClusterOfOne:
    """A server's view of ``processes``, of which it uses the first node. Its workers are stand-ins with ``options``."""

    def __init__(self, processes: Processes, data_dir: Path, options: str = "", python: str = "") -> None:
        (port,) = free_ports(1)
        self.processes = processes
        self.url = f"http://127.0.0.1:{port}"
        variables = {"PYTHONPATH": str(REPOSITORY), "EPOCHD_DATA_DIR": str(data_dir)}
        settings = Settings(
            data_dir=data_dir,
            ray_address=processes.url,
            ray_token=processes.token,
            public_url=self.url,
            lease_seconds=5.0,
            ray_python=python or sys.executable,
            ray_runtime_env={"env_vars": variables},
        )
        arguments = f"-m tests.support.stand_in --claim {options}"
        self.changed = asyncio.Event()
        self.cluster = RayCluster(settings, self.url, self._join, self.changed.set, arguments=arguments)
        self.claims: list[tuple[str, Claim]] = []
        self.joined: asyncio.Queue[RayExecutor] = asyncio.Queue()
        app = Starlette(routes=[Route("/internal/claims", self._claim, methods=["POST"])])
        self._server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="off"))
        self._tasks: list[asyncio.Task[None]] = []
        self._on_exit: OnExit

    async def start(self, on_exit: OnExit) -> RayExecutor:
        """The executor of the first node, once a worker could be started there."""
        self._on_exit = on_exit
        self._tasks = [asyncio.create_task(self._server.serve()), asyncio.create_task(self.cluster.run())]
        return await self.joined.get()

    async def _join(self, executor: RayExecutor) -> None:
        await executor.start(self._on_exit)
        self.joined.put_nowait(executor)

    async def _claim(self, request: Request) -> Response:
        code = request.headers["authorization"].removeprefix("Bearer ")
        claim = Claim.model_validate_json(await request.body())
        self.claims.append((code, claim))
        try:
            return Response(self.cluster.claim(code, claim).model_dump_json())
        except NotFound as error:
            return Response(error.message, 404)

    async def until_changed(self) -> None:
        """Wait for the next comparison with Ray."""
        self.changed.clear()
        await self.changed.wait()

    async def close(self) -> None:
        self._server.should_exit = True
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.cluster.close()
