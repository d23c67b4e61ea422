"""What went wrong is told by its own name, in whatever words the framework put it."""

from pathlib import Path

import pytest
from tests.support import tickets

from epochd.core.errors import DataError, Problem
from epochd.worker.failures import failure_of


def ticket(**options):
    return tickets.ticket(Path("/nowhere"), **options)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 40000 bytes."),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 137438953472 bytes."),
    ],
)
def test_running_out_of_memory_says_how_much_there_was_and_what_to_do(error):
    failure = failure_of(error, ticket(memory_mb=512))
    assert failure["code"] == "out_of_memory"
    assert "the limit is 512 MiB (EPOCHD_MEMORY_MB)" in failure["message"]
    assert "batch_size" in failure["message"]


def test_a_gpus_memory_is_told_apart():
    kind = type("OutOfMemoryError", (RuntimeError,), {})
    failure = failure_of(kind("CUDA out of memory. Tried to allocate 2.00 GiB"), ticket(gpus=[0]))
    assert failure["code"] == "cuda_out_of_memory"
    assert "2.00 GiB" in failure["message"]


def test_errors_of_our_own_keep_their_code_and_problems():
    failure = failure_of(DataError([Problem("dataset", "has gone")]), ticket())
    assert (failure["code"], failure["problems"][0]["field"]) == ("data_error", "dataset")


def test_anything_else_is_an_internal_error_that_names_it():
    failure = failure_of(ZeroDivisionError("division by zero\nand more"), ticket())
    assert failure["code"] == "internal_error"
    assert "ZeroDivisionError" in failure["message"]
    assert "and more" not in failure["message"]
