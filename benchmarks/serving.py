"""Predictions over HTTP: one row and ten thousand rows, compared with scikit-learn behind FastAPI and with MLflow's
scoring server; and the server's memory while fifty models are used in turn.

Run it with ``make bench-serving``. All sides predict breast_cancer (30 numbers) with an MLP of 64 and 32 units, each in
a server process of its own with uvicorn, and take turns; the client keeps one connection open and sends bodies that it
has made before. Times are wall-clock milliseconds of the client.
"""

import argparse
import http.client
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, sleep
from typing import Any

import psutil
from latency import server

from epochd.client import Client
from epochd.data.tables.catalog import open_dataset

ROUNDS, SINGLE, WARM_UP = 5, 400, 50
LARGE_ROWS, LARGE = 10_000, 6
MODELS = 50
CONFIG: dict[str, Any] = {
    "dataset": "breast_cancer",
    "target_column": "target",
    "hidden_units": [64, 32],
    "epochs": 20,
    "framework": "pytorch",
    "output_path": "/models/serving",
}
HEADERS = {"Content-Type": "application/json"}
Times = dict[tuple[str, str], list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", choices=PEERS, help="be the server of a peer, on a port that is printed")
    if side := parser.parse_args().serve:
        PEERS[side]()
        return
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs")
    times: Times = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        url = stack.enter_context(server(Path(__file__).parent.parent / "src", Path(folder)))
        with Client(url) as client:
            train(client, "/models/serving")
        addresses = {"epochd": url} | {side: stack.enter_context(peer(side)) for side in PEERS}
        for _ in range(ROUNDS):
            for side, address in addresses.items():
                measure(side, address, times)
        for what in ("one row", f"{LARGE_ROWS} rows"):
            for side in addresses:
                show(f"{what} ({side})", times[side, what])
        show(f"{LARGE_ROWS} rows (epochd, columns in JSON)", times["epochd", "columns"])
        show(f"{LARGE_ROWS} rows (epochd, Arrow in, Parquet out)", times["epochd", "Arrow"])
        use_many_models(url)


def bodies(rows: int, side: str) -> bytes:
    """The body of a request for this number of rows of the dataset, in the form that this server takes."""
    frame = open_dataset("breast_cancer", []).read().drop("target")
    chosen = frame[[number % frame.height for number in range(rows)]]
    if side == "epochd columns":
        return json.dumps({"columns": chosen.to_dict(as_series=False)}).encode()
    if side == "mlflow":
        return json.dumps({"dataframe_split": {"columns": chosen.columns, "data": chosen.rows()}}).encode()
    return json.dumps({"rows": chosen.to_dicts()}).encode()


PATHS = {
    "epochd": "/api/v1/models/models/serving/predict",
    "scikit-learn": "/predict",
    "mlflow": "/invocations",
}


def measure(side: str, address: str, times: Times) -> None:
    """One round of a side; its times are added to ``times``."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    single, large = bodies(1, side), bodies(LARGE_ROWS, side)
    for body, what, count, warm_up in (
        (single, "one row", SINGLE, WARM_UP),
        (large, f"{LARGE_ROWS} rows", LARGE, 1),
    ):
        for number in range(warm_up + count):
            took = post(connection, PATHS[side], body, HEADERS)
            if number >= warm_up:
                times[side, what].append(took)
    if side == "epochd":
        arrow, headers = arrow_body(), {"Content-Type": "application/vnd.apache.arrow.stream", "Accept": ARROW_ANSWER}
        times[side, "Arrow"] += [post(connection, PATHS[side], arrow, headers) for _ in range(LARGE + 1)][1:]
        columns = bodies(LARGE_ROWS, "epochd columns")
        times[side, "columns"] += [post(connection, PATHS[side], columns, HEADERS) for _ in range(LARGE + 1)][1:]
    connection.close()


ARROW_ANSWER = "application/vnd.apache.parquet"


def arrow_body() -> bytes:
    frame = open_dataset("breast_cancer", []).read().drop("target")
    chosen = frame[[number % frame.height for number in range(LARGE_ROWS)]]
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115 (in memory)
    chosen.write_ipc_stream(file)
    file.seek(0)
    return file.read()


def post(connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]) -> float:
    """Milliseconds from the request to the end of the answer."""
    began = perf_counter()
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    took = 1000 * (perf_counter() - began)
    assert answer.status == 200, content[:500]
    return took


def use_many_models(url: str) -> None:
    """Print the server's memory before and after fifty models are used in turn, three times."""
    with Client(url) as client:
        for number in range(MODELS):
            train(client, f"/many/{number}", epochs=1)
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    single = bodies(1, "epochd")
    before = memory(url)
    took = [
        post(connection, f"/api/v1/models/many/{number}/predict", single, HEADERS)
        for _ in range(3)
        for number in range(MODELS)
    ]
    print(f"{MODELS} models in turn: server {before:.0f} MiB before, {memory(url):.0f} MiB after")
    show("one row, another model each time", took)


def memory(url: str) -> float:
    """MiB of resident memory of the process that listens at the URL."""
    port = int(url.rsplit(":", 1)[1])
    found = [c.pid for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr and c.laddr.port == port]
    return float(psutil.Process(found[0]).memory_info().rss / 2**20)


def train(client: Client, output_path: str, **options: Any) -> None:
    task_id = client.start(CONFIG | {"output_path": output_path} | options)["task_id"]
    assert [event["type"] for event in client.stream(task_id)][-1] == "complete"


@contextmanager
def peer(side: str) -> Iterator[str]:
    """The server of a peer in a process of its own; yields its URL once it answers."""
    command = [sys.executable, __file__, "--serve", side]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        while not any(c.laddr.port == port for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr):
            sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def fitted() -> tuple[Any, list[str]]:
    """scikit-learn's pipeline for the same data, and the columns."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame = open_dataset("breast_cancer", []).read()
    x, y = frame.drop("target"), frame["target"]
    model = make_pipeline(StandardScaler(), MLPClassifier((64, 32), max_iter=100, random_state=0))
    return model.fit(x.to_pandas(), y.to_numpy()), x.columns


def serve_scikit_learn() -> None:
    """The route that FastAPI's documentation would have: a typed body, and a function that runs in its threads."""
    from fastapi import FastAPI
    from pydantic import BaseModel

    model, columns = fitted()
    classes = [str(label) for label in model.classes_]
    model = model.__class__([(name, step) for name, step in model.steps])
    for step in model.named_steps.values():
        vars(step).pop("feature_names_in_", None)  # arrays are faster than data frames

    class Rows(BaseModel):
        rows: list[dict[str, float]]

    app = FastAPI()

    @app.post("/predict")
    def predict(body: Rows) -> dict[str, Any]:
        found = model.predict_proba([[row[name] for name in columns] for row in body.rows])
        labels = found.argmax(axis=1)
        return {
            "predictions": [
                {"prediction": classes[label], "probabilities": dict(zip(classes, row, strict=True))}
                for label, row in zip(labels.tolist(), found.tolist(), strict=True)
            ]
        }

    run(app)


def serve_mlflow() -> None:
    """MLflow's own scoring server (that of ``mlflow models serve``) for the scikit-learn model."""
    import mlflow
    from mlflow.pyfunc import scoring_server

    model, _ = fitted()
    with tempfile.TemporaryDirectory() as folder:
        trusted = ["sklearn.neural_network._stochastic_optimizers.AdamOptimizer"]
        mlflow.sklearn.save_model(
            model, Path(folder) / "model", pyfunc_predict_fn="predict_proba", skops_trusted_types=trusted
        )
        run(scoring_server.init(mlflow.pyfunc.load_model(str(Path(folder) / "model"))))


def run(app: Any) -> None:
    """Serve on a free port, which is printed first."""
    import socket

    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])


PEERS: dict[str, Callable[[], None]] = {"scikit-learn": serve_scikit_learn, "mlflow": serve_mlflow}


def show(what: str, times: list[float]) -> None:
    last = quantiles(times, n=100, method="inclusive")[-1]
    print(f"{what}: p50 {median(times):.2f} ms, p99 {last:.2f} ms, n = {len(times)}")


if __name__ == "__main__":
    main()
