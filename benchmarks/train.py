"""Training speed, side by side: our engines against what people would use otherwise, in one run.

Each side runs in a process of its own, one at a time; sides take turns within a round, so that a machine that
drifts is unfair to all alike. The figure is the median over all rounds of the epochs after the first two.
``--fit-speeds`` measures our engines instead and writes the table behind ``framework: auto``.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

from cases import CASES, Case
from rich.console import Console
from rich.table import Table

from epochd.core.settings import Settings
from epochd.worker import measurement

SPEEDS = Path(__file__).parent.parent / "src" / "epochd" / "engines" / "speeds.json"
OURS = ("pytorch", "tensorflow", "jax")
PEERS = (
    "keras-tensorflow", "keras-jax", "keras-torch", "lightning", "lightning-1-thread", "skorch", "skorch-1-thread",
    "plain-torch", "plain-torch-1-thread", "scikit-learn", "c++",
)  # fmt: skip
MLP_ONLY = ("scikit-learn", "c++")
WARM_UP = 2
EPOCHS = 5
SIDE_SECONDS = 12.0
"""A side goes on for at least ``EPOCHS`` epochs after warm-up, and for so long."""
PATIENCE_SECONDS = 40.0
"""After so long a slow side is content with fewer epochs; the table says how many."""


def main() -> None:
    options = parse()
    if options.side:
        return run_side(options.side, CASES[options.case[0]], options.seconds)
    if options.fit_speeds:
        return write_speeds(options.rounds)
    found = {name: measure(name, options) for name in options.case}
    for name, sides in found.items():
        show(CASES[name], sides)
    if "a" in found:
        overhead = max_overhead()
        print("whole loop over bare engine: " + ", ".join(f"{k} {v:+.1%}" for k, v in overhead.items()))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--sides", nargs="+", choices=[*(f"ours/{o}" for o in OURS), *PEERS])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=SIDE_SECONDS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--fit-speeds", action="store_true")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(name: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Side → rows per second, and seconds until the first epoch is done."""
    sides = options.sides or [*(f"ours/{o}" for o in OURS), *PEERS]
    sides = [side for side in sides if CASES[name].model_type == "mlp" or side not in MLP_ONLY]
    epochs: dict[str, list[float]] = {side: [] for side in sides}
    first: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(options.rounds):
        for side in sides:
            print(f"round {turn + 1}, {name}: {side}", file=sys.stderr)
            seconds = in_process(side, name, options.seconds / options.rounds)
            if seconds:
                first[side].append(seconds[0])
                epochs[side] += seconds[WARM_UP:]
    rows = CASES[name].rows
    return {
        side: {"rows_per_second": rows / median(times), "first_epoch": median(first[side]), "epochs": len(times)}
        for side, times in epochs.items()
        if times
    }


def in_process(side: str, name: str, seconds: float) -> list[float]:
    """The side's epochs in a fresh process; none if it cannot run here."""
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if side.startswith("keras-"):
        env["KERAS_BACKEND"] = side.removeprefix("keras-")
    if side.endswith("-1-thread"):
        env["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, __file__, "--side", side, "--case", name, "--seconds", str(seconds)]
    answer = subprocess.run(command, env=env, capture_output=True, text=True)
    if answer.returncode:
        print(f"  left out: {(answer.stderr.strip().splitlines() or ['?'])[-1]}", file=sys.stderr)
        return []
    found: list[float] = json.loads(answer.stdout.splitlines()[-1])
    return found


def run_side(side: str, case: Case, seconds: float) -> None:
    """In the child: time epochs until there are enough of them."""
    found: list[float] = []
    began = perf_counter()
    for taken in epochs_of(side, case):
        found.append(taken)
        spent = perf_counter() - began
        if (len(found) >= WARM_UP + EPOCHS and spent > seconds) or (len(found) > WARM_UP and spent > PATIENCE_SECONDS):
            break
    print(json.dumps(found), flush=True)
    os._exit(0)  # some frameworks take seconds to say good-bye


def epochs_of(side: str, case: Case) -> Iterator[float]:
    import ours
    import peers

    if side.startswith("ours/"):
        return ours.epochs(side.removeprefix("ours/"), case)
    if side.startswith("keras-"):
        return peers.keras_fit(case)
    made = {
        "lightning": peers.lightning,
        "skorch": peers.skorch,
        "plain-torch": peers.plain_torch,
        "scikit-learn": peers.scikit_learn,
        "c++": peers.naive_cpp,
    }
    return made[side.removesuffix("-1-thread")](case)


def show(case: Case, sides: dict[str, dict[str, float]]) -> None:
    speed = {side: found["rows_per_second"] for side, found in sides.items()}
    best = max((s for s in speed if s.startswith("ours/")), key=speed.__getitem__, default=None)
    rival = max((s for s in speed if not s.startswith("ours/")), key=speed.__getitem__, default=None)
    table = Table(title=case.title, caption=f"fastest of ours: {best}; fastest other: {rival}")
    for title in ("side", "thousand rows/s", "of the fastest other", "first epoch, s", "epochs"):
        table.add_column(title, justify="left" if title == "side" else "right")
    for side in sorted(speed, key=speed.__getitem__, reverse=True):
        ratio = f"{speed[side] / speed[rival]:.2f}" if rival else ""
        row = sides[side]
        table.add_row(side, f"{speed[side] / 1e3:.1f}", ratio, f"{row['first_epoch']:.2f}", f"{row['epochs']:.0f}")
    Console().print(table)


def max_overhead() -> dict[str, float]:
    """What events, metrics and checkpoints add to the engine's own time, for (a), per engine."""
    code = "import json, ours, sys; from cases import CASES; "
    code += "print(json.dumps(ours.loop_and_bare(sys.argv[1], CASES['a'])))"
    found = {}
    for framework in OURS:
        command = [sys.executable, "-c", code, framework]
        answer = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
        if answer.returncode == 0:
            pairs = json.loads(answer.stdout.splitlines()[-1])
            found[framework] = median(whole / bare for whole, bare in pairs) - 1
    return found


def write_speeds(rounds: int) -> None:
    """Measure the speed of each engine for each network, engines in turns, and write the table that is shipped. On a
    busy machine more rounds help: the fastest measurement counts."""
    found, threads = [], max(1, (os.cpu_count() or 1) // Settings().slots)
    for turn in range(rounds):
        for framework in OURS:
            print(f"round {turn + 1}: {framework}", file=sys.stderr)
            for count, sizes in measurement.runs(list(measurement.SIZES), threads):
                found += measurement.measured(framework, sizes, threads=count, seconds=0.5)
    table = replace(measurement.table(found, threads=threads), samples=(), threads={})
    SPEEDS.write_text(json.dumps(table.as_json(), indent=1) + "\n")
    print(SPEEDS.read_text())


if __name__ == "__main__":
    main()
