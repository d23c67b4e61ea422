"""A rank other than 0, started by ``distributed.Ranks``.

Its command is ``python -m epochd.engines.torch_engine.distributed_worker FOLDER RANK``.

It does what rank 0 does, when rank 0 says so. A thread of its own reads stdin, so that the end of rank 0 is
noticed even in the middle of a step; the process then ends at once, there is nothing in it worth saving.
"""

import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
import safetensors.numpy

from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines.torch_engine import distributed
from epochd.engines.torch_engine.engine import TorchEngine
from epochd.loop.engine import Arrays

Order = tuple[dict[str, Any], Arrays]


def main(folder: Path, rank: int) -> None:
    setup, train = distributed.load(folder)
    engine = TorchEngine(setup, train, rank)
    orders: SimpleQueue[Order] = SimpleQueue()
    Thread(target=listen, args=(orders, folder), daemon=True).start()
    print("ready", flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    distributed.join(folder, setup, rank)
    while True:
        obey(engine, *orders.get())


def listen(orders: SimpleQueue[Order], folder: Path) -> None:
    """Read orders until rank 0 closes the pipe or dies; then clean up, in case it could not, and end the process."""
    for line in sys.stdin.buffer:
        facts = json.loads(line)
        orders.put((facts, safetensors.numpy.load(sys.stdin.buffer.read(facts["bytes"]))))
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def obey(engine: TorchEngine, facts: dict[str, Any], arrays: Arrays) -> None:
    match facts["action"]:
        case "train":
            engine.train(arrays["rows"].astype(np.int64, copy=False), facts["step"], facts["learning_rate"])
        case "load_rows":
            rows: Any = arrays
            engine.load_rows(InMemoryDataset(rows["x"], rows["y"]))
        case "load_weights":
            engine.load_weights(arrays)
        case "load_optimizer_state":
            engine.load_optimizer_state(arrays)
        case unknown:
            raise ValueError(f"rank 0 asked for {unknown!r}, which no rank can do")


def run(folder: Path, rank: int) -> int:
    """``main`` with an exit code: a rank's own error is told from the loss of another one."""
    try:
        main(folder, rank)
    except distributed.PeerLost:
        return distributed.LOST_A_PEER
    except BaseException:
        traceback.print_exc()
    return 1


if __name__ == "__main__":
    # not sys.exit: at a tidy end Python would wait for the lock that the reading thread holds on stdin
    os._exit(run(Path(sys.argv[1]), int(sys.argv[2])))
