"""The worker process: warmed up in advance, it trains the tickets that it reads from standard input.

It reports to the executor over an inherited pipe, one line at a time: ``ready [<fixed>]`` when it can take a ticket,
with the threads and devices that its framework has fixed for the process (``registry.fixed``), ``done <task_id>
<attempt>`` when it has finished one, ``return <task_id> <attempt> <needs>`` when it leaves one to a process with other
threads and devices. At the end of input it exits, after its job if it has one: a server that stops leaves no idle
process behind and interrupts no training.
"""

import argparse
import ctypes
import faulthandler
import gc
import logging
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from epochd.core.errors import EpochdError, NotFound, RankFailed, StaleAttempt, WrongProcess
from epochd.core.events import ReportKind
from epochd.core.tickets import NO_FRAMEWORK, RANK_FAILED, AttemptTicket, PredictionTicket, Ticket, read_ticket
from epochd.engines import registry
from epochd.engines.machines import Follower
from epochd.report import drawing
from epochd.worker import claim, predict
from epochd.worker.execute import execute
from epochd.worker.failures import final_report
from epochd.worker.follower import follow
from epochd.worker.limits import attempt_log, memory_limit
from epochd.worker.report import Reporter
from epochd.worker.transfer import LogSender
from epochd.worker.usage import Usage

logger = logging.getLogger("epochd.worker")

DRAW_AFTER_SECONDS = 1.0
"""How long a process waits for a ticket before it draws reports."""
DELIVERY_SECONDS = 5.0
"""How long a crash waits for the delivery of reports; the next attempt reports the rest from the checkpoint."""

TAKES_ANOTHER = frozenset({ReportKind.COMPLETED, ReportKind.PAUSED, ReportKind.CANCELLED})
"""The last reports of a job after which the process takes another one."""

Execute = Callable[[Ticket, Reporter], ReportKind]


def main(
    arguments: list[str] | None = None, *, warm: Callable[..., None] = registry.warm, train: Execute = execute
) -> int:
    """Run a worker until its input ends or the next job needs a new process; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m epochd.worker", description="Started by the epochd server.")
    parser.add_argument("--claim", action="store_true", help="run one ticket, which the server gives out by HTTP")
    parser.add_argument("--framework", default=NO_FRAMEWORK)
    parser.add_argument("--protocol-fd", type=int, default=-1)
    parser.add_argument("--one-ticket", action="store_true", help="exit after one training, which may use GPUs")
    parser.add_argument("--untouched", action="store_true", help="let the first training fix threads and devices")
    options = parser.parse_args(arguments)
    faulthandler.enable()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if options.claim:
        claim.prepare()
        options.one_ticket = True
    else:
        os.set_inheritable(options.protocol_fd, False)
    worker = Worker(options.protocol_fd, options.framework, train, one_ticket=options.one_ticket)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the server handles it
    signal.signal(signal.SIGTERM, worker.terminate)
    try:
        if options.framework != NO_FRAMEWORK:
            warm(options.framework, touch=not (options.one_ticket or options.untouched))
    except EpochdError as error:  # the framework is not installed: a traceback would not help
        sys.exit(error.message)
    if not options.claim:
        return worker.serve()
    ticket = claim.claimed()
    return 0 if ticket is None else worker.run(ticket)


class Worker:
    """Trains the tickets of standard input one after another."""

    def __init__(self, protocol_fd: int, framework: str, train: Execute, *, one_ticket: bool) -> None:
        self._protocol_fd = protocol_fd
        self._framework = framework
        self._train = train
        self._one_ticket = one_ticket
        self._is_terminated = False
        self._undrawn: deque[Path] = deque()
        self._ended_at = 0.0
        self._release: Callable[[], None] | None = None

    def serve(self) -> int:
        """Take tickets until the input ends, a job fails or belongs to another attempt, or the process is
        terminated."""
        gc.collect()
        gc.freeze()  # the framework's objects stay: searching them after each job would take a tenth of a second
        self._send_ready()
        while line := self._next_line():
            ticket = read_ticket(line)
            try:
                last_word = self._attempt(ticket)
            except WrongProcess as error:
                self._send(f"return {ticket.task_id} {ticket.attempt} {error.needs}")
            else:
                self._note_report(ticket, last_word)
                self._send(f"done {ticket.task_id} {ticket.attempt}")
                if last_word not in TAKES_ANOTHER or self._one_ticket or self._is_terminated:
                    return exit_code(last_word)
            release_memory()
            self._send_ready()
        return 0

    def run(self, ticket: Ticket | PredictionTicket) -> int:
        """Run one ticket."""
        return exit_code(self._attempt(ticket))

    def _next_line(self) -> bytes:
        """The next ticket. Once none has come for a while, the reports of finished models are drawn, one at a time."""
        while self._undrawn:
            wait = max(0.0, self._ended_at + DRAW_AFTER_SECONDS - time.monotonic())
            if select.select([sys.stdin.buffer], [], [], wait)[0]:
                break
            draw_report(self._undrawn.popleft())
        return sys.stdin.buffer.readline()

    def _note_report(self, ticket: Ticket | PredictionTicket, last_word: ReportKind | None) -> None:
        """Draw the report of a finished model later, or now if the process ends."""
        self._ended_at = time.monotonic()
        if isinstance(ticket, Ticket) and ticket.report and last_word is ReportKind.COMPLETED and not ticket.is_remote:
            self._undrawn.append(ticket.artifact_dir)
        while self._undrawn and (self._one_ticket or self._is_terminated):
            draw_report(self._undrawn.popleft())

    def terminate(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM: an idle worker exits at once, a training one saves a checkpoint first."""
        self._is_terminated = True
        if self._release is None:
            sys.exit(0)
        self._release()

    def _attempt(self, ticket: Ticket | PredictionTicket) -> ReportKind | None:
        """Train one ticket and deliver all its reports; None when the attempt no longer owns its task."""
        if self._one_ticket:  # takes effect because the framework has not used a GPU yet
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, ticket.gpus))
        if isinstance(ticket, Ticket) and ticket.node_rank:
            self._follow(ticket)
            return None
        owner = (ticket.server_url, ticket.task_id, ticket.attempt, ticket.token, ticket.lease_seconds)
        devices = ticket.spec.num_devices or len(ticket.gpus) if isinstance(ticket, Ticket) else 1
        usage = Usage(ticket.gpus, has_ranks=devices > 1)
        reporter = Reporter(*owner, grace_seconds=ticket.grace_seconds, usage=usage)
        self._release = reporter.release
        try:
            limit = memory_limit(None if ticket.is_memory_capped else ticket.memory_mb)
            with log_sent(ticket), attempt_log(ticket), limit:
                return self._train_and_report(ticket, reporter)
        finally:
            usage.close()
            self._release = None

    def _follow(self, ticket: Ticket) -> None:
        """Take part in a training that another machine leads, and reports on."""

        def note(follower: Follower) -> None:
            self._release = follower.release

        limit = memory_limit(None if ticket.is_memory_capped else ticket.memory_mb)
        try:
            with attempt_log(ticket), limit:
                follow(ticket, note)
        except StaleAttempt as error:
            logger.info("%s", error)
        except RankFailed:
            logger.exception("the training has ended on this machine")
            sys.exit(RANK_FAILED)
        finally:
            self._release = None

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
        except WrongProcess as error:
            logger.info("%s; it starts again in another process", error)
            reporter.close()
            raise
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
        except (StaleAttempt, WrongProcess):
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

    def _send_ready(self) -> None:
        self._send(f"ready {registry.fixed(self._framework)}".rstrip())

    def _send(self, line: str) -> None:
        """Write to the executor, if it still exists."""
        try:
            os.write(self._protocol_fd, f"{line}\n".encode())
        except BrokenPipeError:
            logger.info("the executor is gone; %r was not sent", line)


def exit_code(last_word: ReportKind | None) -> int:
    """That of a process whose last ticket has ended with this report."""
    return 1 if last_word is ReportKind.FAILED else 0


@contextmanager
def log_sent(ticket: AttemptTicket) -> Iterator[None]:
    """Send the log of an attempt on another machine to the server, until the end of the block."""
    sender = LogSender(ticket) if ticket.is_remote else None
    try:
        yield
    finally:
        if sender is not None:
            sender.close()


def draw_report(folder: Path) -> None:
    """Draw the report of a model; a failure is logged, and told to whoever asks for it (``drawing.draw``)."""
    try:
        drawing.draw(folder)
    except NotFound:
        logger.exception("the report of %s was not drawn", folder)


def release_memory() -> None:
    """Free what a job has left, and return free memory to the system, as far as the C library can."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    sys.exit(main())
