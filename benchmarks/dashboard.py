"""The dashboard in a browser: first paint, a table of 5,000 tasks, a chart of 20 curves of 20,000 epochs, the cost of a
live stream, and memory over time.

Run it with ``make bench-dashboard``; ``ARGS="--minutes 30"`` watches the memory for that long. It fills a data
directory with tasks, starts a real server on it, trains, and lets ``web/e2e/figures.test.ts`` use the pages in headless
Chromium, which draws with the processor. Frames per second count the frames while something moves; the worst frame is
the longest time between two. The cost of the stream is the processor time of all processes of the browser.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from latency import server
from soak import fill

from epochd.client import Client

WEB = Path(__file__).parents[1] / "web"
TASKS, LONG, EPOCHS = 5_000, 20, 20_000
LONG_MINUTES = 10
RUNNING: dict[str, Any] = {
    "name": "live",
    "dataset": "digits",
    "target_column": "target",
    "hidden_units": [64],
    "epochs": 100_000,
    "early_stopping_patience": None,
    "framework": "pytorch",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long the memory of a live page is watched")
    options = parser.parse_args()
    browser()
    print(f"{platform.machine()}, {os.cpu_count()} CPUs")
    with tempfile.TemporaryDirectory() as folder:
        data, found = Path(folder) / "data", Path(folder) / "figures.json"
        data.mkdir()
        ids = asyncio.run(fill(data, TASKS, EPOCHS, LONG))
        with server(Path(__file__).parents[1] / "src", data) as url, Client(url) as client:
            # small batches for long: the epochs of a training are limited
            running = client.start(RUNNING | {"batch_size": 256 if options.minutes < LONG_MINUTES else 32})["task_id"]
            # the start of a worker is not what is measured
            while client.progress(running)["progress"]["current_epoch"] == 0:
                time.sleep(0.5)
            given = {"url": url, "ids": ids, "running": running, "minutes": options.minutes, "found": str(found)}
            use_pages(given)
            for name, value in json.loads(found.read_text()).items():
                print(f"{name:56} {value}")
            client.stop(running)


def browser() -> str:
    """The path of Chromium. Raises SystemExit if there is none."""
    for path in (os.environ.get("CHROMIUM"), shutil.which("chromium"), shutil.which("google-chrome")):
        if path:
            return path
    raise SystemExit("this benchmark needs Chromium: install it, or set CHROMIUM to its path")


def use_pages(given: dict[str, Any]) -> None:
    """Let the browser use the pages. Raises CalledProcessError if something on them fails."""
    environment = os.environ | {"EPOCHD_FIGURES": json.dumps(given), "CHROMIUM": browser(), "NO_COLOR": "1"}
    command = ["npx", "vitest", "run", "--config", "e2e/vitest.config.ts", "figures"]
    subprocess.run(command, cwd=WEB, env=environment, check=True)


if __name__ == "__main__":
    main()
