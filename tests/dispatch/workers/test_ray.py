"""What Ray does to jobs, and what the server makes of it, on a real cluster of one node with two processors."""

import asyncio
import contextlib
import json
import secrets

import httpx
import pytest
from tests.support.ray_executor import ClusterOfOne
from tests.support.tickets import ticket

from epochd.core.errors import AgentLost, EpochdError
from epochd.core.tickets import CLAIM_REFUSED
from epochd.dispatch.workers import ray
from epochd.dispatch.workers.ray import RayExecutor, job_id

pytestmark = pytest.mark.long
MOST_LAUNCHES = 40
"""How many jobs end, each of which may be deleted before Ray has seen its end, until one was."""


class House:
    """A server's view of the cluster, its executor, and the ends of its attempts."""

    def __init__(self, cluster: ClusterOfOne) -> None:
        self.cluster = cluster
        self.exits: asyncio.Queue = asyncio.Queue()
        self.task = f"task-{secrets.token_hex(4)}"
        self.executor: RayExecutor

    def ticket(self, name="hang", attempt=1):
        folder = self.cluster.cluster.settings.data_dir
        return ticket(folder, name=name, task_id=self.task, attempt=attempt, token="the-token-of-the-attempt")

    async def end(self):
        async with asyncio.timeout(30):
            return await self.exits.get()

    async def until(self, is_so):
        async with asyncio.timeout(30):
            while not is_so():
                await self.cluster.until_changed()

    async def until_deleted(self, *ids):
        async with asyncio.timeout(20):
            while {*ids} & {*await asyncio.to_thread(self.cluster.processes.jobs)}:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


@pytest.fixture
async def open_house(ray_processes, tmp_path):
    houses = []

    async def make(options="", python="", slots=2):
        house = House(ClusterOfOne(ray_processes, tmp_path, options, python))
        houses.append(house)
        house.executor = await house.cluster.start(house.exits.put)
        await house.until(lambda: house.executor.free_slots == slots)
        return house

    yield make
    for house in houses:
        await house.executor.close()
        await house.cluster.close()
    await asyncio.to_thread(ray_processes.clear)


async def test_no_token_is_in_what_ray_shows(open_house, ray_processes):
    house = await open_house()
    await house.executor.launch(house.ticket())
    shown = json.dumps(await asyncio.to_thread(ray_processes.jobs))
    assert house.task in shown
    assert "the-token-of-the-attempt" not in shown


async def test_a_ticket_is_given_to_one_worker_only(open_house):
    house = await open_house()
    await house.executor.launch(house.ticket())
    code, claim = house.cluster.claims[-1]
    async with httpx.AsyncClient(base_url=house.cluster.url, headers={"Authorization": f"Bearer {code}"}) as client:
        again = await client.post("/internal/claims", content=claim.model_dump_json())
        other = await client.post(
            "/internal/claims", content=claim.model_copy(update={"session": "y" * 32}).model_dump_json()
        )
    assert again.json()["ticket"]["task_id"] == house.task, "the answer to its worker may have been lost"
    assert other.status_code == 404


@pytest.mark.parametrize(("name", "code"), [("exit 3", 3), ("crash", -9), ("vanish", 0)])
async def test_the_exit_of_a_worker_is_that_of_its_job(open_house, name, code):
    house = await open_house()
    await house.executor.launch(house.ticket(name))
    end = await house.end()
    assert (end.key, end.returncode, end.lost) == ((house.task, 1), code, None)


async def test_a_job_that_an_operator_stops_is_lost_and_no_crash(open_house, ray_processes):
    house = await open_house()
    await house.executor.launch(house.ticket())
    await asyncio.to_thread(ray_processes.stop, job_id((house.task, 1)))
    assert "was stopped" in (await house.end()).lost


async def test_what_does_not_fit_is_given_up_and_gets_no_ticket_later(open_house, ray_processes):
    """Ray cannot stop a job that waits: once it starts, its worker is refused its ticket, and the job is deleted."""
    house = await open_house()
    house.cluster.cluster.pending_seconds = 2.0
    other = await asyncio.to_thread(ray_processes.submit, "sleep 1000", 2)
    await asyncio.to_thread(ray_processes.until, lambda: ray_processes.jobs()[other]["status"] == "RUNNING")
    with pytest.raises(AgentLost, match="has not started the job"):
        await house.executor.launch(house.ticket())
    assert house.executor.free_slots == 0, "the node gets nothing for a while"
    await asyncio.to_thread(ray_processes.stop, other)
    await house.until(lambda: len(house.cluster.claims) > 1)
    name = job_id((house.task, 1))
    found = {}
    with contextlib.suppress(KeyError):
        while found.get("status") != "FAILED":
            found = (await asyncio.to_thread(ray_processes.jobs))[name]
            await asyncio.sleep(0.05)
        assert found["driver_exit_code"] == CLAIM_REFUSED
    await house.until_deleted(name)
    assert house.exits.empty()


async def test_a_job_that_ray_adds_again_after_its_deletion_is_deleted_again(open_house, ray_processes, monkeypatch):
    """Ray does so where it has not seen the end of the job before, and here it has no time to."""
    monkeypatch.setattr(ray, "SYNC_SECONDS", 0.02)
    house = await open_house()
    deleted, delete = [], house.cluster.cluster._delete

    def note(id):
        deleted.append(id)
        return delete(id)

    monkeypatch.setattr(house.cluster.cluster, "_delete", note)
    for number in range(1, MOST_LAUNCHES + 1):
        await house.executor.launch(house.ticket("exit 0", attempt=number))
        await house.end()
        if len(deleted) > len({*deleted}):
            break
    await asyncio.sleep(3.0)  # Ray looks once a second
    await house.until_deleted(*deleted)
    assert len(deleted) > len({*deleted}), "Ray has added none of them again"


async def test_a_job_of_an_attempt_that_does_not_run_is_stopped(open_house, ray_processes, monkeypatch):
    monkeypatch.setattr(ray, "STRAY_SECONDS", 0.5)
    house = await open_house()
    await house.executor.launch(house.ticket())
    del house.executor._attempts[house.task, 1], house.executor._jobs[house.task, 1]
    await house.until_deleted(job_id((house.task, 1)))


async def test_the_job_of_an_earlier_server_is_taken_over(open_house):
    house = await open_house()
    await house.executor.launch(house.ticket())
    await house.executor.close()
    house.executor._is_closed = False
    house.executor.adopt((house.task, 1))
    await house.cluster.until_changed()
    await house.cluster.until_changed()
    assert house.exits.empty()
    await house.executor.kill((house.task, 1))
    assert (await house.end()).returncode == -9


async def test_a_node_on_which_no_worker_can_be_started_says_why(open_house):
    house = await open_house(python="/no/such/python", slots=0)
    await house.until(lambda: house.executor.state.error)
    assert "/no/such/python: not found" in house.executor.state.error
    assert house.executor.slots == 0
    assert house.executor.health()["error"] == house.executor.state.error


async def test_a_cluster_that_does_not_answer_gets_nothing_and_loses_what_is_killed(open_house, monkeypatch):
    house = await open_house()
    await house.executor.launch(house.ticket())
    monkeypatch.setattr(house.cluster.cluster, "_synced_at", float("-inf"))
    monkeypatch.setattr(house.cluster.cluster, "sync", asyncio.Event().wait)
    house.executor.check()
    assert house.executor.free_slots == 0
    assert house.exits.empty(), "its worker may go on"
    with pytest.raises(AgentLost):
        await house.executor.launch(house.ticket(attempt=2))
    await house.executor.kill((house.task, 1))
    assert (await house.end()).lost == "the Ray cluster is not connected any more"


async def test_a_wrong_token_is_told(open_house):
    house = await open_house()
    house.cluster.cluster._client.headers["Authorization"] = "Bearer wrong"
    async with asyncio.timeout(30):
        while "EPOCHD_RAY_TOKEN" not in (house.cluster.cluster.error or ""):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_node_on_which_a_worker_fails_before_its_ticket_gets_nothing_and_says_why(open_house):
    house = await open_house()
    house.cluster.cluster._entrypoint = "sh -c 'echo out of luck; exit 7'"
    with pytest.raises(AgentLost, match=r"out of luck"):
        await house.executor.launch(house.ticket())
    assert house.executor.slots == 0
    await house.cluster.until_changed()
    assert "out of luck" in house.executor.state.error


async def test_gpus_of_an_attempt_of_an_earlier_server_are_counted_once(open_house, monkeypatch):
    """A node with two GPUs, one of which an adopted attempt has."""
    monkeypatch.setattr(ray, "SETTLED_SECONDS", 0.0)
    house = await open_house()
    house.executor.held = {(house.task, 1): ray.Job("job", house.executor, (house.task, 1), "", gpus=1)}
    house.executor.adopt((house.task, 1))
    node = {"node_id": house.executor.node_id, "resources_total": {"CPU": 2.0, "GPU": 2.0}}
    house.executor.update(node, {"CPU": 1.0, "GPU": 1.0}, 0)
    assert (house.executor.gpus_of_others, house.executor.state.gpus, house.executor.free_slots) == (0, [0, 1], 1)
    house.executor.update(node, {"CPU": 2.0, "GPU": 2.0}, 0)
    assert (house.executor.gpus_of_others, house.executor.free_slots) == (1, 0)


async def test_a_worker_that_vanishes_from_a_node_that_lives_has_crashed(open_house, monkeypatch):
    """As Ray ends the supervisor of a job for the memory of its node."""
    house = await open_house()
    await house.executor.launch(house.ticket())
    (job,) = house.executor._jobs.values()
    monkeypatch.setattr(house.cluster.cluster, "sync", asyncio.Event().wait)
    seen = {"status": "FAILED", "message": "The actor died", "driver_exit_code": None}
    house.executor.see(job, seen)
    assert house.exits.empty(), "its node may have died, which Ray notices later"
    monkeypatch.setattr(ray, "VANISHED_SECONDS", 0.0)
    house.executor.see(job, seen)
    end = await house.end()
    assert (end.returncode, end.lost) == (-9, None)


async def test_the_job_of_a_node_that_dies_is_lost(open_house, monkeypatch):
    house = await open_house()
    await house.executor.launch(house.ticket())
    (job,) = house.executor._jobs.values()
    monkeypatch.setattr(house.cluster.cluster, "sync", asyncio.Event().wait)
    house.executor.is_alive = False
    house.executor.see(job, {"status": "FAILED", "message": "The node died", "driver_exit_code": None})
    assert "ended without its worker" in (await house.end()).lost


async def test_a_head_that_hangs_does_not_keep_the_server(open_house, monkeypatch):
    """What it does not answer is given up when the server ends, which local trainings would otherwise wait for."""
    house = await open_house()
    monkeypatch.setattr(house.cluster.cluster._client, "post", lambda *_, **__: asyncio.sleep(1000))
    launch = asyncio.create_task(house.executor.launch(house.ticket()))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await house.executor.close()
        await house.cluster.cluster.close()
    with pytest.raises(EpochdError):
        await launch
