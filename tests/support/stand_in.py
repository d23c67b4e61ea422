"""A stand-in for a worker process: it speaks the executor's protocol and trains nothing.

What it does with a ticket is chosen by the name in its spec; what it does before it is ready, by ``--gate``
(a named pipe: it is ready once someone has opened it for writing) and ``--broken``.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from epochd.worker import claim

parser = argparse.ArgumentParser()
parser.add_argument("--gate")
parser.add_argument("--broken", action="store_true")
parser.add_argument("--framework", default="none")
parser.add_argument("--claim", action="store_true")
parser.add_argument("--one-ticket", action="store_true")
parser.add_argument("--untouched", action="store_true")
parser.add_argument("--protocol-fd", type=int)
options = parser.parse_args()
if options.protocol_fd is not None:
    os.set_inheritable(options.protocol_fd, False)


def say(line: str) -> None:
    if options.protocol_fd is not None:
        os.write(options.protocol_fd, f"{line}\n".encode())


def tickets() -> Iterator[str]:
    """Those of standard input; or the one of a claim, if the server has one."""
    if not options.claim:
        yield from sys.stdin
    elif (claimed := claim.claimed()) is not None:
        yield claimed.model_dump_json()


def log(ticket: dict[str, Any], line: str) -> None:
    folder = os.path.join(ticket["data_dir"], "logs", ticket["task_id"])
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, f"{ticket['attempt']}.log"), "a") as file:
        file.write(f"{line}\n")


if options.broken:
    sys.exit("the framework is not what it was")
if options.gate:
    open(options.gate).close()
fixed = "" if options.untouched or options.framework in ("pytorch", "none") else " 1x1"
say(f"ready{fixed}")
for line in tickets():
    ticket = json.loads(line)
    log(ticket, f"process {os.getpid()}")
    log(ticket, f"framework {options.framework}")
    match ticket["spec"]["name"]:
        case "done":
            log(ticket, f"memory capped {ticket['is_memory_capped']}")
            say(f"done {ticket['task_id']} {ticket['attempt']}")
            if options.one_ticket:
                sys.exit(0)
            say(f"ready{fixed}")
        case "needs 2x1" if fixed not in ("", " 2x1"):
            say(f"return {ticket['task_id']} {ticket['attempt']} 2x1")
            say(f"ready{fixed}")
        case "needs 2x1":
            fixed = " 2x1"
            say(f"done {ticket['task_id']} {ticket['attempt']}")
            say(f"ready{fixed}")
        case "done, then exit":
            say(f"done {ticket['task_id']} {ticket['attempt']}")
            sys.exit(0)
        case "exit 3":
            for number in range(100):
                log(ticket, f"line {number}")
            sys.exit(3)
        case "vanish":
            sys.exit(0)
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            child = subprocess.Popen(["sleep", "1000"])
            log(ticket, f"child {child.pid}")
            time.sleep(1000)
        case "take 400 MiB":
            taken = b"x" * (400 * 2**20)
            time.sleep(1000)
        case "take 400 MiB in a rank":
            subprocess.run([sys.executable, "-c", "b'x' * (400 * 2**20)"])
            sys.exit(71)
        case "look around":
            log(ticket, json.dumps({"env": [name for name in os.environ if name.startswith("EPOCHD_")]}))
            log(ticket, json.dumps({"leads": os.getpid() == os.getpgid(0) == os.getsid(0)}))
            say(f"done {ticket['task_id']} {ticket['attempt']}")
