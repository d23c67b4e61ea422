"""Where the time of an attempt goes. One phase is open at any moment, and one that begins inside another interrupts it,
so the phases add up to the whole.

Frameworks compile when a program is first called, which no engine can time on its own. ``call`` therefore notes the
duration of calls that repeat the same work: what the first one takes longer than such a call took later (the median,
per step) is compilation. Where nothing was called again, the whole first call is compilation with an engine that
compiles, and training with one that does not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter, time

from epochd.core.job_values import Phase

LEAST_CALLS, MOST_CALLS = 3, 64
"""The later calls that are needed for a measured step, and those that are compared with the first one."""


@dataclass(slots=True)
class Calls:
    """Calls that repeat the same work: duration and number of steps of the first one, seconds per step of others."""

    first: float
    first_steps: int
    later: list[float] = field(default_factory=list)

    def excess(self, *, compiles: bool) -> float:
        """The seconds by which the first call was longer than it would have been later."""
        if not self.later:
            return self.first if compiles else 0.0
        return max(0.0, self.first - self.first_steps * median(self.later))


class PhaseTimer:
    """Counts the seconds of each phase of an attempt that was claimed at ``claimed_at`` (Unix time); now is the
    beginning of its data. ``compiles`` says whether the engine compiles."""

    def __init__(self, claimed_at: float | None = None, *, compiles: bool = False) -> None:
        self._compiles = compiles
        self._seconds = dict.fromkeys(Phase, 0.0)
        self._seconds[Phase.START] = 0.0 if claimed_at is None else max(0.0, time() - claimed_at)
        self._phase, self._since = Phase.DATA, perf_counter()
        self._calls: dict[Phase, Calls] = {}

    def enter(self, phase: Phase) -> Phase:
        """Open a phase; returns the one that ends with it."""
        before, now = self._phase, perf_counter()
        self._seconds[before] += now - self._since
        self._phase, self._since = phase, now
        return before

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """A phase that ends with the block."""
        before = self.enter(phase)
        try:
            yield
        finally:
            self.enter(before)

    @contextmanager
    def call(self, phase: Phase, steps: int = 1) -> Iterator[None]:
        """The same for a call whose first one may compile; ``steps`` is the amount of its work."""
        began = perf_counter()
        with self.phase(phase):
            yield
        seconds, known = perf_counter() - began, self._calls.get(phase)
        if known is None:
            self._calls[phase] = Calls(seconds, steps)
        elif len(known.later) < MOST_CALLS:
            known.later.append(seconds / steps)

    @property
    def step_seconds(self) -> float | None:
        """Seconds of a step of the optimizer, the median of later calls; None after less than ``LEAST_CALLS``."""
        calls = self._calls.get(Phase.TRAIN)
        return median(calls.later) if calls and len(calls.later) >= LEAST_CALLS else None

    def seconds(self) -> dict[str, float]:
        """Seconds by phase of the worker, up to now."""
        self.enter(self._phase)
        found = dict(self._seconds)
        for phase, calls in self._calls.items():
            excess = min(found[phase], calls.excess(compiles=self._compiles))
            found[phase] -= excess
            found[Phase.COMPILE] += excess
        return {phase.value: round(value, 6) for phase, value in found.items() if phase is not Phase.QUEUE}
