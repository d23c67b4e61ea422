"""Data larger than the resident limit train in a process that does not grow with them."""

import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from epochd.engines import registry

COLUMNS = 60
ROWS = int(os.environ.get("STREAMING_ROWS", 1_000_000))
"""``make streaming`` takes four times as many, on every engine."""
ENGINES = registry.installed() if "STREAMING_ROWS" in os.environ else registry.installed()[:1]
SCRIPT = """
import json, sys
from pathlib import Path

import psutil

from epochd.core.events import ReportKind
from epochd.engines import registry
from epochd.worker.execute import execute
from tests.support.reporters import RecordingReporter
from tests.support.tickets import ticket

folder, dataset, framework = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
found = []

def look(kind, payload):
    if kind is ReportKind.EPOCH:
        resident = psutil.Process().memory_info().rss
        found.append({"accuracy": payload["metrics"]["val_accuracy"], "resident": resident})

registry.warm(framework)
options = {"task": "binary", "hidden_units": [8], "epochs": 2, "batch_size": 1024, "learning_rate": 0.01}
data_dir = folder / "out" / framework / dataset
given = ticket(data_dir, dataset=dataset, framework=framework, dataset_roots=[folder], resident_mb=1, **options)
execute(given, RecordingReporter(look=look))
print(json.dumps(found[-1]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same data for every engine, small and large."""
    folder = tmp_path_factory.mktemp("rows")
    for rows in (ROWS // 10, ROWS):
        x = np.random.default_rng(0).normal(size=(rows, COLUMNS)).astype(np.float32)
        frame = pl.DataFrame(x, schema=[f"c{i}" for i in range(COLUMNS)])
        frame.with_columns(target=pl.Series((x.sum(1) > 0).astype(int))).write_parquet(folder / f"{rows}.parquet")
    return folder


def train(folder, rows, framework):
    command = [sys.executable, "-c", SCRIPT, str(folder), f"{rows}.parquet", framework]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.parametrize("framework", ENGINES)
def test_memory_stays_flat_while_the_data_grow_tenfold(folder, framework):
    small, large = (train(folder, rows, framework) for rows in (ROWS // 10, ROWS))
    data = 0.9 * ROWS * COLUMNS * 4
    assert large["accuracy"] > 0.97
    assert large["resident"] - small["resident"] < 0.5 * data, "the rows were held in memory after all"
