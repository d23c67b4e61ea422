"""Encoded rows in files: shared, limited in size, and safe if files are deleted or builders die."""

import errno
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import polars as pl
import pytest

from epochd.core import specs
from epochd.core.errors import DataError, OutOfSpace
from epochd.data.encoding.fit import EncoderFit
from epochd.data.storage import row_cache

ROWS, BATCH = 1_000, 300
BYTES = ROWS * 2 * 4
FRAME = pl.DataFrame(np.random.default_rng(3).normal(size=(ROWS, 3)), schema=["a", "b", "target"])


def encoder(frame=FRAME):
    spec = specs.parse({"target_column": "target"})
    fit = EncoderFit(spec, frame.schema, ["a", "b"], "regression", None, frame.height)
    fit.partial_fit(frame)
    return fit.finalize()


ENCODER = encoder()
ENCODED = ENCODER.features(FRAME)


class Reads:
    """The table's batches; counts how often they are asked for."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1
        return FRAME.iter_slices(BATCH)


def table(folder, fingerprint="one", cap=2**30, batches=None, position=None, rows=ROWS):
    return row_cache.cached_rows(folder, cap, fingerprint, ENCODER, rows, batches or Reads(), position)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_all_rows_are_encoded_in_their_order(tmp_path):
    found = table(tmp_path)
    np.testing.assert_array_equal(found, ENCODED)
    assert not found.flags.writeable
    assert names(tmp_path) == [row_cache.cache_key("one", ENCODER, None)]


def test_rows_are_written_to_their_positions(tmp_path):
    position = np.random.default_rng(0).permutation(ROWS)
    np.testing.assert_array_equal(table(tmp_path, position=position)[position], ENCODED)


def test_rows_with_several_steps_are_flat(tmp_path):
    frame = pl.DataFrame({"a": [[1.0, 2.0], [3.0]], "target": [0.5, 1.5]})
    fit = EncoderFit(specs.parse({"target_column": "target"}), frame.schema, ["a"], "regression", None, 2, 2)
    fit.partial_fit(frame)
    sequences = fit.finalize()
    found = row_cache.cached_rows(tmp_path, 2**20, "lists", sequences, 2, lambda: iter([frame]), None)
    np.testing.assert_array_equal(found, sequences.features(frame).reshape(2, -1))


def test_existing_rows_are_not_built_again(tmp_path):
    reads = Reads()
    first, second = (table(tmp_path, batches=reads) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert reads.count == 1


def test_other_content_another_order_or_another_encoding_have_their_own_files(tmp_path):
    table(tmp_path)
    table(tmp_path, "two")
    table(tmp_path, position=np.arange(ROWS))
    row_cache.cached_rows(tmp_path, 2**30, "one", encoder(FRAME.head(500)), ROWS, Reads())
    assert len(names(tmp_path)) == 4


def test_a_table_without_rows_is_cached(tmp_path):
    for _ in range(2):
        assert table(tmp_path, batches=lambda: iter([]), rows=0).shape == (0, 2)


@pytest.mark.parametrize("rows", [ROWS - 1, ROWS + 1])
def test_a_dataset_that_changes_while_it_is_read_is_refused(tmp_path, rows):
    with pytest.raises(DataError, match=f"had {rows} rows at first"):
        table(tmp_path, rows=rows)
    assert names(tmp_path) == []


def test_an_error_of_the_data_leaves_no_files(tmp_path):
    strange = FRAME.with_columns(a=pl.lit("?"))
    with pytest.raises(DataError, match="'a'"):
        table(tmp_path, batches=lambda: iter([strange]))
    assert names(tmp_path) == []


class TestDeletion:
    def test_a_deleted_folder_is_built_again(self, tmp_path):
        table(tmp_path / "rows")
        shutil.rmtree(tmp_path / "rows")
        np.testing.assert_array_equal(table(tmp_path / "rows"), ENCODED)

    @pytest.mark.parametrize("name", [row_cache.ROWS, row_cache.COMPLETE])
    def test_a_half_deleted_folder_is_built_again(self, tmp_path, name):
        table(tmp_path)
        next(tmp_path.glob(f"*/{name}")).unlink()
        np.testing.assert_array_equal(table(tmp_path), ENCODED)
        assert len(names(tmp_path)) == 1

    def test_a_file_of_another_size_is_built_again(self, tmp_path):
        table(tmp_path)
        os.truncate(next(tmp_path.glob(f"*/{row_cache.ROWS}")), BYTES // 2)
        np.testing.assert_array_equal(table(tmp_path), ENCODED)

    def test_mappings_of_deleted_files_stay_valid(self, tmp_path):
        found = table(tmp_path / "rows")
        shutil.rmtree(tmp_path / "rows")
        np.testing.assert_array_equal(found, ENCODED)

    def test_the_cache_may_be_deleted_while_it_is_built(self, tmp_path):
        def batches():
            yield FRAME.head(BATCH)
            shutil.rmtree(tmp_path / "rows")
            yield FRAME.tail(-BATCH)

        np.testing.assert_array_equal(table(tmp_path / "rows", batches=batches), ENCODED)
        assert not (tmp_path / "rows").exists()


class TestRoom:
    def test_the_least_recently_opened_rows_are_deleted_first(self, tmp_path):
        for number, fingerprint in enumerate(("one", "two")):
            table(tmp_path, fingerprint)
            os.utime(
                tmp_path / row_cache.cache_key(fingerprint, ENCODER, None) / row_cache.COMPLETE, ns=(number, number)
            )
        table(tmp_path, "one")
        table(tmp_path, "three", cap=2 * BYTES)
        assert names(tmp_path) == sorted(row_cache.cache_key(name, ENCODER, None) for name in ("one", "three"))

    def test_open_rows_are_not_deleted(self, tmp_path):
        one, two = table(tmp_path, "one"), table(tmp_path, "two")
        with pytest.raises(OutOfSpace, match=r"trainings now use 15\.6 KiB of the 23\.4 KiB of EPOCHD_CACHE_MB"):
            table(tmp_path, "three", cap=3 * BYTES - 1)
        np.testing.assert_array_equal(one, two)
        del one
        table(tmp_path, "three", cap=2 * BYTES)
        assert names(tmp_path) == sorted(row_cache.cache_key(name, ENCODER, None) for name in ("two", "three"))

    def test_rows_that_can_never_fit_are_refused_with_figures(self, tmp_path):
        table(tmp_path)
        with pytest.raises(DataError, match=r"need 7\.8 KiB .* may take 1\.0 KiB \(EPOCHD_CACHE_MB\)"):
            table(tmp_path, "two", cap=1024)
        assert len(names(tmp_path)) == 1

    def test_a_full_disk_is_reported_with_figures(self, tmp_path, monkeypatch):
        table(tmp_path, "old")
        full = shutil.disk_usage(tmp_path)._replace(free=1024)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
        with pytest.raises(OutOfSpace, match=r"need 7\.8 KiB .* the disk has 1\.0 KiB left"):
            table(tmp_path)
        assert names(tmp_path) == []

    def test_a_failed_allocation_is_reported_before_anything_is_written(self, tmp_path, monkeypatch):
        def refuse(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", refuse)
        with pytest.raises(OutOfSpace, match="No space left on device"):
            table(tmp_path)
        assert names(tmp_path) == []


class TestSeveralBuilders:
    def test_the_second_waits_for_the_first_and_uses_its_rows(self, tmp_path):
        began, go_on, reads = Event(), Event(), Reads()

        def batches():
            frames = reads()
            began.set()
            assert go_on.wait(30)
            yield from frames

        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(table, tmp_path, batches=batches)
            assert began.wait(30)
            second = threads.submit(table, tmp_path, batches=batches)
            go_on.set()
            np.testing.assert_array_equal(first.result(30), second.result(30))
        assert reads.count == 1

    def test_when_the_builder_dies_the_next_one_builds_and_cleans_up(self, tmp_path):
        child = subprocess.Popen([sys.executable, "-c", DYING, str(tmp_path)], **PIPES)
        assert child.stdout.readline() == b"half way\n"
        assert len(list(tmp_path.glob(f"*-*/{row_cache.ROWS}"))) == 1
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(table, tmp_path)
            child.kill()
            child.communicate()
            np.testing.assert_array_equal(waiting.result(30), ENCODED)
        assert names(tmp_path) == [row_cache.cache_key("one", ENCODER, None)]

    def test_rows_open_in_another_process_are_not_deleted(self, tmp_path):
        child = subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)], **PIPES)
        assert child.stdout.readline() == b"open\n"
        with pytest.raises(OutOfSpace, match="trainings now use"):
            table(tmp_path, "two", cap=BYTES)
        child.communicate(b"\n")
        table(tmp_path, "two", cap=BYTES)
        assert names(tmp_path) == [row_cache.cache_key("two", ENCODER, None)]


PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
CHILD = """
import sys
from pathlib import Path

import numpy as np
import polars as pl

from epochd.core import specs
from epochd.data.storage import row_cache
from epochd.data.encoding.fit import EncoderFit

FRAME = pl.DataFrame(np.random.default_rng(3).normal(size=(1000, 3)), schema=["a", "b", "target"])
fit = EncoderFit(specs.parse({"target_column": "target"}), FRAME.schema, ["a", "b"], "regression", None, 1000)
fit.partial_fit(FRAME)
"""
DYING = (
    CHILD
    + """
def batches():
    yield FRAME.head(300)
    print("half way", flush=True)
    sys.stdin.read()

row_cache.cached_rows(Path(sys.argv[1]), 2**30, "one", fit.finalize(), 1000, batches)
"""
)
HOLDING = (
    CHILD
    + """
rows = row_cache.cached_rows(Path(sys.argv[1]), 2**30, "one", fit.finalize(), 1000, lambda: iter([FRAME]))
print("open", flush=True)
sys.stdin.readline()
"""
)
