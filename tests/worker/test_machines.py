"""How the worker of a machine that is not the first finds that of rank 0."""

import httpx
import pytest
from tests.support.tickets import ticket

from epochd.core.errors import RankFailed, StaleAttempt
from epochd.core.transfers import Meeting
from epochd.worker import machines, transfer

MEETING = Meeting(address="10.0.0.1", port=4711, secret="of these machines")


@pytest.fixture
def found(tmp_path, monkeypatch):
    """What a worker finds at a server that gives these answers, the last one again and again."""
    monkeypatch.setattr("epochd.engines.machines.CONNECT_SECONDS", 0.7)

    def ask(*answers):
        left = [httpx.Response(answer) if isinstance(answer, int) else answer for answer in answers]
        door = httpx.MockTransport(lambda request: left.pop(0) if len(left) > 1 else left[0])
        monkeypatch.setattr(machines, "connect", lambda ticket: transfer.connect(ticket, door))
        return machines.found(ticket(tmp_path))

    return ask


def test_it_waits_as_long_as_rank_0_fetches_its_data_and_the_server_answers(found):
    meeting = httpx.Response(200, content=MEETING.model_dump_json())
    assert found(204, 204, meeting) == MEETING


def test_it_does_not_wait_for_a_server_that_does_not_answer_or_an_attempt_that_is_over(found):
    with pytest.raises(RankFailed, match=r"the server has not told for 0.7 s where the worker of rank 0 is"):
        found(503)
    with pytest.raises(StaleAttempt, match="over before its machines have met"):
        found(204, 409)
