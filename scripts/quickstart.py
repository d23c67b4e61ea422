"""The whole of epochd in one minute: a server, a real training watched live, a model, a prediction.

Run it with ``make quickstart``. Everything is kept in ``./epochd-data``, as ``epochd serve`` would.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from epochd.artifact.predict import predict_file
from epochd.cli.console import print_line, read_config
from epochd.cli.watching import watch_to_the_end
from epochd.client import Client
from epochd.data.tables.catalog import open_dataset

DATA_DIR = Path("epochd-data")
CONFIG = Path(__file__).parent.parent / "examples" / "breast_cancer.json"


def main() -> None:
    with running_server() as url, Client(url) as client:
        print_line(f"1. A server runs at {url} (its API: {url}/docs)")
        task_id = client.start(read_config(CONFIG))["task_id"]
        print_line(f"2. {CONFIG.name} is task {task_id}; this is its stream:")
        if watch_to_the_end(client, task_id) != 0:
            sys.exit(f"the training of {task_id} did not complete")
        model = DATA_DIR / client.task(task_id)["artifact"]
    print_line(f"3. The server is stopped. The model is in {model}")
    show_predictions(model)


@contextmanager
def running_server() -> Iterator[str]:
    """Start ``epochd serve`` on a free port; yield its URL; stop it in good order."""
    command = [sys.executable, "-m", "epochd.cli", "serve", "--port", "0", "--data-dir", str(DATA_DIR)]
    server = subprocess.Popen([*command, "--log-level", "warning"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    said = server.stdout.readline()
    if not said:
        sys.exit(f"the server did not start (exit code {server.wait()})")
    try:
        yield said.split()[-1]
    finally:
        server.terminate()
        if server.wait(timeout=10) != 0:
            sys.exit(f"the server ended with exit code {server.returncode}")


def show_predictions(model: Path) -> None:
    """Score five rows of the dataset from a file, as ``epochd predict`` does, beside the true target."""
    rows = open_dataset("breast_cancer", []).read().gather_every(100).head(5)
    file = DATA_DIR / "quickstart-rows.csv"
    rows.drop("target").write_csv(file)
    print_line(f"4. epochd predict {model} {file}")
    for line in str(predict_file(model, file).with_columns(rows["target"].alias("truth"))).splitlines():
        print_line(line)


if __name__ == "__main__":
    main()
