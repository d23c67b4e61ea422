from dataclasses import replace

import pytest

from epochd.core.jobs import Job, State
from epochd.dispatch.watchdog import ExpiredLeases, idle_seconds
from tests.support.stage import SPEC

JOB = Job("job", SPEC, State.RUNNING, 0, 0, attempt=1, lease_until=100.0)


def test_only_what_two_looks_agree_on_is_believed():
    expired = ExpiredLeases(15)
    assert expired.confirmed([JOB], 10) == []
    assert expired.confirmed([JOB], 12.9) == []
    assert expired.confirmed([JOB], 13) == [JOB]


@pytest.mark.parametrize("change", [{"lease_until": 101.0}, {"attempt": 2}])
def test_a_report_or_a_new_attempt_begins_the_waiting_anew(change):
    expired = ExpiredLeases(15)
    expired.confirmed([JOB], 10)
    assert expired.confirmed([replace(JOB, **change)], 13) == []


def test_a_lease_that_was_renewed_in_between_is_forgotten():
    expired = ExpiredLeases(15)
    expired.confirmed([JOB], 10)
    expired.confirmed([], 11)
    assert expired.confirmed([JOB], 13) == []


@pytest.mark.parametrize(("lease", "confirm_seconds"), [(1, 0.5), (2, 1), (15, 3), (3600, 3)])
def test_confirm_seconds_is_short_where_leases_are(lease, confirm_seconds):
    assert ExpiredLeases(lease).confirm_seconds == confirm_seconds


def test_idleness_is_what_the_last_report_said():
    assert idle_seconds(replace(JOB, progress_at=70.0), 15) == 15
    assert idle_seconds(replace(JOB, progress_at=None), 15) is None
    assert idle_seconds(replace(JOB, progress_at=90.0), 15) == 0
