"""The outcomes of attempts without a final report."""

import pytest

from epochd.dispatch import outcomes
from epochd.dispatch.host.cgroups import Overrun


@pytest.mark.parametrize(
    ("returncode", "code", "words"),
    [
        (-9, "worker_died", "killed by signal SIGKILL; not by epochd: the system may have run out of memory"),
        (-11, "worker_died", "killed by signal SIGSEGV"),
        (-35, "worker_died", "killed by signal 35"),
        (3, "worker_died", "exited with code 3"),
        (71, "rank_failed", "one of the processes (ranks) of the training died"),
        (0, "worker_vanished", "without a final report"),
    ],
)
def test_an_exit_is_told_by_its_name_and_tried_again(returncode, code, words):
    outcome = outcomes.of_exit(returncode)
    assert (outcome.code, outcome.is_final) == (code, False)
    assert words in outcome.message


def test_too_much_memory_is_final_and_says_how_much_it_was_and_what_to_do():
    outcome = outcomes.of_memory(512 * 2**20, 700 * 2**20)
    assert (outcome.code, outcome.is_final) == ("out_of_memory", True)
    for words in ("700 MiB", "512 MiB", "EPOCHD_MEMORY_MB", "batch_size"):
        assert words in outcome.message


@pytest.mark.parametrize("returncode", [-9, 71, 1])
def test_a_kill_by_the_kernel_is_told_in_the_same_words_however_the_worker_ended(returncode):
    found = outcomes.of_exit(returncode, Overrun(512 * 2**20, 511 * 2**20))
    assert found == outcomes.of_memory(512 * 2**20, 511 * 2**20)
