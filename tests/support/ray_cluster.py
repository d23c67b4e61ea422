"""A real Ray cluster on loopback, with its token authentication on."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.proxy import free_ports

RAY = str(Path(sys.executable).with_name("ray"))
SECONDS = 120.0


class RayNode:
    """The processes of one node, whose ``id`` is that of Ray. Those of jobs are among their descendants."""

    id: str

    def __init__(self, environment: dict[str, str], *options: str) -> None:
        names = ("node-manager-port", "object-manager-port", "dashboard-agent-listen-port", "metrics-export-port")
        ports = zip(names, free_ports(len(names)), strict=True)
        with Path(environment["RAY_TMPDIR"], "nodes.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(RAY, "start", "--block", "--disable-usage-stats", "--object-store-memory=80000000"),
                    *(f"--{name}={port}" for name, port in ports),
                    *options,
                ],
                env=os.environ | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End all its processes at once, as the machine would."""
        with suppress(psutil.NoSuchProcess):
            own = psutil.Process(self.process.pid)
            while found := [own, *own.children(recursive=True)]:
                for process in found:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
                if len(found) == 1:
                    break
        self.process.wait()


class RayCluster:
    """A cluster whose head runs nothing unless it is given processors."""

    def __init__(self, head_cpus: int = 0) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self.token = secrets.token_hex(32)
        path = self.folder / "token"
        path.write_text(self.token)
        path.chmod(0o600)
        self._environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(path),
            "RAY_TMPDIR": str(self.folder),
            "RAY_worker_niceness": "0",
        }
        self.nodes: list[RayNode] = []
        for is_last in (False, False, True):
            self.port, self.dashboard = free_ports(2)
            self.url = f"http://127.0.0.1:{self.dashboard}"
            self.client = httpx.Client(
                base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=10, trust_env=False
            )
            try:
                self.start_head(head_cpus, within=SECONDS / 2)
                return
            except BaseException as error:
                if is_last or not isinstance(error, AssertionError):
                    self.close()
                    raise
                self.head.kill()  # somebody else has taken one of its ports in the meantime
                self.client.close()

    def start_head(self, cpus: int = 0, within: float = SECONDS) -> None:
        """Start a head, which knows nothing of an earlier one."""
        self.head = RayNode(
            self._environment,
            *("--head", f"--port={self.port}", f"--dashboard-port={self.dashboard}", "--dashboard-host=127.0.0.1"),
            *(f"--num-cpus={cpus}", f"--temp-dir={self.folder}"),
        )
        self.until(lambda: len(self.alive()) >= 1, within)

    def add_node(self, cpus: int = 1, **labels: str) -> RayNode:
        known = {node["node_id"] for node in self.alive()}
        marks = [f"--labels={','.join(f'{name}={value}' for name, value in labels.items())}"] if labels else []
        node = RayNode(self._environment, f"--address=127.0.0.1:{self.port}", f"--num-cpus={cpus}", *marks)
        self.nodes.append(node)
        self.until(lambda: {one["node_id"] for one in self.alive()} - known)
        (node.id,) = {one["node_id"] for one in self.alive()} - known
        return node

    def alive(self) -> list[dict[str, Any]]:
        """The nodes that are alive, as Ray describes them; none while the head does not answer."""
        try:
            answer = self.client.get("/api/v0/nodes?detail=1").raise_for_status().json()
        except httpx.HTTPError:
            return []
        return [node for node in answer["data"]["result"]["result"] if node["state"] == "ALIVE"]

    def jobs(self) -> dict[str, dict[str, Any]]:
        """The jobs that Ray knows, by their ids."""
        found = self.client.get("/api/jobs/").raise_for_status().json()
        return {job["submission_id"]: job for job in found if job["submission_id"]}

    def submit(self, entrypoint: str, cpus: int = 1) -> str:
        """Have Ray run a job of somebody else."""
        body = {"entrypoint": entrypoint, "entrypoint_num_cpus": cpus}
        return str(self.client.post("/api/jobs/", json=body).raise_for_status().json()["submission_id"])

    def stop(self, id: str) -> None:
        self.client.post(f"/api/jobs/{id}/stop").raise_for_status()

    def clear(self) -> None:
        """Stop and delete all jobs."""
        ended = {"STOPPED", "SUCCEEDED", "FAILED"}
        for id in self.jobs():
            self.stop(id)
        self.until(lambda: all(job["status"] in ended for job in self.jobs().values()))
        for id in self.jobs():
            self.client.delete(f"/api/jobs/{id}")

    def until(self, is_so: Any, within: float = SECONDS) -> None:
        until = time.monotonic() + within
        while not is_so():
            assert time.monotonic() < until, (self.folder / "nodes.log").read_text()[-3000:]
            time.sleep(0.1)

    def close(self) -> None:
        for node in [*self.nodes, self.head]:
            node.kill()
        self.client.close()
        shutil.rmtree(self.folder, ignore_errors=True)
