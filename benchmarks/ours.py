"""Our side: the bare engine, epoch by epoch, and the whole loop around it."""

import json
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter

from cases import Case

from epochd.core.events import ReportKind
from epochd.core.tickets import Ticket
from epochd.data.encoding.encoder import Encoder
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import network, registry
from epochd.loop import fit
from epochd.loop.members import FitConfig, Member, Members
from epochd.loop.state import LoopState
from epochd.worker.report import Reporter
from epochd.worker.sink import JobSink


def epochs(framework: str, case: Case) -> Iterator[float]:
    """Seconds of one epoch after another."""
    setup, part = case.setup, case.data()
    engine = registry.build(framework, setup, part)
    batches = network.batches(setup, len(part))
    epoch = 0
    while True:
        began = perf_counter()
        for chunk in batches.chunks(epoch):
            engine.train(chunk.rows, epoch * batches.steps + chunk.first_step, 0.001)
        yield perf_counter() - began
        epoch += 1


def loop_and_bare(framework: str, case: Case, rounds: int = 7, epochs_each: int = 4) -> list[tuple[float, float]]:
    """(whole loop, bare engine) seconds for the same epochs, in turn; both train and score 20 % held-out rows."""
    part = case.data()
    cut = len(part) * 4 // 5
    train, held_out = InMemoryDataset(part.x[:cut], part.y[:cut]), InMemoryDataset(part.x[cut:], part.y[cut:])
    spec = case.setup.spec.model_copy(update={"epochs": 10**6, "framework": framework})
    engine = registry.build(framework, case.setup, train)
    config = FitConfig(spec, "binary", train, held_out, network.batches(case.setup, cut))
    found = []
    with server() as url, tempfile.TemporaryDirectory() as folder:
        ticket = Ticket(
            task_id="t", attempt=1, token="x", server_url=url, spec=spec, data_dir=Path(folder), dataset_roots=[]
        )
        reporter = Reporter(url, "t", 1, "x", 15.0)
        sink = JobSink(ticket, reporter, {"fingerprint": ""}, Encoder((), "target", "binary", (0, 1)))
        members = Members([Member(engine, config, LoopState(spec.learning_rate))])
        for turn in range(rounds + 1):
            whole = _timed(lambda: _loop(members, sink, epochs_each))
            bare = _timed(lambda: _bare(engine, config, epochs_each))
            if turn:
                found.append((whole, bare))
    return found


def _loop(members, sink, epochs_each) -> None:  # type: ignore[no-untyped-def]
    for _ in range(epochs_each):
        fit.train_epoch(members.each[0], members, sink)
        fit.end_epoch(members.each[0])
        sink.emit(ReportKind.EPOCH, fit.epoch_report(members.config, members.state))


def _bare(engine, config, epochs_each) -> None:  # type: ignore[no-untyped-def]
    for epoch in range(epochs_each):
        for chunk in config.batches.chunks(epoch):
            engine.train(chunk.rows, chunk.first_step, 0.001)
        engine.outputs(config.validation.x)


def _timed(work) -> float:  # type: ignore[no-untyped-def]
    began = perf_counter()
    work()
    return perf_counter() - began


class Answer(BaseHTTPRequestHandler):
    """Takes reports and wants nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"command": "continue"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class server:
    """A server that answers reports, for as long as the context lasts."""

    def __enter__(self) -> str:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._http.server_port}"

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
