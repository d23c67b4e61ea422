"""Many small trainings at once."""

import os
from concurrent.futures import ThreadPoolExecutor

import psutil

JOBS = int(os.environ.get("QUEUE_JOBS", 60))


def test_many_trainings_on_two_slots_all_complete(open_server):
    server = open_server(slots=2)
    process = psutil.Process(server.process.pid)
    server.follow(server.start(epochs=2, dataset="iris"))
    before = process.memory_info().rss

    with ThreadPoolExecutor(8) as clients:
        ids = list(clients.map(lambda seed: server.start(epochs=2, dataset="iris", seed=seed), range(JOBS)))
    assert len(set(ids)) == JOBS
    assert server.task(ids[-1])["state"] in {"pending", "running"}
    for task_id in ids:
        assert server.follow(task_id)["type"] == "complete"

    assert all(server.epochs(task_id) == [1, 2] for task_id in ids)
    assert {server.task(task_id)["attempt"] for task_id in ids} == {1}
    grown = (process.memory_info().rss - before) / 2**20
    assert grown < 0.15 * JOBS, f"the server grew by {grown:.0f} MiB over {JOBS} trainings"


def test_a_waiting_training_knows_its_place(open_server):
    server = open_server()
    running = server.start(epochs=100_000)
    server.follow(running, until_epoch=1)
    waiting = [server.start(epochs=1) for _ in range(3)]
    places = [server.client.get(f"/progress/{task_id}").json()["queue_position"] for task_id in waiting]
    assert places == [1, 2, 3]
    server.post("stop", waiting[0])
    assert server.client.get(f"/progress/{waiting[2]}").json()["queue_position"] == 2
    server.post("stop", running)
