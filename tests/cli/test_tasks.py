"""Tasks from a shell: started, watched, steered, predicted with."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from epochd.cli import console
from epochd.client import Client
from epochd.data.tables.catalog import open_dataset

from .conftest import COMMAND, CONFIG, ENDLESS, Server, config_file


def test_a_server_that_is_not_there_is_said_so(run: Any, tmp_path: Path) -> None:
    failed = run("train", config_file(tmp_path, CONFIG), "--url", "http://127.0.0.1:1")
    assert failed.code == console.FAILED
    assert "epochd serve" in failed.err


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read as JSON"), ("[1]", "a config is an object")])
def test_a_file_that_is_no_config_is_refused(run: Any, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    refused = run("train", path)
    assert refused.code == console.REFUSED
    assert message in " ".join(refused.err.split())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_config_may_begin_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"name": "客户流失"}', encoding=encoding)
    assert console.read_config(file) == {"name": "客户流失"}


def test_the_problems_of_a_config_are_shown_as_a_table(run: Any, server: Server, tmp_path: Path) -> None:
    path = config_file(tmp_path, CONFIG | {"epoch": 3, "batch_size": 0})
    refused = run("train", path, "--url", server.url)
    assert refused.code == console.REFUSED
    assert "did you mean" in refused.err
    assert "batch_size" in refused.err


def test_train_shows_every_epoch_and_leaves_a_model_that_predicts(run: Any, server: Server, tmp_path: Path) -> None:
    trained = run("train", config_file(tmp_path, CONFIG), "--url", server.url)
    assert trained.code == 0
    for epoch in (1, 2, 3):
        assert f"epoch {epoch}/3  loss " in trained.out
    assert "completed: 3 epochs; best epoch " in trained.out

    rows, predictions = tmp_path / "rows.csv", tmp_path / "predictions.csv"
    open_dataset("breast_cancer", []).read().head(7).write_csv(rows)
    model = server.data_dir / "artifacts" / "models" / "cli" / "latest"
    assert run("predict", model, rows, "--output", predictions).code == 0
    assert pl.read_csv(predictions).height == 7
    assert run("predict", model, rows).out == predictions.read_text(encoding="utf-8")


def test_a_dataset_is_predicted_on_the_server_and_downloaded(
    run: Any, server: Server, client: Client, tmp_path: Path
) -> None:
    task_id = client.start(CONFIG)["task_id"]
    assert [event["type"] for event in client.stream(task_id)][-1] == "complete"
    file, to = tmp_path / "predictions.csv", ("--url", server.url)
    options = ("--output", file, "--id-column", "target", "--no-probabilities", "--bom")
    done = run("predict-dataset", task_id, "breast_cancer", *options, *to)
    assert done.code == 0, done.err
    assert "569 of 569 rows" in done.out
    assert file.read_bytes().startswith("\ufefftarget,prediction\n".encode())
    [found] = client.predictions(name="prediction")["predictions"]
    listed = run("predictions", *to)
    assert found["task_id"] in listed.out
    assert "569/569" in listed.out
    assert run("watch", found["task_id"], *to).code == 0
    assert run("logs", found["task_id"], *to).code == 0
    assert "complete" in run("stop", found["task_id"], *to).err
    assert run("remove", found["task_id"], *to).code == 0
    refused = run("predict-dataset", task_id, "iris", *to)
    assert refused.code == console.REFUSED


def test_a_training_can_be_detached_paused_resumed_and_stopped(
    run: Any, server: Server, client: Client, tmp_path: Path
) -> None:
    task_id = run("train", config_file(tmp_path, ENDLESS), "--url", server.url, "--detach").out.strip()
    next(event for event in client.stream(task_id) if event["type"] == "progress")

    assert run("pause", task_id, "--url", server.url).code == 0
    assert client.task(task_id)["state"] == "paused"
    assert task_id in run("tasks", "--state", "paused", "--url", server.url).out
    assert run("prioritise", task_id, 7, "--url", server.url).code == 0
    assert client.task(task_id)["priority"] == 7
    assert run("prioritise", task_id, 101, "--url", server.url).code == console.REFUSED
    assert task_id not in run("tasks", "--owner", "ann", "--url", server.url).out
    assert run("resume", task_id, "--url", server.url).code == 0
    assert run("stop", task_id, "--url", server.url).code == 0
    assert run("watch", task_id, "--url", server.url).code == console.FAILED

    refused = run("pause", task_id, "--url", server.url)
    assert refused.code == console.FAILED
    assert "cancelled" in refused.err


def test_a_completed_training_is_continued_and_its_log_shown(
    run: Any, server: Server, client: Client, tmp_path: Path
) -> None:
    task_id = run("train", config_file(tmp_path, CONFIG), "--detach", "--url", server.url).out.strip()
    assert [event["type"] for event in client.stream(task_id)][-1] == "complete"
    longer = run("continue", task_id, "--epochs", "5", "--url", server.url).out.strip()
    assert [event["type"] for event in client.stream(longer)][-1] == "complete"
    rows, before = (client.history(one)["history"] for one in (longer, task_id))
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[:3] == before
    assert client.task(longer)["parent"] == task_id
    assert run("logs", longer, "--url", server.url).code == 0


def test_a_replay_shows_that_nothing_differs(run: Any, server: Server, tmp_path: Path) -> None:
    task_id = run("train", config_file(tmp_path, CONFIG), "--detach", "--url", server.url).out.strip()
    run("watch", task_id, "--url", server.url)
    replayed = run("replay", task_id, "--url", server.url)
    assert (replayed.code, "identical: all epochs, weights and scores equal" in replayed.out) == (0, True)


def test_ctrl_c_detaches_and_says_how_to_come_back(server: Server, client: Client, tmp_path: Path) -> None:
    command = [*COMMAND, "train", str(config_file(tmp_path, ENDLESS)), "--url", server.url]
    watching = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert watching.stdout is not None
    next(line for line in watching.stdout if line.startswith("epoch 1/"))
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=10)

    task_id = client.tasks(limit=1)["tasks"][0]["task_id"]
    assert watching.returncode == console.DETACHED
    assert f"epochd watch {task_id}" in said
    assert client.task(task_id)["state"] == "running"
    client.stop(task_id)


def test_a_task_is_removed_once_it_has_ended_and_its_model_stays_if_asked(
    run: Any, server: Server, client: Client, tmp_path: Path
) -> None:
    first, second = (client.start(CONFIG)["task_id"] for _ in range(2))
    for task_id in (first, second):
        assert [event["type"] for event in client.stream(task_id)][-1] == "complete"
    assert run("remove", first, "--url", server.url).out == "Epoch training was removed\n"
    assert run("remove", second, "--keep-model", "--url", server.url).code == 0
    models = server.data_dir / "artifacts" / "models" / "cli"
    assert [(models / task_id).is_dir() for task_id in (first, second)] == [False, True]
    assert not any((server.data_dir / room / first).exists() for room in ("checkpoints", "logs"))
    assert run("remove", first, "--url", server.url).code == console.FAILED

    waiting = client.start(ENDLESS)["task_id"]
    refused = run("remove", waiting, "--url", server.url)
    client.stop(waiting)
    assert (refused.code, "stop it first" in refused.err) == (console.FAILED, True)
