"""What the machine has, as measured on the machine of the test."""

import os
import shutil
import sys
from importlib.metadata import version
from time import monotonic

import pytest

from epochd.core.settings import Settings
from epochd.dispatch.host import machine

BLOCK = 4096


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path)


def used(settings):
    disk = machine.measure(settings).disk
    assert disk is not None
    return {usage.part: usage for usage in disk.usage}


def test_each_part_of_the_data_folder_has_its_size(settings):
    for folder, size in ((settings.artifacts_dir / "models" / "x", 300_000), (settings.logs_dir, 100_000)):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(os.urandom(size))
    (settings.data_dir / "epochd.db").write_bytes(os.urandom(50_000))
    (settings.data_dir / "epochd.db-wal").write_bytes(os.urandom(50_000))
    found = used(settings)
    assert 300_000 <= found["models"].bytes <= 300_000 + 2 * BLOCK
    assert 100_000 <= found["logs"].bytes <= 100_000 + 2 * BLOCK
    assert found["database"].files == 2
    assert found["checkpoints"] == machine.Usage("checkpoints", 0, 0, is_complete=True)


def test_a_file_with_two_names_counts_once_and_what_a_link_leads_to_not_at_all(settings, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "large").write_bytes(os.urandom(1_000_000))
    settings.checkpoints_dir.mkdir()
    (settings.checkpoints_dir / "one").write_bytes(os.urandom(100_000))
    os.link(settings.checkpoints_dir / "one", settings.checkpoints_dir / "two")
    (settings.checkpoints_dir / "latest").symlink_to(other)
    found = used(settings)["checkpoints"]
    assert found.files == 1
    assert 100_000 <= found.bytes < 200_000


def test_what_takes_too_long_to_measure_is_a_lower_bound(settings):
    settings.cache_dir.mkdir()
    (settings.cache_dir / "file").write_bytes(b"x")
    found = machine.occupied("cache", [settings.cache_dir], monotonic() - 1)
    assert (found.bytes, found.is_complete) == (0, False)


def test_the_disk_is_that_of_the_data_folder(settings):
    disk = machine.measure(settings).disk
    assert disk is not None
    assert disk.total == shutil.disk_usage(settings.data_dir).total
    assert 0 < disk.free <= disk.total
    assert machine.measure(Settings(data_dir=settings.data_dir / "gone")).disk is None


def test_processors_memory_and_versions_are_those_of_this_machine(settings, monkeypatch):
    monkeypatch.setitem(machine.DISTRIBUTIONS, "jax", ("no-such-distribution",))
    found = machine.measure(settings)
    assert 1 <= found.cpu.usable <= found.cpu.logical
    assert 0 < found.memory.available <= found.memory.limit <= found.memory.total
    assert found.versions["python"] == sys.version.split()[0]
    assert found.versions["numpy"] == version("numpy")
    assert found.versions["jax"] is None
