"""What an attempt uses of its machine."""

import multiprocessing
import time
from types import SimpleNamespace

import numpy as np

from epochd.worker import usage
from epochd.worker.usage import Usage


def test_memory_and_busy_cores_of_this_process(monkeypatch):
    monkeypatch.setattr(usage, "MEASURED_SECONDS", 0.0)
    measured = Usage()
    times = [now()]
    before = measured.current()
    times.append(now())
    assert before["cpu"] is None
    held = np.ones(40_000_000, np.uint8)
    while now()[1] - times[1][1] < 0.3:
        held.sum()
    times.append(now())
    after = measured.current()
    times.append(now())
    assert after["memory"] - before["memory"] > 30_000_000
    (long, most), (short, least) = np.subtract(times[3], times[0]), np.subtract(times[2], times[1])
    lowest, highest = (least - 0.05) / long, (most + 0.05) / short  # the kernel counts hundredths of a second
    assert lowest - 0.01 < after["cpu"] < highest + 0.01
    assert after["gpus"] == []


def now():
    """The time, and the processor time of this process."""
    return time.monotonic(), time.process_time()


def test_a_figure_is_kept_for_a_second(monkeypatch):
    clock = SimpleNamespace(monotonic=iter([100.0, 100.9, 101.1]).__next__)
    monkeypatch.setattr(usage, "time", clock)
    measured = Usage()
    first = measured.current()
    assert measured.current() == first
    assert (first["cpu"], measured.current()["cpu"] is None) == (None, False)


def _hold(connection):
    held = np.ones(60_000_000, np.uint8)
    connection.send(held.size)
    connection.recv()


def test_ranks_count_only_where_there_are_some():
    ours, theirs = multiprocessing.Pipe()
    rank = multiprocessing.get_context("spawn").Process(target=_hold, args=(theirs,))
    rank.start()
    try:
        assert ours.recv() == 60_000_000
        alone, all_of_them = Usage().current()["memory"], Usage(has_ranks=True).current()["memory"]
        assert all_of_them - alone > 50_000_000
    finally:
        ours.send(None)
        rank.join()


def test_gpus_are_measured_beside_the_heartbeats(monkeypatch):
    asked = []

    def measure(ids):
        asked.append(ids)
        return [{"id": ids[0], "utilization": 0.5, "memory": 1, "memory_total": 2}]

    monkeypatch.setattr(usage.gpus, "usage", measure)
    monkeypatch.setattr(usage, "GPU_SECONDS", 0.01)
    measured = Usage([3])
    deadline = time.monotonic() + 5
    while len(asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert measured.current()["gpus"] == [{"id": 3, "utilization": 0.5, "memory": 1, "memory_total": 2}]
    measured.close()
    time.sleep(0.1)
    count = len(asked)
    time.sleep(0.1)
    assert len(asked) == count
