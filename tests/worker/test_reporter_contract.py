"""What every reporter must fulfil towards a training: the real one, and the recording one of the other tests."""

from collections.abc import Iterator

import httpx
import pytest
from tests.support.reporters import RecordingReporter

from epochd.core.errors import EpochdError
from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.worker.report import Reporter as ServerReporter
from epochd.worker.sink import Reporter


@pytest.fixture(params=["real", "recording"])
def reporter(request: pytest.FixtureRequest) -> Iterator[Reporter]:
    if request.param == "recording":
        yield RecordingReporter()
        return
    server = httpx.MockTransport(lambda request: httpx.Response(200, json={"command": "continue"}))
    opened = ServerReporter("http://server", "task", 1, "secret", 300.0, transport=server)
    yield opened
    opened.close()


def test_a_training_goes_on_as_long_as_nothing_is_asked(reporter: Reporter) -> None:
    reporter.emit(ReportKind.STARTED, {})
    reporter.confirm()
    assert reporter.command() is Command.CONTINUE


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, object()], ids=["nan", "set", "object"])
def test_what_is_not_plain_json_is_refused(reporter: Reporter, value: object) -> None:
    with pytest.raises(EpochdError, match="JSON"):
        reporter.emit(ReportKind.EPOCH, {"metrics": value})


def test_nothing_follows_the_last_word(reporter: Reporter) -> None:
    reporter.emit(ReportKind.CANCELLED, {})
    with pytest.raises(EpochdError, match="after"):
        reporter.emit(ReportKind.EPOCH, {})


def test_a_position_is_no_report(reporter: Reporter) -> None:
    reporter.position(1, 0, 3)
    reporter.emit(ReportKind.CANCELLED, {})
    reporter.position(1, 3, 3)
