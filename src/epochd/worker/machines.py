"""A training on several machines, as its workers see it: they find each other through the server, prepare the same data
each for itself, and train together (``engines.machines``).

Only the worker of rank 0 reports and saves checkpoints. The others end when it does, and when it is gone.
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

import epochd
from epochd.core.errors import RankFailed, StaleAttempt
from epochd.core.tickets import Ticket
from epochd.core.transfers import Meeting
from epochd.data.feed import prefetch
from epochd.data.prepare import Prepared
from epochd.engines import machines
from epochd.engines.machines import Leader
from epochd.loop.engine import Setup
from epochd.loop.members import FitConfig
from epochd.worker.sink import Reporter
from epochd.worker.transfer import connect

logger = logging.getLogger(__name__)

ANNOUNCE_SECONDS = 2.0
"""How often the place of the meeting is told, until all are there: a new server does not know it."""
WAIT_SECONDS = 10.0
"""How long one question for it may take."""
SAMPLE = 1_000
"""How many encoded rows the machines compare."""


@contextmanager
def led(ticket: Ticket, reporter: Reporter) -> Iterator[Leader | None]:
    """The leader of the machines of a training, None on one machine. It tells the server where it waits."""
    if ticket.spec.nodes == 1:
        yield None
        return
    address = ticket.node_address or machines.own_address(ticket.server_url)
    with Leader(ticket.spec.nodes, address, reporter.release) as leader, connect(ticket) as client:
        is_over = threading.Event()
        announcing = threading.Thread(target=_announce, args=(ticket, leader, client, is_over), daemon=True)
        announcing.start()
        try:
            yield leader
        finally:
            is_over.set()
            announcing.join()


def _announce(ticket: Ticket, leader: Leader, client: httpx.Client, is_over: threading.Event) -> None:
    body, path = leader.meeting.model_dump_json(), f"/internal/attempts/{ticket.task_id}/meeting"
    while not leader.is_complete:
        try:
            client.put(path, params={"attempt": ticket.attempt}, content=body).raise_for_status()
        except httpx.HTTPError as error:  # the reporter finds out whether the attempt is over
            logger.info("the other machines were not told where this one is: %s", error)
        if is_over.wait(ANNOUNCE_SECONDS):
            return


def about(prepared: Prepared, setup: Setup, config: FitConfig, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """What all machines of a training have to have in common: their version, data and network."""
    rows = prefetch.initial_rows(config.batches, config.train)
    step = max(1, len(rows) // SAMPLE)
    sample = hashlib.sha256(rows.x[::step].tobytes() + rows.y[::step].tobytes()).hexdigest()
    encoder = json.dumps(prepared.encoder.as_json(), sort_keys=True)
    return {
        "version": epochd.__version__,
        "data": dict(fingerprints),
        "encoder": hashlib.sha256(encoder.encode()).hexdigest(),
        "rows": [len(prepared.train), sample],
        "network": [list(setup.inputs), setup.outputs],
        "ranks": len(setup.gpus) or setup.devices,
    }


def found(ticket: Ticket) -> Meeting:
    """Where the worker of rank 0 waits, which tells once it has fetched its data, however long that takes: the server
    knows whether it lives. Raises StaleAttempt if the attempt is over, RankFailed if the server does not answer for too
    long."""
    until = time.monotonic() + machines.CONNECT_SECONDS
    path = f"/internal/attempts/{ticket.task_id}/meeting"
    with connect(ticket) as client:
        while time.monotonic() < until:
            began = time.monotonic()
            try:
                answer = client.get(path, params={"attempt": ticket.attempt, "wait": WAIT_SECONDS})
            except httpx.TransportError as error:
                logger.info("the server is unreachable: %s", error)
            else:
                if answer.status_code == 200:
                    return Meeting.model_validate_json(answer.content)
                if answer.status_code in (401, 409):
                    raise StaleAttempt("the attempt is over before its machines have met")
                if answer.status_code == 204:
                    until = time.monotonic() + machines.CONNECT_SECONDS
            time.sleep(max(0.0, 0.5 - (time.monotonic() - began)))
    raise RankFailed(f"the server has not told for {machines.CONNECT_SECONDS:g} s where the worker of rank 0 is")
