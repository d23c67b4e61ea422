"""Make the data folder of a version, for ``tests/test_older_data.py``: later versions have to read what it holds.

    python scripts/make_older_data.py tests/fixtures/v0_1_0 --source ../checkout-of-that-version

``data.tar.gz`` is the data folder of a server that has completed two trainings, paused a third and taken an upload.
``expected.json`` is what that version itself says of it, and how the paused training ends when that version resumes it.
"""

import argparse
import hashlib
import json
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import behaviour_cases as cases
import polars as pl
from behaviour_server import DATASETS, TRAINING, Server
from safetensors.numpy import load_file

LEFT_OUT = {"cache", "logs", ".lock"}

NETWORK = {"hidden_units": [12, 6], "seed": 5, "early_stopping_patience": None}
COMPLETED: dict[str, cases.Config] = {
    "iris": NETWORK | {"dataset": "iris", "target_column": "target", "framework": "pytorch", "epochs": 12},
    "people": NETWORK | {"dataset": "people.csv", "target_column": "answer", "framework": "jax", "epochs": 6}
    | cases.PEOPLE,
}  # fmt: skip
PAUSED: cases.Config = NETWORK | {
    "dataset": "houses", "target_column": "price", "framework": "pytorch", "epochs": 12, "batch_size": 1,
    "activation": "tanh", "optimizer": "adamw", "learning_rate": 0.002, "learning_rate_scheduler": "plateau",
    "patience": 1, "min_delta": 0.0001,
}  # fmt: skip
"""An epoch takes more steps than go into one chunk, so that it can be paused within one."""


def fill(server: Server) -> dict[str, Any]:
    """Let a server do its work; what it says of it."""
    cases.people(150).write_csv(server.data_dir / "datasets" / "people.csv")
    houses = cases.houses(1300, 4).write_csv().encode()
    server.ask("POST", f"{DATASETS}?filename=houses.csv", content=houses).raise_for_status()
    ids = {name: start(server, name, config) for name, config in COMPLETED.items()}
    assert all(server.until(task_id)["state"] == "completed" for task_id in ids.values())
    ids["houses"] = start(server, "houses", PAUSED)
    pause_within_an_epoch(server, ids["houses"])
    return {name: described(server, task_id) for name, task_id in ids.items()}


def pause_within_an_epoch(server: Server, task_id: str) -> None:
    for epoch in range(4, PAUSED["epochs"]):
        server.until(task_id, epoch)
        server.ask("POST", f"{TRAINING}/pause/{task_id}?wait=60").raise_for_status()
        if server.task(task_id)["checkpoint"]["step"] > 0:
            return
        server.ask("POST", f"{TRAINING}/resume/{task_id}").raise_for_status()
    raise SystemExit("each pause came between two epochs: try again")


def start(server: Server, name: str, config: cases.Config) -> str:
    options = {"name": name, "output_path": f"/models/{name}"}
    return server.ask("POST", f"{TRAINING}/start", json=config | options).raise_for_status().json()["task_id"]


def described(server: Server, task_id: str) -> dict[str, Any]:
    task = server.task(task_id)
    kept = ("task_id", "name", "state", "config", "current_epoch", "best_metrics", "artifact", "checkpoint")
    history = server.ask("GET", f"{TRAINING}/history/{task_id}").json()["history"]
    return {field: task[field] for field in kept} | {"history": history}


def predictions(server: Server, task: dict[str, Any]) -> dict[str, str]:
    """Some rows like those that a model was trained on, as CSV, and what the model says of them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.csv")
        shown = server.ask("GET", f"{DATASETS}/iris").json()["first_rows"]
        rows = cases.people(8) if task["name"] == "people" else pl.DataFrame(shown)
        rows.write_csv(path)
        return {"rows": path.read_text(), "predictions": server.predict(server.data_dir / task["artifact"], path)}


def finished(server: Server, task_id: str) -> dict[str, Any]:
    """The paused training, resumed and brought to its end; its weights too, for machines that round otherwise."""
    server.ask("POST", f"{TRAINING}/resume/{task_id}").raise_for_status()
    assert server.until(task_id)["state"] == "completed"
    task = described(server, task_id)
    model = server.data_dir / task["artifact"]
    weights = {name: array.tolist() for name, array in load_file(model / "model.safetensors").items()}
    digest = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    return task | {"sha256": digest, "weights": weights}


def pack(folder: Path, archive: Path) -> None:
    """The data folder without what a server makes anew; its database is one file, for the server has ended."""
    assert not list(folder.glob("epochd.db-*"))
    with tarfile.open(archive, "w:gz") as packed:
        for path in sorted(folder.iterdir()):
            if path.name not in LEFT_OUT:
                packed.add(path, path.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", type=Path, required=True, help="a checkout of the version")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    source = given.source.resolve() / "src"
    with tempfile.TemporaryDirectory(prefix="behaviour-") as made:
        first, copy = Path(made, "data"), Path(made, "copy")
        with Server(source, first, EPOCHD_SLOTS="1") as server:
            tasks = fill(server)
            said = {name: predictions(server, tasks[name]) for name in COMPLETED}
        shutil.copytree(first, copy, symlinks=True)
        with Server(source, copy, EPOCHD_SLOTS="1") as server:
            resumed = finished(server, tasks["houses"]["task_id"])
        pack(first, given.out / "data.tar.gz")
    expected = {"tasks": tasks, "said": said, "resumed": resumed}
    (given.out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
