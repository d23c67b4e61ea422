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
from collections.abc import Callable
from types import FrameType
from typing import Any

from epochd.core.errors import EpochdError, RankFailed, StaleAttempt
from epochd.core.events import ReportKind
from epochd.core.tickets import RANK_FAILED, Ticket
from epochd.engines import registry
from epochd.worker.endings import last_word_of
from epochd.worker.execute import execute
from epochd.worker.logs import attempt_log
from epochd.worker.report import Reporter
from epochd.worker.sink import memory_limit

logger = logging.getLogger("epochd.worker")

DELIVERY_SECONDS = 5.0
"""How long a crash waits for reports to be delivered; what is not will be found in the checkpoint."""

Execute = Callable[[Ticket, Reporter], ReportKind]


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
            if last_word is not ReportKind.COMPLETED or self._one_ticket:
                return 1 if last_word is ReportKind.FAILED else 0
            self._say("ready")
        return 0

    def terminate(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM: an idle worker ends at once, one that trains saves its work first."""
        if self._reporter is None:
            sys.exit(0)
        self._reporter.release()

    def _attempt(self, ticket: Ticket) -> ReportKind | None:
        """Train one ticket and deliver all its reports; None when the attempt was fenced off."""
        if self._one_ticket:  # the framework has touched no GPU yet, so this still decides what it will see
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, ticket.gpus))
        reporter = Reporter(
            ticket.server_url,
            ticket.task_id,
            ticket.attempt,
            ticket.token,
            ticket.lease_seconds,
            grace_seconds=ticket.grace_seconds,
        )
        self._reporter = reporter
        try:
            with attempt_log(ticket), memory_limit(None if ticket.is_held else ticket.memory_mb):
                return self._follow(ticket, reporter)
        finally:
            self._reporter = None

    def _follow(self, ticket: Ticket, reporter: Reporter) -> ReportKind | None:
        try:
            last_word = self._run(ticket, reporter)
            if not reporter.close():
                logger.error(
                    "the server has been away for more than %.0f s; it will take up the task again from the "
                    "last checkpoint that it knows of",
                    ticket.grace_seconds,
                )
                return None
            return last_word
        except StaleAttempt as error:
            logger.info("%s", error)
            return None
        except EpochdError:
            logger.exception("nothing more can be reported")
            return ReportKind.FAILED

    def _run(self, ticket: Ticket, reporter: Reporter) -> ReportKind:
        """The training itself; whatever goes wrong in it becomes a FAILED or HELD report."""
        try:
            return self._train(ticket, reporter)
        except StaleAttempt:
            raise
        except RankFailed:
            logger.exception("a process that trains with this one has died")
            reporter.close(DELIVERY_SECONDS)
            sys.exit(RANK_FAILED)  # a crash like that of the worker itself: the server starts the next attempt
        except Exception as error:
            kind, payload = last_word_of(error, ticket)
            logger.exception("the training %s", "waits" if kind is ReportKind.HELD else "failed")
            return self._last_word(reporter, kind, payload)

    def _last_word(self, reporter: Reporter, kind: ReportKind, payload: dict[str, Any]) -> ReportKind:
        """Report the end, unless the training has done so already."""
        if reporter.last_word is None:
            reporter.emit(kind, payload)
        return reporter.last_word or kind

    def _say(self, line: str) -> None:
        """Write to the executor; a server that has gone away need not hear it."""
        try:
            os.write(self._protocol_fd, f"{line}\n".encode())
        except BrokenPipeError:
            logger.info("nobody is there to hear %r", line)


if __name__ == "__main__":
    sys.exit(main())
