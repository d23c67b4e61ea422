"""The same content has the same fingerprint, other content another; unchanged files are not read again."""

import hashlib
import os
import time

import polars as pl
import pytest

from epochd.core.errors import DataError
from epochd.data.tables import fingerprint
from epochd.data.tables.source import Source

HOUR_AGO = time.time() - 3600


@pytest.fixture
def hashed(monkeypatch):
    """Counts the files that are read."""
    files = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: files.append(file.name) or digest(file, name))
    return files


def test_a_files_fingerprint_is_the_sha256_of_its_bytes(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    assert Source("t", path).fingerprint() == hashlib.sha256(b"a\n1\n").hexdigest()
    path.write_text("a\n2\n")
    assert Source("t", path).fingerprint() == hashlib.sha256(b"a\n2\n").hexdigest()


def test_a_settled_file_is_read_once_and_again_when_it_changed(tmp_path, hashed):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    os.utime(path, (HOUR_AGO, HOUR_AGO))
    first = fingerprint.of(path)
    assert fingerprint.of(path) == first
    assert len(hashed) == 1
    path.write_text("a\n2\n")
    assert fingerprint.of(path) != first


def test_a_file_that_was_just_written_is_read_each_time(tmp_path, hashed):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    fingerprint.of(path)
    fingerprint.of(path)
    assert len(hashed) == 2


def test_a_file_that_took_anothers_place_is_read(tmp_path):
    for name, content in (("t.csv", "a\n1\n"), ("u.csv", "a\n2\n")):
        (tmp_path / name).write_text(content)
        os.utime(tmp_path / name, (HOUR_AGO, HOUR_AGO))
    first = fingerprint.of(tmp_path / "t.csv")
    (tmp_path / "u.csv").rename(tmp_path / "t.csv")
    assert fingerprint.of(tmp_path / "t.csv") != first


def test_a_folders_fingerprint_is_of_paths_and_contents_but_not_of_its_place(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder / "k=1").mkdir(parents=True)
        pl.DataFrame({"a": [1]}).write_parquet(tmp_path / folder / "k=1" / "0.parquet")
    assert fingerprint.of(tmp_path / "one") == fingerprint.of(tmp_path / "two")
    (tmp_path / "two" / "k=1" / "0.parquet").rename(tmp_path / "two" / "k=1" / "1.parquet")
    assert fingerprint.of(tmp_path / "one") != fingerprint.of(tmp_path / "two")


def test_what_cannot_be_read_is_a_data_error(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    for path in (tmp_path / "absent.csv", tmp_path / "t.csv", tmp_path):
        with pytest.raises(DataError):
            Source("t", path).fingerprint()


def test_the_cache_has_a_maximum_size(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "MAX_CACHED", 2)
    monkeypatch.setattr(fingerprint, "_cache", {})
    for i in range(4):
        (tmp_path / f"{i}.csv").write_text(f"{i}")
        os.utime(tmp_path / f"{i}.csv", (HOUR_AGO, HOUR_AGO))
        fingerprint.of(tmp_path / f"{i}.csv")
    assert len(fingerprint._cache) == 2


def test_a_large_file_is_known_by_its_size_its_time_and_samples(tmp_path, monkeypatch):
    path = tmp_path / "large.csv"
    path.write_bytes(b"a" * 100_000)
    assert fingerprint.quick(path) == fingerprint.of(path)
    monkeypatch.setattr(fingerprint, "HASHED_BYTES", 99_999)
    first, stat = fingerprint.quick(path), path.stat()
    assert first.startswith("sampled:")
    assert first == fingerprint.quick(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert fingerprint.quick(path) != first
    path.write_bytes(b"a" * 99_999 + b"b")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fingerprint.quick(path) != first


def test_a_large_folder_is_known_by_all_of_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "HASHED_BYTES", 0)
    for name in ("a", "b"):
        (tmp_path / f"{name}.parquet").write_bytes(b"PAR1" * 10)
    first = fingerprint.quick(tmp_path)
    (tmp_path / "b.parquet").write_bytes(b"PAR1" * 11)
    assert fingerprint.quick(tmp_path) != first
    assert fingerprint.size(tmp_path) == 84
