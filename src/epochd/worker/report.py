"""Communication with the server: a thread that sends numbered reports and receives the command.

Training must not wait for the network, and a restart of the server must not stop a training: reports are queued, kept
until the server has answered and sent again if it has not; the server ignores numbers that it already knows. Without
reports, an empty request every ``interval`` seconds fetches the command and renews the lease.
"""

import json
import logging
import threading
import time
from collections import deque
from itertools import islice
from typing import Any

import httpx

from epochd.core.errors import EpochdError, StaleAttempt
from epochd.core.events import FINAL_REPORTS, ReportKind
from epochd.core.jobs import Command
from epochd.loop.phases import PhaseTimer
from epochd.worker.usage import Usage

logger = logging.getLogger(__name__)

BATCH_REPORTS = 500
BATCH_BYTES = 512 * 1024
"""Half of the server's limit for one request."""
COALESCE_SECONDS = 0.02
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.1, 2.0
REQUEST_SECONDS = 10.0
TRANSIENT = frozenset({408, 425, 429})
TLS = httpx.create_ssl_context(trust_env=False)
"""For all attempts of the process: it takes 20 ms to read the certificates."""


class Reporter:
    """Sends the reports of one attempt; raises StaleAttempt once another attempt owns the task.

    ``emit``, ``command`` and ``release`` may be called from any thread and never wait for the network.
    """

    def __init__(
        self,
        server_url: str,
        task_id: str,
        attempt: int,
        token: str,
        lease_seconds: float,
        *,
        grace_seconds: float = 900.0,
        interval: float = 0.2,
        usage: Usage | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._path = f"/internal/attempts/{task_id}/report"
        self._attempt = attempt
        self._grace = grace_seconds
        self._interval = min(interval, lease_seconds / 3)
        self._usage = usage
        self._client = httpx.Client(
            base_url=server_url,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            timeout=min(REQUEST_SECONDS, lease_seconds),
            transport=transport,
            verify=TLS,
            trust_env=False,  # proxies of the environment do not apply to the own server
        )
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._numbers = 0
        self.timer: PhaseTimer | None = None
        """Counts the time of a training; the final report contains it, of whatever kind it is."""
        self.last_word: ReportKind | None = None
        """The final report that was emitted, if any; no report may follow it."""
        self._command = Command.CONTINUE
        self._released = self._closing = self._abandoned = self._is_awaited = False
        self._failure: EpochdError | None = None
        self._sent_at = 0.0
        self._progress_at: float | None = None
        self._position: tuple[int, int, int] | None = None
        self._unreachable_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"reporter-{task_id}", daemon=True)
        self._thread.start()

    def emit(self, kind: ReportKind, payload: dict[str, Any]) -> None:
        """Queue one report. Raises EpochdError if it is not plain JSON, and whatever ``command`` raises."""
        self.check()
        with self._changed:
            if self.last_word is not None:
                raise EpochdError(f"cannot report {kind} after {self.last_word}, which ended the attempt")
            if self.timer is not None and kind in FINAL_REPORTS:
                payload = payload | {"timings": self.timer.seconds()}
            report = {"number": self._numbers + 1, "kind": kind, "payload": payload}
            try:  # now: the caller may change the payload later, and is to get the error
                self._queue.append(json.dumps(report, allow_nan=False, separators=(",", ":")).encode())
            except (TypeError, ValueError) as error:
                advice = "Payloads are plain JSON; use None for NaN and infinity"
                raise EpochdError(f"a report of kind {kind} cannot be sent: {error}. {advice}") from None
            self._numbers += 1
            self.last_word = kind if kind in FINAL_REPORTS else None
            self._changed.notify_all()

    def position(self, epoch: int, step: int, steps: int) -> None:
        """Note that ``step`` of the ``steps`` steps of an epoch are complete; the next heartbeat tells the server."""
        self._position = epoch, step, steps

    def command(self) -> Command:
        """The server's last command; RELEASE once the server has been unreachable for longer than the grace period.

        The loop calls this between two chunks of steps, so a call is a sign of progress.
        Raises StaleAttempt once another attempt owns the task, EpochdError if the training cannot report any more.
        """
        self.check()
        self._progress_at = time.monotonic()
        if self._command is Command.CONTINUE and (self._released or self.is_given_up):
            return Command.RELEASE
        return self._command

    def release(self) -> None:
        """Make ``command`` return RELEASE (the process was asked to end). Takes no lock: signal handlers call it."""
        self._released = True

    def confirm(self) -> None:
        """Wait until all reports are delivered and the server has confirmed that the attempt still owns its task, or
        the server has been unreachable for longer than the grace period. Raises like ``command``."""
        asked = time.monotonic()
        with self._changed:
            self._is_awaited = True
            self._changed.notify_all()
            while not self.is_given_up and (self._queue or self._sent_at <= asked):
                self.check()
                self._changed.wait(self._interval)
            self._is_awaited = False
        self.check()

    def close(self, timeout: float | None = None) -> bool:
        """Wait until all reports are delivered; return whether they were. Raises like ``command``.

        Waits at most ``timeout`` seconds, or until the server has been unreachable for the grace period.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if timeout is not None:
            self._thread.join(timeout)
        while timeout is None and self._thread.is_alive() and not self.is_given_up:
            self._thread.join(self._interval)
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()
        self.check()
        return not self._queue

    @property
    def is_given_up(self) -> bool:
        """Whether the server has been unreachable for longer than the grace period."""
        unreachable_since = self._unreachable_since
        return unreachable_since is not None and time.monotonic() - unreachable_since > self._grace

    def check(self) -> None:
        """Raise StaleAttempt once another attempt owns the task, EpochdError if the training cannot report any more."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with self._client:
                while (batch := self._next_batch()) is not None:
                    self._deliver(batch)
        except EpochdError as error:
            self._failure = error
        except Exception as error:
            logger.exception("the reporter failed")
            self._failure = EpochdError(f"the reporter failed: {type(error).__name__}: {error}")

    def _next_batch(self) -> list[bytes] | None:
        """Wait for reports or for the next heartbeat; return the oldest reports that fit one request, at least one if
        there are any, or None when there is nothing left to send."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._urgent or self._is_awaited, self._interval)
            if self._queue:
                self._changed.wait_for(
                    lambda: self._urgent or self._is_awaited, self._sent_at + COALESCE_SECONDS - time.monotonic()
                )
            if self._abandoned or (self._urgent and not self._queue):
                return None
            batch: list[bytes] = []
            size = 0
            for report in islice(self._queue, BATCH_REPORTS):
                size += len(report)
                if batch and size > BATCH_BYTES:
                    break
                batch.append(report)
            return batch

    @property
    def _urgent(self) -> bool:
        return self._closing or self.last_word is not None

    def _deliver(self, batch: list[bytes]) -> None:
        """Send until the server answers, without a time limit; then drop the batch."""
        delay = FIRST_RETRY_SECONDS
        while (answer := self._post(batch)) is None:
            with self._changed:
                if self._changed.wait_for(lambda: self._abandoned, delay):
                    return
            delay = min(2 * delay, LAST_RETRY_SECONDS)
        self._command = self._read(answer)
        with self._changed:
            for _ in batch:
                self._queue.popleft()
            self._sent_at = time.monotonic()
            self._changed.notify_all()

    def _post(self, batch: list[bytes]) -> httpx.Response | None:
        """One request; None for a transient failure: the server is unreachable or answers with an error of its own."""
        idle = b"null" if self._progress_at is None else b"%.3f" % (time.monotonic() - self._progress_at)
        parts = self._attempt, idle, self._activity(), b",".join(batch)
        body = b'{"attempt":%d,"idle":%s,"activity":%s,"reports":[%s]}' % parts
        try:
            answer = self._client.post(self._path, content=body)
            is_transient = answer.status_code >= 500 or answer.status_code in TRANSIENT
            failure = f"it answered {answer.status_code}{_reason(answer)}" if is_transient else None
        except httpx.TransportError as error:
            failure = str(error) or type(error).__name__
        if failure is None and self._unreachable_since is not None:
            logger.info("the server is reachable again after %.1f s", time.monotonic() - self._unreachable_since)
            self._unreachable_since = None
        elif failure is not None and self._unreachable_since is None:
            self._unreachable_since = time.monotonic()
            logger.warning("the server is unreachable (%s); training continues and reports are kept", failure)
        return answer if failure is None else None

    def _activity(self) -> bytes:
        """What the training does at this moment, as JSON; null before its first step."""
        if self._position is None:
            return b"null"
        activity = dict(zip(("epoch", "step", "steps"), self._position, strict=True))
        return json.dumps(activity | (self._usage.current() if self._usage else {})).encode()

    def _read(self, answer: httpx.Response) -> Command:
        """The command in an answer. Raises StaleAttempt, or EpochdError for an answer that only a bug explains."""
        body = _body(answer)
        code = body.get("code")
        if answer.status_code == 401 or (answer.status_code == 409 and code == StaleAttempt.code):
            raise StaleAttempt(f"attempt {self._attempt} no longer owns its task; it ends without a report")
        try:
            answer.raise_for_status()
            return Command(body["command"])
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError):
            raise EpochdError(
                f"the server answered {answer.status_code} to a report of attempt {self._attempt}: "
                f"{answer.text[:500]!r}. Check that the server and this worker have the same version"
            ) from None


def _body(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer; empty if it is none."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {}


def _reason(answer: httpx.Response) -> str:
    """What the server says about an error, for the log of the task."""
    return f": {message}" if (message := _body(answer).get("message")) else ""
