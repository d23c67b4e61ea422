"""A worker process whose trainings are scripted: run by the tests of the process side, with the real main.

What a ticket's training does is chosen by its spec's name.
"""

import faulthandler
import os
import resource
import sys
import time

from epochd.core.errors import DataError, OutOfSpace, Problem, RankFailed, WrongProcess
from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.core.tickets import Ticket
from epochd.worker.__main__ import main
from epochd.worker.report import Reporter

FAULTS = {
    "raise": RuntimeError("the dice fell badly"),
    "raise data error": DataError([Problem("dataset", "it is gone", "bring it back")]),
    "run out of room": OutOfSpace("the disk is full", 1000),
}


def train(ticket: Ticket, reporter: Reporter) -> ReportKind:
    match ticket.spec.name:
        case "complete":
            print("printed by Python")
            os.write(2, b"written below Python\n")
            reporter.emit(ReportKind.EPOCH, {"epoch": 1})
            return finish(reporter, ReportKind.COMPLETED)
        case "wait":
            reporter.emit(ReportKind.STARTED, {})
            command = wait_for_command(reporter)
            return finish(reporter, ReportKind.CANCELLED if command is Command.CANCEL else ReportKind.PAUSED)
        case "wait, then complete":
            reporter.emit(ReportKind.STARTED, {})
            wait_for_command(reporter)
            return finish(reporter, ReportKind.COMPLETED)
        case "tell the limit":
            print(resource.getrlimit(resource.RLIMIT_DATA)[0])
            return finish(reporter, ReportKind.COMPLETED)
        case name if name in FAULTS:
            raise FAULTS[name]
        case "need another process":
            raise WrongProcess("this process has one thread", "2x1")
        case "lose a rank":
            reporter.emit(ReportKind.EPOCH, {"epoch": 1})
            raise RankFailed("rank 1 of 2 was killed by signal 9")
        case "raise after the last word":
            finish(reporter, ReportKind.COMPLETED)
            raise RuntimeError("too late")
        case "segfault":
            faulthandler._sigsegv()  # type: ignore[attr-defined]
    raise AssertionError(ticket.spec.name)


def finish(reporter: Reporter, kind: ReportKind) -> ReportKind:
    reporter.emit(kind, {})
    return kind


def wait_for_command(reporter: Reporter) -> Command:
    while (command := reporter.command()) is Command.CONTINUE:
        time.sleep(0.005)
    return command


if __name__ == "__main__":
    sys.exit(main(warm=lambda framework, touch: print(f"warm {framework}"), train=train))
