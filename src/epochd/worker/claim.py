"""The ticket of a worker that a cluster manager has started on some machine, such as a Ray job.

Its command line and its job are visible to others, so they contain no token: the worker gets its ticket from the server
by a code that is valid once. A code that somebody else has used before is refused, and the attempt starts again.
"""

import os
import platform
import secrets
import sys
import time
from pathlib import Path

import httpx
import psutil

import epochd
from epochd.artifact import files
from epochd.core.tickets import CLAIM_REFUSED, AttemptTicket, Claim, Claimed, PredictionTicket, Ticket, moved
from epochd.engines import registry

VARIABLE = "EPOCHD_CLAIM"
"""``<code> <URL of the server>``."""
FOLDER = "EPOCHD_DATA_DIR"
"""Where workers of this machine keep datasets and compiled programs, and what they have not sent to the server yet.
Default: ``~/.cache/epochd``."""
TRY_SECONDS, REQUEST_SECONDS = 60.0, 10.0
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.2, 5.0


def prepare() -> None:
    """Set what frameworks read when they are imported. The ticket is claimed later, when its lease runs."""
    os.umask(0o077)
    for name, value in registry.environment(_home()).items():
        os.environ.setdefault(name, value)
    os.environ.pop("OMP_NUM_THREADS", None)  # engines set their threads themselves


def claimed() -> Ticket | PredictionTicket | None:
    """The ticket, with the folders, the GPUs and the clock of this machine; None if the server only wanted to know
    about the machine. Exits with a message if there is none."""
    code, _, url = os.environ.pop(VARIABLE, "").partition(" ")
    if not url:
        sys.exit(f"{VARIABLE} is not set: this command is started by an epochd server")
    home = _home()
    home.mkdir(parents=True, exist_ok=True)
    answer = _answer(code, url)
    if answer.ticket is None:
        files.remove_unsent(home)
        return None
    return moved(answer.ticket, home, answer.now, gpus=_gpus(answer.ticket))


def _home() -> Path:
    return Path(os.environ.get(FOLDER) or Path.home() / ".cache" / "epochd").absolute()


def _answer(code: str, url: str) -> Claimed:
    """The server's answer to the code."""
    claim = Claim(
        session=secrets.token_hex(16),
        version=epochd.__version__,
        hostname=platform.node()[:255],
        cpus=os.cpu_count() or 1,
        memory=psutil.virtual_memory().total,
        frameworks=registry.installed(),
    ).model_dump_json()
    until, delay = time.monotonic() + TRY_SECONDS, FIRST_RETRY_SECONDS
    headers = {"Authorization": f"Bearer {code}", "Content-Type": "application/json"}
    with httpx.Client(base_url=url, headers=headers, timeout=REQUEST_SECONDS, trust_env=False) as client:
        while True:
            try:
                answer = client.post("/internal/claims", content=claim)
                if answer.is_success:
                    return Claimed.model_validate_json(answer.content)
                failure = f"{answer.status_code}: {answer.text[:500]}"
                if answer.status_code < 500 and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    print(f"{url} has no ticket for this worker any more: {failure}", file=sys.stderr)
                    sys.exit(CLAIM_REFUSED)
            except httpx.TransportError as error:
                failure = str(error) or type(error).__name__
            if time.monotonic() > until:
                print(f"the server cannot be reached at {url} from this machine: {failure}", file=sys.stderr)
                sys.exit(CLAIM_REFUSED)
            time.sleep(delay)
            delay = min(2 * delay, LAST_RETRY_SECONDS)


def _gpus(ticket: AttemptTicket) -> list[int]:
    """The ids of the GPUs that the cluster manager has assigned to this process."""
    if not ticket.gpus:
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    try:
        found = [int(part) for part in visible.split(",") if part]
    except ValueError:
        sys.exit(f"CUDA_VISIBLE_DEVICES={visible[:200]} contains no numeric ids")
    if len(found) < len(ticket.gpus):
        sys.exit(f"the training needs {len(ticket.gpus)} GPUs, and CUDA_VISIBLE_DEVICES={visible[:200]} names fewer")
    return found[: len(ticket.gpus)]
