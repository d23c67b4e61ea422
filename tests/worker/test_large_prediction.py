"""A million rows are predicted in less memory than they would take: ``LARGE_ROWS`` changes their number."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from tests.support.predictions import trained

from epochd.data.tables.catalog import open_dataset

ROWS = int(os.environ.get("LARGE_ROWS", "1000000"))
COLUMNS = 30
WORKER = """
import json, sys, psutil, onnxruntime
from pathlib import Path
from tests.support.predictions import prediction
from tests.support.reporters import RecordingReporter
from epochd.worker import __main__, predict
start = psutil.Process().memory_info().rss
folder, model = map(Path, sys.argv[1:])
predict.execute(prediction(folder, model, id_columns=["id"]), RecordingReporter())
frameworks = [name for name in ("torch", "tensorflow", "jax") if name in sys.modules]
status = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
print(json.dumps({"taken": peak - start, "frameworks": frameworks}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_million_rows_are_predicted_in_less_memory_than_they_take(tmp_path: Path) -> None:
    model = trained(tmp_path, dataset="breast_cancer", epochs=1)
    rows = open_dataset("breast_cancer", []).read().drop("target")
    table = pl.concat([rows.lazy()] * (ROWS // rows.height + 1)).head(ROWS).with_row_index("id")
    table.sink_parquet(tmp_path / "rows.parquet", row_group_size=8_192)
    command = [sys.executable, "-c", WORKER, str(tmp_path), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=150)
    found = json.loads(done.stdout)
    predicted = pl.scan_parquet(tmp_path / "predictions" / "task" / "predictions.parquet")
    count, is_in_order, empty = (
        predicted.select(
            pl.len(), (pl.col("id") == pl.int_range(pl.len())).all().alias("order"), pl.col("prediction").null_count()
        )
        .collect()
        .row(0)
    )
    assert (count, is_in_order, empty) == (ROWS, True, 0)
    assert found["frameworks"] == []
    assert found["taken"] < 8 * COLUMNS * ROWS, f"{found['taken'] / 2**20:.0f} MiB"
