"""The worker process: warmed up ahead of time, it trains the tickets that it reads from standard input.

It speaks to the executor that started it over an inherited pipe, one line at a time: ``ready`` when it can
take a ticket, ``done <task_id> <attempt>`` when it is through with one. Whatever a job prints, at any level,
goes to the attempt's log. End of input means that nobody will send more: an idle worker ends, one that
trains ends after its job, so a server that goes down leaves no idle process behind and breaks no training.
"""

import argparse
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from epochd.core.errors import EpochdError, StaleAttempt
from epochd.core.events import Kind
from epochd.core.tickets import Ticket
from epochd.engines import registry
from epochd.worker.execute import execute
from epochd.worker.report import Reporter

logger = logging.getLogger("epochd.worker")

DELIVERY_SECONDS = 3600.0
"""How long a finished training waits for a server that is away to take its last word."""

Execute = Callable[[Ticket, Reporter], Kind]


def main(
    arguments: list[str] | None = None,
    *,
    warm: Callable[..., None] = registry.warm,
    train: Execute = execute,
) -> int:
    """Run a worker until its input ends or a job asks for a fresh process; return the exit code."""
    options = _parse(arguments)
    os.set_inheritable(options.protocol_fd, False)
    faulthandler.enable()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    worker = Worker(options.protocol_fd, train, one_ticket=options.one_ticket)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the server decides
    signal.signal(signal.SIGTERM, worker.terminate)
    warm(options.framework, touch=not options.one_ticket)
    return worker.serve()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m epochd.worker", description="Started by epochd itself.")
    parser.add_argument("--framework", required=True)
    parser.add_argument("--protocol-fd", type=int, required=True)
    parser.add_argument("--one-ticket", action="store_true", help="end after one training; it may be given GPUs")
    return parser.parse_args(arguments)


class Worker:
    """One process's life: tickets in, words out, one training at a time."""

    def __init__(self, protocol_fd: int, train: Execute, *, one_ticket: bool = False) -> None:
        self._protocol_fd = protocol_fd
        self._train = train
        self._one_ticket = one_ticket
        self._reporter: Reporter | None = None

    def serve(self) -> int:
        """Take tickets until the input ends; only a process whose job completed takes another."""
        self._say("ready")
        while line := sys.stdin.buffer.readline():
            ticket = Ticket.model_validate_json(line)
            last_word = self._attempt(ticket)
            self._say(f"done {ticket.task_id} {ticket.attempt}")
            if last_word is not Kind.COMPLETED or self._one_ticket:
                return 1 if last_word is Kind.FAILED else 0
            self._say("ready")
        return 0

    def terminate(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM: an idle worker ends at once, one that trains saves its work first."""
        if self._reporter is None:
            sys.exit(0)
        self._reporter.release()

    def _attempt(self, ticket: Ticket) -> Kind | None:
        """Train one ticket and deliver all its reports; None when the attempt was fenced off."""
        if self._one_ticket:  # the framework has touched no GPU yet, so this still decides what it will see
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, ticket.gpus))
        reporter = Reporter(ticket.server_url, ticket.task_id, ticket.attempt, ticket.token, ticket.lease_seconds)
        self._reporter = reporter
        try:
            with attempt_log(ticket):
                return self._follow(ticket, reporter)
        finally:
            self._reporter = None

    def _follow(self, ticket: Ticket, reporter: Reporter) -> Kind | None:
        try:
            last_word = self._run(ticket, reporter)
            if not reporter.close(DELIVERY_SECONDS):
                logger.error("gave up: the server was away for %.0f s, %s is lost", DELIVERY_SECONDS, last_word)
            return last_word
        except StaleAttempt as error:
            logger.info("%s", error)
            return None
        except EpochdError:
            logger.exception("nothing more can be reported")
            return Kind.FAILED

    def _run(self, ticket: Ticket, reporter: Reporter) -> Kind:
        """The training itself; whatever goes wrong in it becomes a FAILED report."""
        try:
            return self._train(ticket, reporter)
        except StaleAttempt:
            raise
        except EpochdError as error:
            logger.exception("the training failed")
            failure = {key: value for key, value in error.as_json().items() if key != "success"}
        except Exception as error:
            logger.exception("the training failed")
            sentence = f"an unexpected {type(error).__name__} ended the training: {error}; its log has the details"
            failure = {"code": "internal_error", "message": sentence, "problems": []}
        if reporter.last_word is None:
            reporter.emit(Kind.FAILED, failure)
        return reporter.last_word or Kind.FAILED

    def _say(self, line: str) -> None:
        """Write to the executor; a server that has gone away need not hear it."""
        try:
            os.write(self._protocol_fd, f"{line}\n".encode())
        except BrokenPipeError:
            logger.info("nobody is there to hear %r", line)


@contextmanager
def attempt_log(ticket: Ticket) -> Iterator[Path]:
    """Send standard output and error, down to what C code writes, to the attempt's log for a while."""
    path = ticket.log_path
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = os.dup(1), os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        _point(log, log)
        yield path
    finally:
        _point(*kept)
        for descriptor in (log, *kept):
            os.close(descriptor)


def _point(out: int, err: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(out, 1)
    os.dup2(err, 2)


if __name__ == "__main__":
    sys.exit(main())
