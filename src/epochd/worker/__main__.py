"""The worker process: warmed up in advance, it trains the tickets that it reads from standard input.

It reports to the executor over an inherited pipe, one line at a time: ``ready`` when it can take a ticket,
``done <task_id> <attempt>`` when it has finished one. At the end of input it exits, after its job if it has one: a
server that stops leaves no idle process behind and interrupts no training.
"""

import argparse
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from epochd.core.errors import EpochdError, RankFailed, StaleAttempt
from epochd.core.events import ReportKind
from epochd.core.tickets import NO_FRAMEWORK, RANK_FAILED, PredictionTicket, Ticket, read_ticket
from epochd.engines import registry
from epochd.worker import predict
from epochd.worker.execute import execute
from epochd.worker.failures import final_report
from epochd.worker.limits import attempt_log, memory_limit
from epochd.worker.report import Reporter
from epochd.worker.usage import Usage

logger = logging.getLogger("epochd.worker")

DELIVERY_SECONDS = 5.0
"""How long a crash waits for the delivery of reports; the next attempt reports the rest from the checkpoint."""

Execute = Callable[[Ticket, Reporter], ReportKind]


def main(
    arguments: list[str] | None = None, *, warm: Callable[..., None] = registry.warm, train: Execute = execute
) -> int:
    """Run a worker until its input ends or the next job needs a new process; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m epochd.worker", description="Started by the epochd server.")
    parser.add_argument("--framework", required=True)
    parser.add_argument("--protocol-fd", type=int, required=True)
    parser.add_argument("--one-ticket", action="store_true", help="exit after one training, which may use GPUs")
    options = parser.parse_args(arguments)
    os.set_inheritable(options.protocol_fd, False)
    faulthandler.enable()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    worker = Worker(options.protocol_fd, train, one_ticket=options.one_ticket)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the server handles it
    signal.signal(signal.SIGTERM, worker.terminate)
    try:
        if options.framework != NO_FRAMEWORK:
            warm(options.framework, touch=not options.one_ticket)
    except EpochdError as error:  # the framework is not installed: a traceback would not help
        sys.exit(error.message)
    return worker.serve()


class Worker:
    """Trains the tickets of standard input one after another."""

    def __init__(self, protocol_fd: int, train: Execute, *, one_ticket: bool) -> None:
        self._protocol_fd = protocol_fd
        self._train = train
        self._one_ticket = one_ticket
        self._reporter: Reporter | None = None

    def serve(self) -> int:
        """Take tickets until the input ends; only after a completed job does the process take another."""
        self._send("ready")
        while line := sys.stdin.buffer.readline():
            ticket = read_ticket(line)
            last_word = self._attempt(ticket)
            self._send(f"done {ticket.task_id} {ticket.attempt}")
            if last_word is not ReportKind.COMPLETED or self._one_ticket:
                return 1 if last_word is ReportKind.FAILED else 0
            self._send("ready")
        return 0

    def terminate(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM: an idle worker exits at once, a training one saves a checkpoint first."""
        if self._reporter is None:
            sys.exit(0)
        self._reporter.release()

    def _attempt(self, ticket: Ticket | PredictionTicket) -> ReportKind | None:
        """Train one ticket and deliver all its reports; None when the attempt no longer owns its task."""
        if self._one_ticket:  # takes effect because the framework has not used a GPU yet
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, ticket.gpus))
        owner = (ticket.server_url, ticket.task_id, ticket.attempt, ticket.token, ticket.lease_seconds)
        devices = ticket.spec.num_devices or len(ticket.gpus) if isinstance(ticket, Ticket) else 1
        usage = Usage(ticket.gpus, has_ranks=devices > 1)
        self._reporter = reporter = Reporter(*owner, grace_seconds=ticket.grace_seconds, usage=usage)
        try:
            with attempt_log(ticket), memory_limit(None if ticket.is_memory_capped else ticket.memory_mb):
                return self._train_and_report(ticket, reporter)
        finally:
            usage.close()
            self._reporter = None

    def _train_and_report(self, ticket: Ticket | PredictionTicket, reporter: Reporter) -> ReportKind | None:
        try:
            last_word = self._run(ticket, reporter)
            if reporter.close():
                return last_word
            why = (
                "the server has been unreachable for more than %.0f s; it will resume the task from the last checkpoint"
            )
            logger.error(why, ticket.grace_seconds)
        except StaleAttempt as error:
            logger.info("%s", error)
        except EpochdError:
            logger.exception("reporting failed")
            return ReportKind.FAILED
        return None

    def _run(self, ticket: Ticket | PredictionTicket, reporter: Reporter) -> ReportKind:
        """The training or the prediction; an error in it becomes a FAILED or HELD report."""
        try:
            if isinstance(ticket, PredictionTicket):
                return predict.execute(ticket, reporter)
            return self._train(ticket, reporter)
        except StaleAttempt:
            raise
        except RankFailed:
            logger.exception("another process of this training has died")
            reporter.close(DELIVERY_SECONDS)
            sys.exit(RANK_FAILED)  # counts as a crash of the worker: the server starts another attempt
        except Exception as error:
            kind, payload = final_report(error, ticket)
            logger.exception("the %s %s", ticket.noun, "waits" if kind is ReportKind.HELD else "failed")
            if reporter.last_word is None:
                reporter.emit(kind, payload)
            return reporter.last_word or kind

    def _send(self, line: str) -> None:
        """Write to the executor, if it still exists."""
        try:
            os.write(self._protocol_fd, f"{line}\n".encode())
        except BrokenPipeError:
            logger.info("the executor is gone; %r was not sent", line)


if __name__ == "__main__":
    sys.exit(main())
