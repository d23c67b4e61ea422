"""Do the tests notice? Plants known bugs, one at a time, in a copy of the sources, and runs the test that must fail.

    make mutants

The bugs are the ones that durability hangs on; docs/testing.md lists them with their tests. A mutant that survives,
or a test that fails without any mutant, ends this with exit code 1.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Mutant:
    """A bug: ``old`` becomes ``new`` in ``file``, and ``test`` must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = [
    Mutant(
        "no fencing check",
        "src/epochd/store/attempts.py",
        "if not hmac.compare_digest(_hash(token), kept) or row is None or row.attempt != attempt:",
        "if row is None:",
        "tests/store/test_reports.py::test_a_former_attempt_is_fenced_off",
    ),
    Mutant(
        "no fsync before the rename",
        "src/epochd/artifact/files.py",
        "        for path in temporary.iterdir():\n            flush(path)\n        flush(temporary)\n",
        "",
        "tests/artifact/test_files.py::test_everything_is_flushed_before_the_rename",
    ),
    Mutant(
        "scheduler state not saved",
        "src/epochd/loop/state.py",
        'if f.name != "best_weights"}',
        'if f.name not in ("best_weights", "plateau_bad_epochs", "plateau_best")}',
        "tests/loop/test_fit.py::test_a_run_paused_at_every_chunk_equals_an_uninterrupted_one",
    ),
    Mutant(
        "permutation not keyed by epoch",
        "src/epochd/data/feed/batches.py",
        "np.random.PCG64([seed, epoch])",
        "np.random.PCG64([seed])",
        "tests/data/feed/test_batches.py",
    ),
    Mutant(
        "pointer moved before the file",
        "src/epochd/worker/sink.py",
        "        ticket, began = self.ticket, monotonic()\n        path = checkpoint.save(",
        "        ticket, began = self.ticket, monotonic()\n"
        "        number = len(checkpoint.numbered(ticket.checkpoints_dir)) + 1\n"
        '        early = ticket.checkpoints_dir / f"{ticket.attempt:04d}-{number:06d}"\n'
        '        where = {"path": str(early.relative_to(ticket.data_dir)), "epoch": state.epoch, "step": state.step}\n'
        "        self.emit(ReportKind.CHECKPOINT, where)\n"
        "        path = checkpoint.save(",
        "tests/worker/test_durability_order.py",
    ),
]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        healthy = run(copy, sorted({mutant.test for mutant in MUTANTS}))
        if healthy.returncode != 0:
            print(f"the tests fail without any mutant:\n{healthy.stdout}")
            return 1
        survivors = [mutant.name for mutant in MUTANTS if not is_noticed(copy, mutant)]
    print("survived: " + ", ".join(survivors) if survivors else f"all {len(MUTANTS)} mutants were noticed")
    return 1 if survivors else 0


def is_noticed(copy: Path, mutant: Mutant) -> bool:
    """Plant the bug, run its test, take the bug out again."""
    path = copy.parent / mutant.file
    healthy = path.read_text(encoding="utf-8")
    if healthy.count(mutant.old) != 1:
        raise SystemExit(
            f"{mutant.name}: its place in {mutant.file} has changed; bring {Path(__file__).name} up to date"
        )
    path.write_text(healthy.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        failed = run(copy, [mutant.test]).returncode == 1  # pytest: tests ran, and some failed
    finally:
        path.write_text(healthy, encoding="utf-8")
    print(f"{'noticed ' if failed else 'SURVIVED'}  {mutant.name}  ({mutant.test})", flush=True)
    return failed


def run(copy: Path, tests: list[str]) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
