"""The connections between the machines of one training: from the worker of rank 0, the leader, to that of each other
machine, a follower.

A follower sends lines of JSON: its ``hello`` with the secret of the meeting, then ``about``, what it has prepared, and
later ``ready``, ``release`` or ``error``. The leader sends orders: a line of JSON, then as many bytes as it says. A
connection that ends without the order ``end`` means that the other side is gone. Gradients do not come this way.
"""

import hmac
import json
import logging
import secrets
import select
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import psutil

from epochd.core.errors import DataError, Problem, RankFailed
from epochd.core.transfers import Meeting

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 120.0
"""How long the leader waits for the connections of the others, whose workers may have to import their framework."""
READY_SECONDS = 120.0
"""How long the others may take to start their ranks, once all have prepared their data."""
SEND_SECONDS = 60.0
"""How long a piece of an order may wait for a machine that does not take it."""
CHUNK_BYTES = 1 << 20
CHECK_SECONDS = 0.5
LINE_BYTES = 1 << 20
HELLO_SECONDS, HELLO_BYTES, MAX_STRANGERS = 5.0, 1 << 10, 64
"""How long a connection may wait with its hello, how long this may be, and how many connections may be without one."""
GONE = "is gone"
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
"""A machine that does not answer any more counts as gone after half a minute (tcp(7))."""

Order = tuple[dict[str, Any], bytes]


def own_address(server_url: str) -> str:
    """The address of this machine on the way to the server, by which other machines may reach it, too. Raises
    OSError."""
    parts = urlsplit(server_url)
    found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM)
    family, kind, protocol, _, target = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(target)  # of a datagram socket: nothing is sent
        return str(probe.getsockname()[0])


def interface_of(address: str) -> str | None:
    """The network interface that has this address; None if this machine has none."""
    found = psutil.net_if_addrs().items()
    return next((name for name, known in found if any(one.address.partition("%")[0] == address for one in known)), None)


def listening(address: str) -> socket.socket:
    """A socket that listens at the address, at a free port; at all addresses if this one is not of this machine."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address if interface_of(address) else "", 0), family=family, backlog=128)


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


@dataclass(eq=False)
class _Machine:
    """What the leader knows of a follower; ``node`` is -1 until its hello."""

    connection: socket.socket
    node: int = -1
    about: dict[str, Any] | None = None
    is_ready: bool = False
    gone: str | None = None
    unread: bytearray = field(default_factory=bytearray)
    since: float = field(default_factory=time.monotonic)

    def take(self, data: bytes) -> None:
        """Send to the machine. Raises OSError if it takes nothing for a while, however long it takes for all."""
        view = memoryview(data)
        for start in range(0, len(view), CHUNK_BYTES):
            self.connection.sendall(view[start : start + CHUNK_BYTES])

    def check(self, line: bytes | bytearray) -> None:
        """Raise ConnectionError if a line is longer than it may be."""
        if len(line) > (HELLO_BYTES if self.node < 0 else LINE_BYTES):
            raise ConnectionError("a line is too long")


def _forget(ready: selectors.BaseSelector, machine: _Machine) -> None:
    """Hear nothing more of a connection, and end it if it has not said which machine it is of."""
    ready.unregister(machine.connection)
    if machine.node < 0:
        machine.connection.close()


def _end_strangers(ready: selectors.BaseSelector, most: int) -> None:
    """End the connections that are without a hello for too long, and the oldest of them that are more than ``most``."""
    strangers = [key.data for key in ready.get_map().values() if key.data is not None and key.data.node < 0]
    strangers.sort(key=lambda one: -one.since)
    for index, one in enumerate(strangers):
        if index >= most or time.monotonic() - one.since > HELLO_SECONDS:
            _forget(ready, one)


class Leader:
    """The worker of rank 0, which waits at ``address`` for those of the other ``nodes - 1`` machines. ``on_release`` is
    called, in another thread, when one of them was told to end and asks for a checkpoint before."""

    def __init__(self, nodes: int, address: str, on_release: Callable[[], None] = lambda: None) -> None:
        self.nodes, self.address = nodes, address
        self._on_release = on_release
        self._door = listening(address)
        self.meeting = Meeting(address=address, port=self._door.getsockname()[1], secret=secrets.token_urlsafe(24))
        self._machines: dict[int, _Machine] = {}
        self._changed = threading.Condition()
        self._is_closed = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._listen, name="machines", daemon=True)
        self._thread.start()

    @property
    def is_complete(self) -> bool:
        """Whether all other machines have connected."""
        return len(self._machines) == self.nodes - 1

    def gather(self, about: dict[str, Any], check: Callable[[], None]) -> None:
        """Wait until all machines have prepared what the leader has: ``about`` describes it, the same on each.
        ``check`` is called while this waits. Raises RankFailed for a machine that does not come or is gone, DataError
        for one that has prepared something else."""
        self._wait(lambda: self.is_complete, "connected", CONNECT_SECONDS, check)
        self._wait(lambda: all(one.about is not None for one in self._machines.values()), "prepared", None, check)
        for node, machine in sorted(self._machines.items()):
            if differing := [name for name, value in about.items() if (machine.about or {}).get(name) != value]:
                message = f"machine {node + 1} of {self.nodes} has prepared something else: {', '.join(differing)}"
                hint = "the machines need the same data and the same version of epochd"
                raise DataError([Problem("num_nodes", message, hint)])

    def begin(self, **terms: Any) -> None:
        """Have the others start their ranks; returns once these are ready to join. Raises RankFailed."""
        self.send({"action": "begin"} | terms)
        self._wait(lambda: all(one.is_ready for one in self._machines.values()), "started its ranks", READY_SECONDS)

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Send an order to each other machine. Raises RankFailed."""
        data = _line({"bytes": len(payload)} | header) + payload
        for machine in self._known():
            try:
                machine.take(data)
            except OSError as error:
                with self._changed:
                    machine.gone = machine.gone or f"{GONE}: {error}"
                raise RankFailed(self.loss() or "") from error

    def loss(self) -> str | None:
        """Which machine is gone, and why; None if none is."""
        with self._changed:
            if self._failure is not None:
                return f"machine 1 of {self.nodes} does not hear the others any more: {self._failure}"
            gone = [(one.node, one.gone) for one in self._machines.values() if one.gone is not None]
            gone.sort(key=lambda one: one[1].startswith(GONE))  # the others may have ended with one that says why
            return f"machine {gone[0][0] + 1} of {self.nodes} {gone[0][1]}" if gone else None

    def close(self) -> None:
        """Let the other machines end. A second call does nothing."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
        for machine in self._known():
            with suppress(OSError):
                if machine.gone is None:
                    machine.take(_line({"action": "end", "bytes": 0}))
        self._thread.join(2 * CHECK_SECONDS)
        for connection in (self._door, *(one.connection for one in self._known())):
            connection.close()

    def _known(self) -> list[_Machine]:
        with self._changed:
            return list(self._machines.values())

    def __enter__(self) -> "Leader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(
        self,
        is_done: Callable[[], bool],
        what: str,
        seconds: float | None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        until = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            while not self._changed.wait_for(lambda: is_done() or self.loss() is not None, CHECK_SECONDS):
                check()
                if until is not None and time.monotonic() > until:
                    missing = self.nodes - 1 - len(self._machines)
                    who = f"{missing} of {self.nodes} machines have" if missing else "another machine has"
                    advice = "check that the machines reach each other (epochd agent --address)"
                    raise RankFailed(f"{who} not {what} within {seconds:g} s at {self.address}: {advice}")
        if not is_done():
            raise RankFailed(self.loss() or "")

    def _listen(self) -> None:
        """Take connections and what they say, until the leader closes."""
        try:
            with selectors.DefaultSelector() as ready:
                ready.register(self._door, selectors.EVENT_READ)
                try:
                    while not self._is_closed:
                        self._hear(ready)
                finally:
                    _end_strangers(ready, 0)
        except Exception as error:
            logger.exception("the connections of the other machines can no longer be heard")
            with self._changed:
                self._failure = f"{type(error).__name__}: {error}"
                self._changed.notify_all()

    def _hear(self, ready: selectors.BaseSelector) -> None:
        for key, _ in ready.select(CHECK_SECONDS):
            if key.data is None:
                self._accept(ready)
            elif not self._is_heard(key.data):
                _forget(ready, key.data)
        _end_strangers(ready, MAX_STRANGERS)

    def _accept(self, ready: selectors.BaseSelector) -> None:
        try:
            connection, _ = self._door.accept()
        except OSError as error:  # it has ended already, or there are too many open files
            logger.warning("a connection could not be accepted: %s", error)
            time.sleep(CHECK_SECONDS / 10)
            return
        try:
            _keep_alive(connection)
        except OSError:
            connection.close()
            return
        connection.settimeout(SEND_SECONDS)
        ready.register(connection, selectors.EVENT_READ, _Machine(connection))

    def _is_heard(self, machine: _Machine) -> bool:
        """Take what a connection says; False once there is nothing more to hear."""
        try:
            received = machine.connection.recv(1 << 16)
            machine.unread += received
            *lines, machine.unread = machine.unread.split(b"\n")
            with self._changed:
                for line in lines:
                    machine.check(line)
                    self._take(machine, json.loads(line))
                machine.check(machine.unread)
                if not received:
                    raise ConnectionError("the connection has ended")
                return True
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            with self._changed:
                machine.gone = machine.gone or f"{GONE}: {error}"
                self._changed.notify_all()
            return False

    def _take(self, machine: _Machine, message: dict[str, Any]) -> None:
        match message:
            case {"hello": str(secret), "node": int(node)} if machine.node < 0:
                is_known = hmac.compare_digest(secret.encode(), self.meeting.secret.encode())
                if not is_known or node in self._machines or not 0 < node < self.nodes:
                    raise ValueError("this connection does not belong to the training")
                machine.node = node
                self._machines[node] = machine
            case _ if machine.node < 0:
                raise ValueError("a connection begins with a hello")
            case {"about": dict(about)}:
                machine.about = about
            case {"ready": True}:
                machine.is_ready = True
            case {"release": True}:
                self._on_release()
            case {"error": str(why)}:
                machine.gone = f"has failed: {why}"
        self._changed.notify_all()


class Follower:
    """The worker of the machine ``node`` (1 …), connected with the leader. Raises RankFailed if it cannot be reached.
    ``address`` is the one by which others reach this machine."""

    def __init__(self, meeting: Meeting, node: int, address: str | None = None) -> None:
        try:
            self._connection = socket.create_connection((meeting.address, meeting.port), timeout=SEND_SECONDS)
        except OSError as error:
            reason = f"{error}; check that the machines reach each other (epochd agent --address)"
            raise RankFailed(f"machine 1 cannot be reached at {meeting.address}:{meeting.port}: {reason}") from error
        _keep_alive(self._connection)
        self._connection.settimeout(None)
        self.node, self.leader = node, meeting.address
        self.address = address or str(self._connection.getsockname()[0])
        self._stream: BinaryIO = self._connection.makefile("rb")
        self._say(hello=meeting.secret, node=node)

    @property
    def is_given_up(self) -> bool:
        """Whether the leader is gone, as ``check`` finds."""
        return False

    def check(self) -> None:
        """Raise RankFailed if the leader is gone, which has given no order yet."""
        if select.select([self._connection], [], [], 0)[0] and not self._connection.recv(1, socket.MSG_PEEK):
            raise RankFailed("the worker of rank 0 is gone")

    def describe(self, about: dict[str, Any]) -> dict[str, Any] | None:
        """Say what is prepared here; the terms with which the leader begins, None if it ends. Raises RankFailed."""
        self._say(about=about)
        return next((header for header, _ in self.orders()), None)

    def ready(self) -> None:
        """Say that the ranks of this machine are ready to join."""
        self._say(ready=True)

    def release(self) -> None:
        """Ask for a checkpoint, since this machine has to end; a signal handler may call it."""
        with suppress(RankFailed):
            self._say(release=True)

    def refuse(self, why: str) -> None:
        """Say why this machine cannot take part."""
        with suppress(RankFailed):
            self._say(error=why[-LINE_BYTES // 8 :])

    def orders(self) -> Iterator[Order]:
        """The orders of the leader, up to its ``end``. Raises RankFailed if it is gone before."""
        while True:
            try:
                header = json.loads(self._stream.readline())
                payload = self._stream.read(header["bytes"])
            except (OSError, ValueError, KeyError) as error:
                raise RankFailed("the worker of rank 0 is gone") from error
            if header["action"] == "end":
                return
            yield header, payload

    def shut(self) -> None:
        """End the connection; ``orders`` raises."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._stream.close()
        self._connection.close()

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _say(self, **message: Any) -> None:
        try:
            self._connection.sendall(_line(message))
        except OSError as error:
            raise RankFailed("the worker of rank 0 is gone") from error
