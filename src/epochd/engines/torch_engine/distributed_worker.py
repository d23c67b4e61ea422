"""A rank other than 0, started by ``distributed.Ranks``.

Its command is ``python -m epochd.engines.torch_engine.distributed_worker FOLDER RANK``.

It executes the commands of rank 0. A separate thread reads standard input, so that the exit of rank 0 is noticed even
in the middle of a step; the process then exits at once, since it has nothing to save.
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

Command = tuple[dict[str, Any], Arrays]


def main(folder: Path, rank: int) -> None:
    setup, train = distributed.load(folder)
    engine = TorchEngine(setup, train, rank)
    commands: SimpleQueue[Command] = SimpleQueue()
    Thread(target=listen, args=(commands, folder), daemon=True).start()
    print("ready", flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    distributed.join(folder, setup, rank)
    while True:
        execute(engine, *commands.get())


def listen(commands: SimpleQueue[Command], folder: Path) -> None:
    """Read commands until rank 0 closes the pipe or dies; then delete the folder and exit."""
    for line in sys.stdin.buffer:
        header = json.loads(line)
        commands.put((header, safetensors.numpy.load(sys.stdin.buffer.read(header["bytes"]))))
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def execute(engine: TorchEngine, header: dict[str, Any], arrays: Arrays) -> None:
    match header["action"]:
        case "train":
            engine.train(arrays["rows"].astype(np.int64, copy=False), header["step"], header["learning_rate"])
        case "load_rows":
            rows: Any = arrays
            engine.load_rows(InMemoryDataset(rows["x"], rows["y"], rows.get("weights")))
        case "load_weights":
            engine.load_weights(arrays)
        case "load_optimizer_state":
            engine.load_optimizer_state(arrays)
        case unknown:
            raise ValueError(f"rank 0 sent the unknown command {unknown!r}")


def run(folder: Path, rank: int) -> int:
    """``main`` with an exit code that distinguishes an own error from the loss of another rank."""
    try:
        main(folder, rank)
    except distributed.PeerLost:
        return distributed.PEER_LOST
    except BaseException:
        traceback.print_exc()
    return 1


if __name__ == "__main__":
    # not sys.exit: that would wait for the lock on stdin, which the reading thread holds
    os._exit(run(Path(sys.argv[1]), int(sys.argv[2])))
