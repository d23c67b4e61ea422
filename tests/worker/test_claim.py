"""The ticket of a worker that a cluster manager has started: what it asks the server for, and what it makes of it."""

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from tests.support.tickets import ticket

from epochd.core.tickets import CLAIM_REFUSED, Claim, Claimed
from epochd.worker import claim


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "environ", os.environ | {"EPOCHD_DATA_DIR": str(tmp_path / "node")})


def test_what_frameworks_read_at_their_import_is_set_before(tmp_path):
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    claim.prepare()
    assert "OMP_NUM_THREADS" not in os.environ, "Ray sets it, and engines have their own number"
    assert os.environ["JAX_COMPILATION_CACHE_DIR"].startswith(str(tmp_path / "node"))


@pytest.fixture
def server():
    """A server that gives ``answers`` to claims, in their order, the last one again and again."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            claims.append((self.headers["Authorization"], self.rfile.read(int(self.headers["Content-Length"]))))
            status, body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    answers, claims = [], []
    found = HTTPServer(("127.0.0.1", 0), Handler)
    found.answers, found.claims = answers, claims
    threading.Thread(target=found.serve_forever, daemon=True).start()
    os.environ["EPOCHD_CLAIM"] = f"the-code http://127.0.0.1:{found.server_port}"
    yield found
    found.shutdown()
    found.server_close()


def given(tmp_path, now=None, **values):
    """The answer with a ticket."""
    answer = Claimed(ticket=ticket(tmp_path / "server", **values), now=time.time() if now is None else now)
    return 200, answer.model_dump_json()


def test_the_ticket_gets_the_folders_and_the_clock_of_the_machine(server, tmp_path):
    now = time.time()
    server.answers.append(given(tmp_path, now=now - 100, claimed_at=now - 102, group_readable=True))
    found = claim.claimed()
    assert (found.data_dir, found.group_readable) == (tmp_path / "node", False)
    assert now < found.claimed_at + 2 < time.time() + 0.001
    authorization, body = server.claims[0]
    assert authorization == "Bearer the-code"
    assert "pytorch" in Claim.model_validate_json(body).frameworks
    assert "EPOCHD_CLAIM" not in os.environ, "what the worker starts does not see the code"


def test_an_examination_of_the_machine_gets_no_ticket_and_removes_what_is_old(server, tmp_path):
    now = time.time()
    for name, age in (("old", 2), ("young", 0)):
        log = tmp_path / "node" / "logs" / name / "1.log"
        log.parent.mkdir(parents=True)
        log.touch()
        os.utime(log.parent, times=(now - 2 * 86_400, now - 2 * 86_400))
        os.utime(log, times=(now - age * 86_400, now - age * 86_400))
    server.answers.append((200, json.dumps({"ticket": None, "now": 0.0})))
    assert claim.claimed() is None
    assert [folder.name for folder in (tmp_path / "node" / "logs").iterdir()] == ["young"]


def test_a_claim_is_repeated_with_the_same_session_until_the_server_answers(server, tmp_path):
    server.answers += [(503, ""), (503, ""), given(tmp_path)]
    assert claim.claimed().task_id == "task"
    sessions = {Claim.model_validate_json(body).session for _, body in server.claims}
    assert (len(server.claims), len(sessions)) == (3, 1)


def test_a_refused_claim_ends_the_worker(server, capsys):
    server.answers.append((401, '{"message": "the ticket was given to another worker"}'))
    with pytest.raises(SystemExit) as end:
        claim.claimed()
    assert end.value.code == CLAIM_REFUSED
    assert "was given to another worker" in capsys.readouterr().err


def test_a_server_that_cannot_be_reached_is_named(monkeypatch, capsys):
    monkeypatch.setattr(claim, "TRY_SECONDS", 0.1)
    os.environ["EPOCHD_CLAIM"] = "the-code http://127.0.0.1:9"
    with pytest.raises(SystemExit) as end:
        claim.claimed()
    assert end.value.code == CLAIM_REFUSED
    assert "http://127.0.0.1:9" in capsys.readouterr().err


def test_the_gpus_are_those_that_the_cluster_manager_has_assigned(server, tmp_path):
    server.answers.append(given(tmp_path, gpus=[0, 1]))
    os.environ["CUDA_VISIBLE_DEVICES"] = "5,7"
    assert claim.claimed().gpus == [5, 7]


def test_too_few_gpus_are_refused(server, tmp_path):
    server.answers.append(given(tmp_path, gpus=[0, 1]))
    os.environ["CUDA_VISIBLE_DEVICES"] = "5"
    with pytest.raises(SystemExit, match="needs 2 GPUs"):
        claim.claimed()


def test_without_gpus_none_is_used(server, tmp_path):
    server.answers.append(given(tmp_path))
    os.environ["CUDA_VISIBLE_DEVICES"] = "5"
    assert claim.claimed().gpus == []
