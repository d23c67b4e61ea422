"""Data-parallel training in several processes: rank 0 (the worker itself) starts the others and sends them commands.

Every rank has all weights and its share of each global batch; the ranks add up their gradients before each optimizer
step. DistributedDataParallel does the same in buckets that overlap with the backward pass; here the whole gradient is
one flat tensor, so that one all-reduce is enough.

Setup and rows are passed as JSON and .npy files, commands through the rank's standard input; nothing is pickled. A rank
exits at the end of its input: at ``close``, and when the worker dies. Not tested with nccl.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
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
from epochd.loop.engine import Arrays, Embedding, Setup

COLLECTIVE_TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for the others inside one step."""
GRACE_SECONDS = 5.0
"""How long a rank may take to exit by itself."""
LOG_LINES = 12
PEER_LOST = 75
"""Exit code of a rank that failed only because another rank died (EX_TEMPFAIL of sysexits.h)."""


class PeerLost(Exception):
    """A collective operation failed because another rank died."""


def world_size(setup: Setup) -> int:
    """The number of ranks that split each batch."""
    return max(1, len(setup.gpus) or setup.devices)


def share(rows: int, rank: int, ranks: int) -> slice:
    """The rows of a global batch that belong to a rank; possibly none of a small last batch."""
    return slice(rows * rank // ranks, rows * (rank + 1) // ranks)


def join(folder: Path, setup: Setup, rank: int) -> None:
    """Join the process group through a file (no port is needed); returns when all ranks have joined."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    dist.init_process_group(
        "nccl" if setup.gpus else "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=world_size(setup),
        timeout=COLLECTIVE_TIMEOUT,
    )


def all_reduce(tensor: Tensor) -> None:
    """Replace the tensor by its sum over all ranks; raises PeerLost if one of them died."""
    try:
        dist.all_reduce(tensor)
    except RuntimeError as error:
        raise PeerLost(str(error)) from error


class Ranks:
    """The processes of the other ranks, controlled by rank 0."""

    def __init__(self, setup: Setup, train: InMemoryDataset) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="epochd-ranks-"))
        self._gpu = bool(setup.gpus)
        self._children: list[subprocess.Popen[bytes]] = []
        try:
            save(self._folder, setup, train)
            for rank in range(1, world_size(setup)):
                command = [sys.executable, "-m", f"{__package__}.distributed_worker", str(self._folder), str(rank)]
                with self._log(rank).open("wb") as log:
                    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
                self._children.append(child)
            for child in self._children:
                if _pipe(child.stdout).readline() != b"ready\n":
                    raise self.failure()
            join(self._folder, setup, 0)
        except BaseException:
            self.close()
            raise

    def _log(self, rank: int) -> Path:
        return self._folder / f"rank{rank}.log"

    def broadcast(self, action: str, arrays: Arrays, **options: Any) -> None:
        """Send a command to every other rank: a line of JSON, then the arrays as safetensors."""
        payload = safetensors.numpy.save({name: np.ascontiguousarray(value) for name, value in arrays.items()})
        header = json.dumps({"action": action, "bytes": len(payload), **options}).encode() + b"\n"
        for child in self._children:
            try:
                pipe = _pipe(child.stdin)
                pipe.write(header + payload)
                pipe.flush()
            except OSError as error:
                raise self.failure() from error

    def wait_for(self, device: torch.device) -> None:
        """Wait for the device; raises RankFailed, instead of waiting forever, if another rank has died."""
        if not self._gpu:
            return
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(device))
        while not done.query():  # type: ignore[no-untyped-call]
            if any(child.poll() is not None for child in self._children):
                raise self.failure()
            sleep(0.0005)

    def failure(self) -> RankFailed:
        """The error that names the rank that died and quotes its log."""
        deadline = monotonic() + GRACE_SECONDS
        while monotonic() < deadline and not self._dead_rank():
            sleep(0.02)
        rank, code = self._dead_rank() or (0, 0)
        if not rank:
            return RankFailed(f"one of {len(self._children) + 1} ranks stopped answering; train on fewer devices")
        ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        log = self._log(rank).read_text(errors="replace").splitlines()[-LOG_LINES:]
        return RankFailed(
            f"rank {rank} of {len(self._children) + 1} {ended}; its last log lines:\n"
            + "\n".join(log or ["(none; after signal 9, check whether the kernel ran out of memory)"])
        )

    def _dead_rank(self) -> tuple[int, int] | None:
        """(rank, exit code) of a rank that died first, not because of another one."""
        for rank, child in enumerate(self._children, 1):
            code = child.poll()
            if code is not None and code != PEER_LOST:
                return rank, code
        return None

    def close(self) -> None:
        """Stop the other ranks and leave the process group."""
        for child in self._children:
            _close(child.stdin)
        for child in self._children:
            try:
                child.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            _close(child.stdout)
        if dist.is_initialized():
            dist.destroy_process_group()
        shutil.rmtree(self._folder, ignore_errors=True)


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
