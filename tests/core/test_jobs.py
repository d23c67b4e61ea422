"""Ids and moves."""

from datetime import UTC, datetime

import pytest
from tests.support import tickets

from epochd.core import jobs, specs
from epochd.core.errors import IllegalMove
from epochd.core.jobs import State
from epochd.core.tickets import Ticket


def test_an_id_carries_the_second_and_differs_within_it():
    now = datetime(2024, 1, 1, 12, 0, 0, tzinfo=UTC)
    first, second = jobs.new_task_id(now), jobs.new_task_id(now)
    assert first.startswith("epoch_training_20240101_120000_")
    assert first != second
    assert jobs.TASK_ID.fullmatch(first)


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELLED])
def test_nothing_follows_a_final_state(state):
    assert state.is_final
    for other in State:
        with pytest.raises(IllegalMove, match="it has finished"):
            jobs.check_move("x", state, other)


def test_a_paused_job_does_not_run_without_queueing():
    with pytest.raises(IllegalMove, match="is paused and cannot become running"):
        jobs.check_move("x", State.PAUSED, State.RUNNING)


def test_a_change_of_an_older_task_does_not_check_its_names_again():
    older = specs.TrainingSpec.model_construct(target_column="y", name="a\0b", output_path="/models/Latest")
    revised = jobs.revise(older, {"epochs": 200})
    assert (revised.epochs, revised.name, revised.output_path) == (200, "a\0b", "/models/Latest")


def test_a_ticket_of_an_older_task_is_read_without_checking_its_config_again(tmp_path):
    older = specs.TrainingSpec.model_construct(target_column="y", output_path="/models/Latest")
    given = tickets.ticket(tmp_path, spec=older)
    assert Ticket.model_validate_json(given.model_dump_json()) == given
