"""Data larger than the resident limit train in a process that does not grow with them."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from epochd.engines import registry

COLUMNS = 60
SCRIPT = """
import json, sys
from pathlib import Path

import psutil

from epochd.core import specs
from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.core.tickets import Ticket
from epochd.engines import registry
from epochd.worker.execute import execute

folder, dataset, framework = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
config = {"dataset": dataset, "target_column": "target", "framework": framework, "task": "binary",
          "hidden_units": [8], "epochs": 2, "batch_size": 1024, "learning_rate": 0.01}
found = []

class Line:
    def emit(self, kind, payload):
        if kind is ReportKind.EPOCH:
            resident = psutil.Process().memory_info().rss
            found.append({"accuracy": payload["metrics"]["val_accuracy"], "resident": resident})

    def confirm(self):
        pass

    def command(self):
        return Command.CONTINUE

registry.warm(framework)
execute(Ticket(task_id="t", attempt=1, token="", server_url="", spec=specs.parse(config),
               data_dir=folder / "out" / dataset, dataset_roots=[folder], resident_mb=1), Line())
print(json.dumps(found[-1]))
"""


def train(folder, rows, framework):
    x = np.random.default_rng(0).normal(size=(rows, COLUMNS)).astype(np.float32)
    frame = pl.DataFrame(x, schema=[f"c{i}" for i in range(COLUMNS)])
    frame.with_columns(target=pl.Series((x.sum(1) > 0).astype(int))).write_parquet(folder / f"{rows}.parquet")
    command = [sys.executable, "-c", SCRIPT, str(folder), f"{rows}.parquet", framework]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.parametrize("framework", registry.installed())
def test_memory_stays_flat_while_the_data_grow_tenfold(tmp_path, framework):
    small, large = (train(tmp_path, rows, framework) for rows in (100_000, 1_000_000))
    data = 900_000 * COLUMNS * 4
    assert large["accuracy"] > 0.97
    assert large["resident"] - small["resident"] < 0.5 * data, "the rows were held in memory after all"
