"""Data-parallel training in several processes: rank 0 (the worker itself) starts the others and sends them commands.
On other machines their workers start them (``follow``), and pass the commands on.

Every rank has all weights and its share of each global batch; the ranks add up their gradients before each optimizer
step. DistributedDataParallel does the same in buckets that overlap with the backward pass; here the whole gradient is
one flat tensor, so that one all-reduce is enough.

Setup and rows are passed as JSON and .npy files, commands through the rank's standard input; nothing is pickled. A rank
exits at the end of its input: at ``close``, and when the worker dies. Not tested with nccl.

The number of a rank decides what it computes and in which order gloo adds, not its machine: n machines with d ranks
each compute what one with n x d ranks does, bit for bit, if their ranks have as many threads.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import IO, Any

import numpy as np
import safetensors.numpy
import torch
import torch.distributed as dist
from torch import Tensor

from epochd.core import specs
from epochd.core.errors import RankFailed
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import machines
from epochd.engines.machines import Follower, Leader
from epochd.loop.engine import Arrays, Embedding, Setup

JOIN_TIMEOUT = timedelta(minutes=2)
"""How long the ranks of several machines may take to find each other."""
COLLECTIVE_TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for the others inside one step."""
GRACE_SECONDS = 5.0
"""How long a rank may take to exit by itself."""
LOG_LINES = 12
WATCH_SECONDS = 0.2
MEETING = "meeting.json"
"""In the folder of ranks on several machines: where they find each other."""
PEER_LOST = 75
"""Exit code of a rank that failed only because another rank died (EX_TEMPFAIL of sysexits.h)."""


class PeerLost(Exception):
    """A collective operation failed because another rank died."""


ReadBlock = Callable[[int, int, int], InMemoryDataset]
"""``prefetch.block`` of the rows of a training."""


def local_ranks(setup: Setup) -> int:
    """The number of ranks of each machine."""
    return max(1, len(setup.gpus) or setup.devices)


def world_size(setup: Setup) -> int:
    """The number of ranks that split each batch."""
    return setup.nodes * local_ranks(setup)


def share(rows: int, rank: int, ranks: int) -> slice:
    """The rows of a global batch that belong to a rank; possibly none of a small last batch."""
    return slice(rows * rank // ranks, rows * (rank + 1) // ranks)


def join(folder: Path, setup: Setup, rank: int, store: Any = None) -> None:
    """Join the process group; returns when all ranks have joined. On one machine they find each other through a file
    (no port is needed), on several through a ``store``, by default the one that the folder names."""
    address: str | None = None
    options: dict[str, Any] = {"init_method": f"file://{folder}/rendezvous"}
    if setup.nodes > 1:
        meeting = json.loads((folder / MEETING).read_text())
        address = meeting["address"]
        options = {"store": store or store_at(meeting["host"], meeting["port"])}
    with _interface(address, "NCCL" if setup.gpus else "GLOO"):
        dist.init_process_group(
            "nccl" if setup.gpus else "gloo",
            rank=rank,
            world_size=world_size(setup),
            timeout=COLLECTIVE_TIMEOUT,
            **options,
        )


def store_at(host: str, port: int, **options: Any) -> Any:
    """The store through which the ranks of several machines find each other."""
    found: Any = getattr(dist, "TCPStore")  # noqa: B009 - PyTorch does not declare that it exports it
    return found(host, port, timeout=JOIN_TIMEOUT, **options)


@contextmanager
def _interface(address: str | None, library: str) -> Iterator[None]:
    """Have a library use the network interface with this address, by default loopback, unless the operator has chosen
    one. gloo reads that within the block, nccl when it is first used, in a process that trains once."""
    variable = f"{library}_SOCKET_IFNAME"
    name = machines.interface_of(address or "127.0.0.1")
    if variable in os.environ or name is None or (library == "NCCL" and address is None):
        yield
        return
    os.environ[variable] = name
    try:
        yield
    finally:
        if library == "GLOO":  # the next training of this process may need another one
            del os.environ[variable]


def all_reduce(tensor: Tensor) -> None:
    """Replace the tensor by its sum over all ranks; raises PeerLost if one of them died."""
    try:
        dist.all_reduce(tensor)
    except RuntimeError as error:
        raise PeerLost(str(error)) from error


class Processes:
    """Ranks of this machine in processes of their own, from number ``first`` on. On one of several machines ``meeting``
    are the ``host`` and the ``port`` of the store, and the ``address`` of this machine."""

    def __init__(self, setup: Setup, train: InMemoryDataset, first: int, count: int, **meeting: Any) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="epochd-ranks-"))
        self._world, self._first = world_size(setup), first
        self._children: list[subprocess.Popen[bytes]] = []
        try:
            save(self._folder, setup, train)
            (self._folder / MEETING).write_text(json.dumps(meeting))
            for rank in range(first, first + count):
                command = [sys.executable, "-m", f"{__package__}.distributed_worker", str(self._folder), str(rank)]
                with self._log(rank).open("wb") as log:
                    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
                self._children.append(child)
            for child in self._children:
                if _pipe(child.stdout).readline() != b"ready\n":
                    raise self.failure()
        except BaseException:
            self.close()
            raise

    def _log(self, rank: int) -> Path:
        return self._folder / f"rank{rank}.log"

    def send(self, header: dict[str, Any], payload: bytes) -> None:
        """Send a command to each of these ranks: a line of JSON, then as many bytes as it says."""
        data = json.dumps({"bytes": len(payload)} | header).encode() + b"\n" + payload
        for child in self._children:
            try:
                pipe = _pipe(child.stdin)
                pipe.write(data)
                pipe.flush()
            except OSError as error:
                raise self.failure() from error

    def has_ended(self) -> bool:
        """Whether one of these ranks has."""
        return any(child.poll() is not None for child in self._children)

    def loss(self) -> str | None:
        """Which rank died first, not because of another one, and its last words; None if none did."""
        for rank, child in enumerate(self._children, self._first):
            code = child.poll()
            if code is not None and code != PEER_LOST:
                ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
                log = self._log(rank).read_text(errors="replace").splitlines()[-LOG_LINES:]
                words = log or ["(none; after signal 9, check whether the kernel ran out of memory)"]
                return f"rank {rank} of {self._world} {ended}; its last log lines:\n" + "\n".join(words)
        return None

    def failure(self, otherwise: str | None = None) -> RankFailed:
        """The error that names the rank that died and quotes its log; ``otherwise`` is what it says if none did."""
        deadline = monotonic() + GRACE_SECONDS
        while (why := self.loss()) is None and monotonic() < deadline:
            sleep(0.02)
        return RankFailed(why or otherwise or f"one of {self._world} ranks stopped answering; train on fewer devices")

    def close(self) -> None:
        """Stop these ranks."""
        for child in self._children:
            _close(child.stdin)
        for child in self._children:
            try:
                child.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            _close(child.stdout)
        shutil.rmtree(self._folder, ignore_errors=True)


class Ranks(Processes):
    """All other ranks, controlled by rank 0: those of this machine, and those of others through their workers, if there
    is a ``leader`` that has them connected. Those use as many ``threads`` as rank 0."""

    def __init__(
        self, setup: Setup, train: InMemoryDataset, leader: Leader | None = None, threads: int | None = None
    ) -> None:
        self._gpu, self._leader = bool(setup.gpus), leader
        store: Any = None
        meeting: dict[str, Any] = {}
        if leader is not None:
            store, meeting = _meeting(leader)
        super().__init__(setup, train, 1, local_ranks(setup) - 1, address=leader and leader.address, **meeting)
        try:
            if leader is not None:
                leader.begin(threads=threads, **meeting)
            join(self._folder, setup, 0, store)
        except RuntimeError as error:  # as PyTorch says what it cannot reach
            why = f"the {self._world} ranks cannot join: {error}"
            failure = None if leader is None else self.failure(why)  # before the logs are deleted
            self.close()
            if failure is None:
                raise
            raise failure from error
        except BaseException:
            self.close()
            raise

    def broadcast(self, action: str, arrays: Arrays, **options: Any) -> None:
        """Send a command to every other rank, with the arrays as safetensors."""
        payload, header = _packed(arrays), {"action": action, **options}
        self.send(header, payload)
        if self._leader is not None:
            self._leader.send(header, payload)

    def load_rows(self, rows: InMemoryDataset) -> None:
        """Replace the rows of every other rank. Other machines read the block themselves."""
        if self._leader is None or rows.block is None:
            return self.broadcast("load_rows", _arrays(rows))
        self.send({"action": "load_rows"}, _packed(_arrays(rows)))
        self._leader.send({"action": "load_block", "block": rows.block})

    def wait_for(self, device: torch.device) -> None:
        """Wait for the device; raises RankFailed, instead of waiting forever, if another rank has died."""
        if not self._gpu:
            return
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(device))
        while not done.query():  # type: ignore[no-untyped-call]
            if self.has_ended() or (self._leader is not None and self._leader.loss() is not None):
                raise self.failure()
            sleep(0.0005)

    def loss(self) -> str | None:
        return super().loss() or (self._leader.loss() if self._leader is not None else None)

    def close(self) -> None:
        """Stop the other ranks of this machine, let the other machines end, and leave the process group."""
        if self._leader is not None:
            self._leader.close()
        super().close()
        if dist.is_initialized():
            dist.destroy_process_group()


def _meeting(leader: Leader) -> tuple[Any, dict[str, Any]]:
    """The store of rank 0, through which the ranks find each other, and its host and port. Raises RankFailed."""
    door = machines.listening(leader.address)
    found = {"host": leader.address, "port": door.getsockname()[1]}
    try:
        return store_at(**found, is_master=True, wait_for_workers=False, master_listen_fd=door.detach()), found
    except RuntimeError as error:
        raise RankFailed(f"this machine cannot reach itself at {leader.address}: {error}") from error


def follow(setup: Setup, train: InMemoryDataset, follower: Follower, terms: dict[str, Any], read: ReadBlock) -> None:
    """Run the ranks of a machine that is not the first, from the ``terms`` of rank 0 to its end. ``read`` reads a block
    of the rows of this machine. Raises RankFailed if one of these ranks dies, or rank 0 is gone."""
    setup, count = replace(setup, chosen_threads=terms["threads"]), local_ranks(setup)
    meeting = {"host": terms["host"], "port": terms["port"], "address": follower.address}
    ranks = Processes(setup, train, follower.node * count, count, **meeting)
    is_over = Event()
    watch = Thread(target=_watch, args=(ranks, follower, is_over), daemon=True)
    try:
        follower.ready()
        watch.start()
        for header, payload in follower.orders():
            if header["action"] == "load_block":
                ranks.send({"action": "load_rows"}, _packed(_arrays(read(*header["block"]))))
            else:
                ranks.send(header, payload)
    except RankFailed:
        if not ranks.has_ended():
            raise
        failure = ranks.failure()
        follower.refuse(failure.message)
        raise failure from None
    finally:
        is_over.set()
        if watch.is_alive():  # it may read the logs, which are about to be deleted
            watch.join(GRACE_SECONDS)
        ranks.close()


def _watch(ranks: Processes, follower: Follower, is_over: Event) -> None:
    """End the connection with rank 0 once a rank of this machine has ended, so that neither waits for it."""
    while not is_over.wait(WATCH_SECONDS):
        if ranks.has_ended():
            if (why := ranks.loss()) is not None:
                follower.refuse(why)
            follower.shut()
            return


def _arrays(rows: InMemoryDataset) -> Arrays:
    weights = {} if rows.weights is None else {"weights": rows.weights}
    return {"x": rows.x, "y": rows.y, **weights}


def _packed(arrays: Arrays) -> bytes:
    """The arrays as safetensors."""
    return safetensors.numpy.save({name: np.ascontiguousarray(value) for name, value in arrays.items()})


def save(folder: Path, setup: Setup, train: InMemoryDataset) -> None:
    """Write the setup as JSON and the rows as .npy files, which all ranks map into the same memory."""
    values = asdict(setup) | {"spec": setup.spec.model_dump(mode="json")}
    (folder / "setup.json").write_text(json.dumps(values))
    np.save(folder / "x.npy", train.x)
    np.save(folder / "y.npy", train.y)
    if train.weights is not None:
        np.save(folder / "weights.npy", train.weights)


def load(folder: Path) -> tuple[Setup, InMemoryDataset]:
    values = json.loads((folder / "setup.json").read_text())
    values["spec"] = specs.parse(values["spec"])
    for name in ("inputs", "gpus", "class_weights", "target_log"):
        values[name] = values[name] if values[name] is None else tuple(values[name])
    values["embeddings"] = tuple(Embedding(**embedding) for embedding in values["embeddings"])
    names = [name for name in ("x", "y", "weights") if (folder / f"{name}.npy").exists()]
    rows: Any = {name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in names}
    return Setup(**values), InMemoryDataset(**rows)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("the rank was started without this pipe")
    return pipe


def _close(pipe: IO[bytes] | None) -> None:
    """Closing flushes, which fails for the pipe of a dead rank."""
    with suppress(OSError):
        _pipe(pipe).close()
