"""The log of an attempt keeps what is newest."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from epochd.worker.limits import attempt_log, trim


@pytest.fixture
def log(tmp_path):
    descriptor = os.open(tmp_path / "1.log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield descriptor
    os.close(descriptor)


def test_a_log_beyond_its_limit_keeps_its_newer_half_in_whole_lines_and_says_so(log, tmp_path):
    os.write(log, b"".join(b"line %06d\n" % i for i in range(200_000)))
    trim(log, 2**20)
    os.write(log, b"the next line\n")
    first, *lines = (tmp_path / "1.log").read_text().splitlines()
    assert "bytes were dropped" in first
    assert lines[-2:] == ["line 199999", "the next line"]
    assert all(len(line) == 11 for line in lines[:-1])
    assert 400_000 < (tmp_path / "1.log").stat().st_size < 2**20


def test_a_log_within_its_limit_is_left_alone(log, tmp_path):
    os.write(log, b"all of it\n")
    trim(log, 2**20)
    assert (tmp_path / "1.log").read_text() == "all of it\n"


def test_a_training_whose_log_cannot_be_written_runs_without_one(tmp_path, capfd):
    (tmp_path / "logs").write_text("a file where a folder should be")
    ticket = SimpleNamespace(log_path=tmp_path / "logs" / "t" / "1.log", log_mb=1)
    with attempt_log(ticket):
        print("it runs")
    assert "it runs" in capfd.readouterr().out


def test_a_full_disk_does_not_end_what_is_logged():
    ticket = SimpleNamespace(log_path=Path("/dev/full"), log_mb=1)
    with attempt_log(ticket):
        print("nowhere to go")
    print("back again")
