"""Ranks on several machines: each has a worker, here a thread, that starts its ranks in processes of their own."""

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import numpy as np
import psutil
import pytest

from epochd.core.errors import DataError, RankFailed
from epochd.data.feed import prefetch
from epochd.engines import machines, network
from epochd.engines.machines import Follower, Leader
from epochd.engines.torch_engine import distributed

torch_engine = pytest.importorskip("epochd.engines.torch_engine.engine")

OPTIONS = {"batch_size": 23, "dropout_rate": 0.3, "gradient_clip": 0.5, "optimizer": "adam"}
ABOUT = {"fingerprint": "of the data", "ranks": 1}


def nothing() -> None:
    """What the leader does while it waits."""


@contextmanager
def training(setup, part, nodes=2, about=ABOUT):
    """The engine of rank 0, and what the followers return, each in a thread."""

    def follow(node):
        with Follower(leader.meeting, node) as follower:
            terms = follower.describe(about)
            if terms is not None:
                batches = network.batches(setup, len(part))
                distributed.follow(setup, part, follower, terms, lambda *block: prefetch.block(batches, part, *block))

    with Leader(nodes, "127.0.0.1") as leader, ThreadPoolExecutor(nodes) as threads:
        followers = [threads.submit(follow, node) for node in range(1, nodes)]
        try:
            leader.gather(ABOUT, nothing)
            engine = torch_engine.TorchEngine(setup, part, leader=leader)
            try:
                yield engine, followers
            finally:
                engine.close()
        finally:
            leader.close()


def result(engine, part):
    """What an engine has computed after an epoch."""
    rows = np.random.default_rng(3).permutation(len(part))
    totals = engine.train(rows, 0, 0.01)
    found = {"loss": totals.loss} | engine.weights()
    return found | {f"optimizer {name}": value for name, value in engine.optimizer_state().items()}


def test_two_machines_with_two_ranks_each_compute_what_four_ranks_of_one_do(make):
    setup, part = make(devices=4, **OPTIONS)
    alone = torch_engine.TorchEngine(setup, part)
    expected = result(alone, part)
    alone.close()
    with training(replace(setup, nodes=2, devices=2), part) as (engine, followers):
        found = result(engine, part)
    assert [follower.result(20) for follower in followers] == [None]
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_each_machine_reads_the_blocks_of_rows_itself(make):
    """Rows in blocks, as of a file that is not held in memory: only their numbers go to the other machine."""
    setup, part = make("multiclass", "cnn-2d", devices=2, **OPTIONS)
    block = prefetch.block(network.batches(setup, len(part)), part, 1, 0, 1)
    assert block.block == (1, 0, 1)
    alone = torch_engine.TorchEngine(setup, part)
    alone.load_rows(block)
    expected = result(alone, block)
    alone.close()
    with training(replace(setup, nodes=2, devices=1), part) as (engine, _):
        engine.load_rows(block)
        found = result(engine, block)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_other_data_on_a_machine_are_refused_before_the_first_step(make):
    setup, part = make(**OPTIONS)
    with (
        pytest.raises(DataError, match=r"machine 2 of 2 has prepared something else: fingerprint"),
        training(replace(setup, nodes=2), part, about=ABOUT | {"fingerprint": "of others"}),
    ):
        pass


def rank_of_the_other_machine():
    """The process of the last rank."""
    found = [p for p in psutil.Process().children() if f"{distributed.__package__}.distributed_worker" in p.cmdline()]
    return max(found, key=lambda process: int(process.cmdline()[-1]))


def test_a_rank_of_another_machine_that_dies_is_noticed_and_quoted_by_both(make):
    setup, part = make(**OPTIONS)
    with training(replace(setup, nodes=2), part) as (engine, followers):
        engine.train(np.arange(len(part)), 0, 0.01)
        os.kill(rank_of_the_other_machine().pid, signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(RankFailed, match=r"machine 2 of 2 has failed: rank 1 of 2 was killed by signal 9"):
            engine.train(np.tile(np.arange(len(part)), 1000), 10, 0.01)
        assert time.monotonic() - began < 10
    with pytest.raises(RankFailed, match=r"rank 1 of 2 was killed by signal 9"):
        followers[0].result(20)


def test_who_watches_the_ranks_is_waited_for_before_their_logs_are_deleted(make, monkeypatch):
    loss = distributed.Processes.loss

    def slow(ranks):
        if threading.current_thread().name.endswith("(_watch)"):
            time.sleep(0.5)
        return loss(ranks)

    monkeypatch.setattr(distributed.Processes, "loss", slow)
    monkeypatch.setattr(distributed, "WATCH_SECONDS", 0.01)
    setup, part = make(**OPTIONS)
    with training(replace(setup, nodes=2), part) as (engine, followers):
        engine.train(np.arange(len(part)), 0, 0.01)
        os.kill(rank_of_the_other_machine().pid, signal.SIGKILL)
        time.sleep(0.1)  # the next order finds it dead
        with pytest.raises(RankFailed):
            engine.train(np.arange(len(part)), 10, 0.01)
    with pytest.raises(RankFailed, match=r"rank 1 of 2 was killed by signal 9"):
        followers[0].result(20)
    time.sleep(0.6)  # what a thread raises fails the test


def test_a_rank_that_dies_before_all_have_joined_is_named(make, monkeypatch):
    def join(*_):
        os.kill(rank_of_the_other_machine().pid, signal.SIGKILL)
        raise RuntimeError("connection closed by peer")

    setup, part = make(**OPTIONS)
    monkeypatch.setattr(distributed, "join", join)
    with (
        pytest.raises(RankFailed, match=r"machine 2 of 2 has failed: rank 1 of 2 was killed by signal 9"),
        training(replace(setup, nodes=2), part),
    ):
        pass
    with pytest.raises(RuntimeError, match="connection closed by peer") as found:
        distributed.Ranks(replace(setup, devices=2), part)
    assert not isinstance(found.value, RankFailed)


def test_a_machine_whose_leader_is_gone_ends_its_ranks(make):
    setup, part = make(**OPTIONS)
    with training(replace(setup, nodes=2), part) as (engine, followers):
        engine.train(np.arange(len(part)), 0, 0.01)
        rank = rank_of_the_other_machine()
        for machine in engine._ranks._leader._machines.values():
            machine.connection.shutdown(socket.SHUT_RDWR)
        with pytest.raises(RankFailed, match="rank 0 is gone"):
            followers[0].result(20)
        assert not rank.is_running()


def test_a_machine_that_does_not_come_ends_the_attempt(monkeypatch):
    monkeypatch.setattr(machines, "CONNECT_SECONDS", 0.2)
    with (
        Leader(3, "127.0.0.1") as leader,
        Follower(leader.meeting, 1),
        pytest.raises(RankFailed, match=r"1 of 3 machines have not connected within 0.2 s at 127.0.0.1"),
    ):
        leader.gather(ABOUT, nothing)


def test_nobody_takes_part_without_the_secret():
    with Leader(2, "127.0.0.1") as leader:
        stranger = Follower(leader.meeting.model_copy(update={"secret": "another secret"}), 1)
        with stranger, pytest.raises(RankFailed, match="rank 0 is gone"):
            stranger.describe(ABOUT)
        assert not leader.is_complete


@pytest.mark.parametrize(
    "said", [b"[" * 1000 + b"\n", b"[" * 2000, b"4\n", b'{"hello": "\\ud800", "node": 1}\n', b"\xff\n"]
)
def test_no_stranger_ends_the_thread_that_hears_the_others(said):
    with Leader(2, "127.0.0.1") as leader:
        with socket.create_connection((leader.address, leader.meeting.port)) as stranger:
            stranger.sendall(said)
            stranger.settimeout(5)
            with suppress(ConnectionResetError):
                assert stranger.recv(1) == b""
        with Follower(leader.meeting, 1) as follower:
            follower._say(about=ABOUT)
            leader.gather(ABOUT, nothing)


def test_connections_without_a_hello_are_ended_and_the_oldest_first(monkeypatch):
    monkeypatch.setattr(machines, "MAX_STRANGERS", 2)
    with Leader(2, "127.0.0.1") as leader, ExitStack() as stack:
        door = leader.address, leader.meeting.port
        first, second, third = (stack.enter_context(socket.create_connection(door, timeout=5)) for _ in range(3))
        assert first.recv(1) == b""
        third.settimeout(0.1)
        with pytest.raises(TimeoutError):
            third.recv(1)
        monkeypatch.setattr(machines, "HELLO_SECONDS", 0.0)
        assert second.recv(1) == b""
        assert not leader.is_complete


def test_a_leader_that_hears_nothing_any_more_says_so(monkeypatch):
    monkeypatch.setattr(Leader, "_is_heard", lambda self, machine: 1 / 0)
    with (
        Leader(2, "127.0.0.1") as leader,
        Follower(leader.meeting, 1),
        pytest.raises(RankFailed, match=r"machine 1 of 2 does not hear the others any more: ZeroDivisionError"),
    ):
        leader.gather(ABOUT, nothing)


def connected(leader, nodes):
    """The followers of a leader, once it knows them."""
    found = [Follower(leader.meeting, node) for node in range(1, nodes)]
    for follower in found:
        follower._say(about=ABOUT)
    leader.gather(ABOUT, nothing)
    return found


def test_a_slow_machine_has_time_for_each_piece_of_a_long_order(monkeypatch):
    monkeypatch.setattr(machines, "SEND_SECONDS", 0.5)
    payload = bytes(20 << 20)
    with Leader(2, "127.0.0.1") as leader, ThreadPoolExecutor(1) as thread:
        [follower] = connected(leader, 2)
        with follower:
            follower._connection.settimeout(5)
            sent = thread.submit(leader.send, {"action": "train"}, payload)
            received = bytearray(follower._stream.readline())
            while len(received) < len(payload):
                received += follower._stream.read(1 << 20)
                time.sleep(0.06)
            sent.result(5)


def test_each_machine_is_told_of_the_end_whatever_became_of_another():
    with Leader(3, "127.0.0.1") as leader:
        first, second = connected(leader, 3)
        leader._machines[1].connection.shutdown(socket.SHUT_RDWR)
        with first, second:
            leader.close()
            assert list(second.orders()) == []
            with pytest.raises(RankFailed, match="rank 0 is gone"):
                list(first.orders())


def test_a_machine_that_has_to_end_asks_for_a_checkpoint():
    asked = []
    with Leader(2, "127.0.0.1", lambda: asked.append(True)) as leader, Follower(leader.meeting, 1) as follower:
        follower.release()
        follower.refuse("the disk is full")
        with pytest.raises(RankFailed, match="machine 2 of 2 has failed: the disk is full"):
            leader.gather(ABOUT, nothing)
        assert asked == [True]
