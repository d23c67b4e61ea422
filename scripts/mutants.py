"""Do the tests notice? Plants known bugs, one at a time, in a copy of the sources, and runs the test that must fail.

    make mutants                            # all of them
    python scripts/mutants.py JAX lease     # those whose names hold one of these words
    python scripts/mutants.py --part 1/3    # a third of them, as .ci/run does, which takes another one for each commit
    python scripts/mutants.py --tested      # all; the tests have just passed without a mutant, and need not be run so

docs/testing.md lists the bugs. Two run at once, each in a copy of its own. A mutant that survives, a test that fails
without any mutant, or a place that has changed ends this with exit code 1.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parent.parent
AT_ONCE = 2
CONTRACT = "engines/test_contract.py::TestTraining::"


@dataclass(frozen=True)
class Mutant:
    """A bug: ``old``, which stands once in ``file`` (below ``src/epochd``), becomes ``new``; ``test`` (below ``tests``)
    must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str

    def planted(self, source: Path) -> str:
        """The file's text with the bug in it. Raises ValueError if its place is not there exactly once."""
        path = source / "epochd" / self.file
        count = path.read_text(encoding="utf-8").count(self.old) if path.is_file() else 0
        if count != 1:
            raise ValueError(f"{self.name}: {self.old!r} stands {count} times in src/epochd/{self.file}, not once")
        return path.read_text(encoding="utf-8").replace(self.old, self.new)


MUTANTS = [
    # Encoders
    Mutant(
        "a missing number is not flagged",
        "data/encoding/numeric.py",
        "out[:, 1] = missing",
        "out[:, 1] = 0.0",
        "data/encoding/test_numeric.py",
    ),
    Mutant(
        "an unknown category passes for the first one",
        "data/encoding/categorical.py",
        "_codes(series, self.categories, self.width - 1)",
        "_codes(series, self.categories, 0)",
        "data/encoding/test_categorical.py",
    ),
    Mutant(
        "the week begins a day late",
        "data/encoding/dates.py",
        "ordinal.cast(pl.Float64).to_numpy() - 1.0",
        "ordinal.cast(pl.Float64).to_numpy()",
        "data/encoding/test_dates.py",
    ),
    Mutant(
        "a step of padding counts as one that exists",
        "data/encoding/sequence.py",
        "np.arange(steps) < found[:, None]",
        "np.arange(steps) <= found[:, None]",
        "data/encoding/test_sequence.py",
    ),
    Mutant(
        "the deviation ignores the gap between batches",
        "data/encoding/scaling.py",
        "self.squares += squares + gap * gap * (self.count * found / count)",
        "self.squares += squares",
        "data/encoding/test_scaling.py",
    ),
    # Splits
    Mutant(
        "a rare class may be held out nowhere",
        "data/splitting/split.py",
        "least = np.minimum(most, 1) if",
        "least = np.minimum(most, 0) if",
        "data/splitting/test_split.py",
    ),
    Mutant(
        "rows of one time stand on both sides of the split",
        "data/splitting/split.py",
        "sides[times >= ordered[test_from]] = TEST",
        "sides[times > ordered[test_from]] = TEST",
        "data/splitting/test_split.py",
    ),
    Mutant(
        "test and validation draw the same groups",
        "data/splitting/split.py",
        "order = order[of_group[order] == TRAIN]",
        "order = order[of_group[order] <= TEST]",
        "data/splitting/test_split.py",
    ),
    Mutant(
        "a window crosses from one group into another",
        "data/splitting/sliding_windows.py",
        "whole = _same_value_ahead(order, ahead, groups) & ",
        "whole = _same_value_ahead(order, ahead, None) & ",
        "data/splitting/test_sliding_windows.py",
    ),
    Mutant(
        "the order of rows is the same in every epoch",
        "data/feed/batches.py",
        "np.random.PCG64([seed, epoch])",
        "np.random.PCG64([seed])",
        "data/feed/test_batches.py",
    ),
    Mutant(
        "a fold's network is trained on the rows that validate it",
        "data/splitting/folds.py",
        "np.flatnonzero(self.number != fold)",
        "np.flatnonzero(self.number >= 0)",
        "data/splitting/test_folds.py",
    ),
    # The loop
    Mutant(
        "the members of an ensemble have one seed",
        "worker/members.py",
        "if number == 0:",
        "if number >= 0:",
        "worker/test_members.py",
    ),
    Mutant(
        "of several networks the logits are averaged",
        "loop/averaging.py",
        '        if task == "binary":\n',
        '        if task == "binary":\n            return wide.mean(axis=0).astype(np.float32)\n',
        "loop/test_averaging.py",
    ),
    Mutant(
        "a network that has stopped early counts in the means of later epochs",
        "loop/members.py",
        "[rows[whole.epoch] for rows in histories if len(rows) > whole.epoch]",
        "[rows[min(whole.epoch, len(rows) - 1)] for rows in histories]",
        "worker/test_members.py",
    ),
    Mutant(
        "the step schedule falls an epoch early",
        "loop/schedules.py",
        "epoch // spec.step_size",
        "(epoch + 1) // spec.step_size",
        "loop/test_schedules.py",
    ),
    Mutant(
        "the cosine schedule ends an epoch early",
        "loop/schedules.py",
        "epoch / (spec.T_max or spec.epochs))",
        "epoch / ((spec.T_max or spec.epochs) - 1))",
        "loop/test_schedules.py",
    ),
    Mutant(
        "the plateau schedule loses patience an epoch early",
        "loop/schedules.py",
        "state.plateau_bad_epochs <= spec.patience",
        "state.plateau_bad_epochs < spec.patience",
        "loop/test_schedules.py",
    ),
    Mutant(
        "early stopping waits an epoch too long",
        "loop/fit.py",
        "state.stopping_wait >= patience",
        "state.stopping_wait > patience",
        "loop/test_early_stopping.py",
    ),
    Mutant(
        "the scheduler's state is not saved",
        "loop/state.py",
        'if f.name != "best_weights"}',
        'if f.name not in ("best_weights", "plateau_bad_epochs", "plateau_best")}',
        "loop/test_fit.py",
    ),
    Mutant(
        "R² divides by the deviation",
        "loop/metrics.py",
        "1.0 - mse / variance",
        "1.0 - mse / variance**0.5",
        "loop/test_metrics.py",
    ),
    Mutant(
        "ties count for nothing in the AUC",
        "loop/ranking.py",
        "* (self.negative[1:] + self.negative[:-1])",
        "* (2 * self.negative[:-1])",
        "loop/test_metrics.py",
    ),
    Mutant(
        "an epoch without a value may be the best",
        "loop/history.py",
        "return best is None or (value is not None and ",
        "return best is None or value is None or (",
        "loop/test_early_stopping.py",
    ),
    Mutant(
        "balanced class weights do not sum to the rows",
        "loop/metrics.py",
        "/ (len(classes) * counts)).tolist())",
        "/ counts).tolist())",
        "loop/test_class_weights.py",
    ),
    # Engines: what PyTorch does wrong is noticed by the engines that are compared with it
    Mutant(
        "PyTorch: dropout is the same in every step",
        "engines/torch_engine/dropout.py",
        "key(self._seed, step)",
        "key(self._seed, 0)",
        "engines/torch_engine/test_dropout.py",
    ),
    Mutant(
        "PyTorch: the gradient is clipped at twice the norm",
        "engines/torch_engine/engine.py",
        "clip_grad_norm_([self._flat], self._setup.spec.gradient_clip)",
        "clip_grad_norm_([self._flat], self._setup.spec.gradient_clip * 2)",
        f"{CONTRACT}test_a_clipped_gradient_moves_the_weights_by_at_most_its_norm[pytorch]",
    ),
    Mutant(
        "PyTorch: AdamW decays weights as Adam does",
        "engines/torch_engine/engine.py",
        "torch.optim.AdamW(",
        "torch.optim.Adam(",
        f"{CONTRACT}test_optimizers_follow_pytorch[jax-0.1-adamw]",
    ),
    Mutant(
        "TensorFlow: the second moment's bias is corrected with the first one's rate",
        "engines/tensorflow_engine/training_step.py",
        "tf.sqrt(_bias_correction(0.999, steps))",
        "tf.sqrt(_bias_correction(0.9, steps))",
        f"{CONTRACT}test_optimizers_follow_pytorch[tensorflow-None-adam]",
    ),
    Mutant(
        "TensorFlow: each device drops the same places",
        "engines/tensorflow_engine/training_step.py",
        "(first_position if axis == rows_axis else 0)",
        "0",
        "engines/test_contract.py::TestEveryArchitecture::test_two_devices_give_the_result_of_one[tensorflow]",
    ),
    Mutant(
        "JAX: dropout begins anew with every chunk",
        "engines/jax_engine/program.py",
        "first_step + i.astype(jnp.uint32)",
        "i.astype(jnp.uint32)",
        f"{CONTRACT}test_steps_taken_in_two_calls_equal_one_call[jax]",
    ),
    Mutant(
        "JAX: each value is clipped instead of the norm",
        "engines/jax_engine/program.py",
        "optax.clip_by_global_norm(",
        "optax.clip(",
        f"{CONTRACT}test_a_clipped_gradient_moves_the_weights_by_at_most_its_norm[jax]",
    ),
    Mutant(
        "every seed drops the same units",
        "engines/programs.py",
        "np.array([spec.seed, ",
        "np.array([0, ",
        f"{CONTRACT}test_dropout_is_a_function_of_seed_and_step",
    ),
    Mutant(
        "each seed compiles a program of its own",
        "engines/programs.py",
        '    "mixed_precision",\n)',
        '    "mixed_precision",\n    "seed",\n)',
        "engines/test_programs.py",
    ),
    # The store
    Mutant(
        "any token is taken for the attempt's own",
        "store/attempts.py",
        "hashlib.sha256(token.encode())",
        'hashlib.sha256(b"")',
        "store/test_reports.py",
    ),
    Mutant(
        "a repeated report is applied twice",
        "store/attempts.py",
        "if report.number > job.reported]",
        "]",
        "store/test_reports.py",
    ),
    Mutant(
        "a gap in the numbers of reports goes unseen",
        "store/reports.py",
        "report.number != job.reported + 1",
        "report.number <= job.reported",
        "store/test_reports.py",
    ),
    Mutant(
        "the log is read on from the event that was seen",
        "store/events.py",
        "table.c.job_id == task_id, table.c.seq > seq).order_by",
        "table.c.job_id == task_id, table.c.seq >= seq).order_by",
        "store/test_events.py",
    ),
    Mutant(
        "a job is poison only after one crash more",
        "store/changes.py",
        "self.job.strikes >= MAX_STRIKES",
        "self.job.strikes > MAX_STRIKES",
        "store/test_accidents.py",
    ),
    # Dispatch
    Mutant(
        "the attempt of a lost agent counts as a crash",
        "dispatch/dispatcher.py",
        "if self._stopping or attempt.is_withdrawn or attempt.lost:",
        "if self._stopping or attempt.is_withdrawn:",
        "dispatch/test_agents.py",
    ),
    Mutant(
        "an agent that was restarted gets an attempt for the second time",
        "dispatch/workers/agent.py",
        "            self._tickets.clear()\n",
        "            pass\n",
        "dispatch/test_agents.py",
    ),
    Mutant(
        "a worker of a Ray job takes the clock of its machine for that of the server",
        "core/tickets.py",
        "ticket.claimed_at + time.time() - now",
        "ticket.claimed_at",
        "worker/test_claim.py",
    ),
    Mutant(
        "a ticket is given to whoever has its code",
        "dispatch/workers/ray.py",
        "if job is None or job.session not in (None, claim.session):",
        "if job is None:",
        "dispatch/workers/test_ray.py",
    ),
    Mutant(
        "a smaller job takes what a larger one waits for",
        "dispatch/placement.py",
        "reserved = self.reservations if needed else {}",
        "reserved: dict[str | None, Reservation] = {}",
        "dispatch/test_placement.py",
    ),
    Mutant(
        "a lease has run out at the first look",
        "dispatch/watchdog.py",
        "if at - self._since[",
        "if 1e9 + at - self._since[",
        "dispatch/test_leases.py",
    ),
    Mutant(
        "a GPU is given to two trainings",
        "dispatch/host/gpus.py",
        "[gpu for gpu in self.owned if gpu not in ",
        "[gpu for gpu in self.owned if True or gpu not in ",
        "dispatch/host/test_gpus.py",
    ),
    Mutant(
        "kill ends another attempt at the same task",
        "dispatch/workers/pool.py",
        "worker.ticket.key == key",
        "worker.ticket.task_id == key[0]",
        "dispatch/workers/test_executor_contract.py",
    ),
    Mutant(
        "a returned ticket goes to a process with other threads",
        "dispatch/workers/process.py",
        "ticket.needs in (None, self.fixed)",
        "self.framework == ticket.framework",
        "dispatch/workers/test_pool.py",
    ),
    Mutant(
        "idle processes are kept whatever memory they take",
        "dispatch/workers/pool.py",
        "if sum(sizes.values()) <= self._warm_bytes:",
        "if sum(sizes.values()) <= 1 << 60:",
        "dispatch/workers/test_pool.py",
    ),
    # The API
    Mutant(
        "any host is answered",
        "api/security.py",
        'if len(hosts) != 1 or host_of("//" + hosts[0]) not in self.allowed:',
        "if len(hosts) != 1:",
        "api/test_security.py",
    ),
    Mutant(
        "any token opens the API",
        "api/deps.py",
        "hmac.compare_digest(given.encode(), token.encode())",
        "True",
        "api/test_app.py",
    ),
    Mutant(
        "a stream that goes on leaves out an event",
        "api/tasks/stream.py",
        "seen = min(",
        "seen = 1 + min(",
        "api/tasks/test_stream.py",
    ),
    Mutant(
        "a small job takes the slot that one on several machines waits for",
        "dispatch/placement.py",
        "kept = place._replace(free_slots=place.free_slots - 1)",
        "kept = place",
        "dispatch/test_placement.py::test_a_job_on_several_machines_keeps_a_slot_at_each_until_it_starts",
    ),
    Mutant(
        "of several machines a lost one counts as a crash",
        "dispatch/running_attempts.py",
        "return self.lost is None, self.is_consequence,",
        "return self.is_consequence, self.lost is None,",
        "dispatch/test_several_machines.py::test_a_lost_machine_ends_the_attempt_and_that_is_no_crash",
    ),
    Mutant(
        "PyTorch: several machines train on different data",
        "engines/machines.py",
        "(machine.about or {}).get(name) != value",
        "machine.about is None and value",
        "engines/torch_engine/test_machines.py::test_other_data_on_a_machine_are_refused_before_the_first_step",
    ),
    Mutant(
        "the queue ignores priorities",
        "store/rows.py",
        "order = QUEUE_ORDER if state is State.PENDING else QUEUE_ORDER[1:]",
        "order = QUEUE_ORDER[1:]",
        "store/test_queue.py",
    ),
    Mutant(
        "a leader of an old term still writes",
        "store/leadership.py",
        "        if newest != self.term:",
        "        if newest is None:",
        "store/test_leadership.py",
    ),
    Mutant(
        "a running task can be deleted",
        "store/jobs.py",
        "if not job.state.is_final:",
        "if False:",
        "api/tasks/test_removal.py",
    ),
    # What is kept on disk
    Mutant(
        "a file's sum is not compared with the manifest",
        "artifact/files.py",
        " or sha256(path) != total",
        "",
        "artifact/test_files.py",
    ),
    Mutant(
        "no fsync before the rename",
        "artifact/files.py",
        "        flush(path)\n    _set_mode(temporary, mode)\n    flush(temporary)\n",
        "    _set_mode(temporary, mode)\n",
        "artifact/test_files.py",
    ),
    Mutant(
        "a checkpoint is reported before it is there",
        "worker/sink.py",
        '        facts = self.facts | {"marks": self.marks}\n        with self.timer',
        '        facts = self.facts | {"marks": self.marks}\n'
        "        number = len(checkpoint.numbered(ticket.checkpoints_dir)) + 1\n"
        '        early = ticket.checkpoints_dir / f"{ticket.attempt:04d}-{number:06d}"\n'
        '        where = {"path": str(early.relative_to(ticket.data_dir)), "epoch": state.epoch, "step": state.step}\n'
        "        self.emit(ReportKind.CHECKPOINT, where)\n"
        "        with self.timer",
        "worker/test_durability_order.py",
    ),
    Mutant(
        "a checkpoint is reported that the server does not have",
        "worker/sink.py",
        "        if not is_sent:\n            return None\n",
        "",
        "worker/test_durability_order.py",
    ),
    Mutant(
        "a manifest is sent before the files that it names",
        "worker/transfer.py",
        "key=lambda name: name == files.MANIFEST)",
        "key=lambda name: name != files.MANIFEST)",
        "worker/test_transfer.py",
    ),
    Mutant(
        "a folder in the object store may lack a file",
        "artifact/stored.py",
        "        if not wrong:\n",
        "        if True:\n",
        "artifact/test_objects.py::test_a_folder_exists_once_its_manifest_does",
    ),
    Mutant(
        "of two writers of a stored folder the slower one wins",
        "artifact/stored.py",
        "    return objects.replace(wanted.key, wanted.content, before)\n",
        "    objects.put(wanted.key, wanted.content)\n    return True\n",
        "artifact/test_objects.py::test_of_two_writers_the_one_who_has_not_seen_the_other_is_refused",
    ),
    Mutant(
        "a store without conditions is accepted",
        "artifact/objects.py",
        "        if not is_kept:\n",
        "        if False:\n",
        "artifact/test_objects.py::test_a_store_that_does_not_keep_conditions_is_refused",
    ),
    Mutant(
        "a copy is deleted that the object store does not have",
        "artifact/copies.py",
        "    if copy.is_folder and (objects is None or not _is_stored(settings, objects, copy)):\n",
        "    if False:\n",
        "api/system/test_copies.py::test_what_the_store_does_not_have_stays",
    ),
    Mutant(
        "an incomplete checkpoint in the object store displaces a complete one",
        "artifact/stored.py",
        '    manifests = (key for key in keys if key.endswith(f"/{files.MANIFEST}"))\n',
        "    manifests = {*keys}\n",
        "api/system/test_stored_files.py::test_a_retry_gets_the_complete_checkpoints_whatever_has_begun_to_be_sent",
    ),
    Mutant(
        "a model whose task another server has removed is served",
        "api/served_models.py",
        "            return await asyncio.to_thread((version.folder / files.FETCHED).is_file)\n",
        "            return False\n",
        "api/system/test_stored_files.py::test_a_model_whose_task_another_server_has_removed_is_not_served",
    ),
    Mutant(
        "a worker gets a URL for any path",
        "api/stored_files.py",
        "    relative = target_of(job, path)\n    if relative.name in (files.MANIFEST",
        "    relative = PurePosixPath(path)\n    if relative.name in (files.MANIFEST",
        "api/system/test_stored_files.py::test_a_worker_is_granted_its_own_paths_only",
    ),
    Mutant(
        "a stale attempt on another machine completes its folder",
        "api/attempt_files.py",
        "                await confirm()\n",
        "",
        "api/system/test_worker_files.py",
    ),
    Mutant(
        "the graph of a model does not scale its numbers",
        "onnx_graph/scales.py",
        'return graph.op("Div", centred, graph.constant([scale.scale for scale in scales]))',
        "return centred",
        "onnx_graph/test_columns.py",
    ),
    Mutant(
        "a saved model may score anything",
        "worker/verification.py",
        "if abs(first - second) > allowed",
        "if False and abs(first - second) > allowed",
        "worker/test_verification.py",
    ),
    Mutant(
        "a served model ignores its threshold",
        "serving/predictor.py",
        "(scores[:, 1] > self.threshold)",
        "(scores[:, 1] > 0.5)",
        "serving/test_predictor.py",
    ),
    Mutant(
        "a replay compares the times of epochs",
        "artifact/comparison.py",
        'found.pop("time_per_epoch", None)',
        'found.pop("", None)',
        "system/test_replay.py",
    ),
    Mutant(
        "predictions ignore the model's threshold",
        "artifact/predict.py",
        "self.encoder.decode(outputs, self.threshold)",
        "self.encoder.decode(outputs)",
        "worker/test_scoring.py",
    ),
    Mutant(
        "a prediction stands in the first row of its window",
        "artifact/predict.py",
        "order[first + shape[0] - 1]",
        "order[first]",
        "artifact/test_predict.py::TestWindows",
    ),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--tested", action="store_true")
    parser.add_argument("--part", default="0/1", help="K/N: every Nth mutant, from the Kth on")
    options = parser.parse_args()
    words = options.words or [""]
    part, parts = map(int, options.part.split("/"))
    chosen = [mutant for mutant in MUTANTS if any(word in mutant.name for word in words)][part % parts :: parts]
    if problems := [str(problem) for mutant in MUTANTS if (problem := misplaced(mutant))]:
        print("\n".join(problems), f"bring {Path(__file__).name} up to date", sep="\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(AT_ONCE):
            copies.put(
                Path(
                    shutil.copytree(
                        ROOT / "src", Path(folder) / str(number), ignore=shutil.ignore_patterns("__pycache__")
                    )
                )
            )
        with ThreadPoolExecutor(AT_ONCE) as pool:
            tests = [] if options.tested else sorted({mutant.test for mutant in chosen})
            healthy = list(pool.map(lambda half: run(ROOT / "src", half), filter(None, (tests[::2], tests[1::2]))))
            if broken := [result.stdout + result.stderr for result in healthy if result.returncode != 0]:
                print("the tests fail without any mutant:", *broken, sep="\n")
                return 1
            noticed = list(pool.map(lambda mutant: is_noticed(copies, mutant), chosen))
    survivors = [mutant.name for mutant, was_noticed in zip(chosen, noticed, strict=True) if not was_noticed]
    print("survived: " + ", ".join(survivors) if survivors else f"all {len(chosen)} mutants were noticed")
    return 1 if survivors else 0


def misplaced(mutant: Mutant) -> ValueError | None:
    try:
        mutant.planted(ROOT / "src")
    except ValueError as error:
        return error
    return None


def is_noticed(copies: "SimpleQueue[Path]", mutant: Mutant) -> bool:
    """Plant the bug in a copy that is free, run its test, take the bug out again."""
    copy = copies.get()
    path = copy / "epochd" / mutant.file
    healthy = path.read_text(encoding="utf-8")
    path.write_text(mutant.planted(copy), encoding="utf-8")
    try:
        failed = run(copy, [mutant.test]).returncode == 1  # pytest: tests ran, and some failed
    finally:
        path.write_text(healthy, encoding="utf-8")
        copies.put(copy)
    print(f"{'noticed ' if failed else 'SURVIVED'}  {mutant.name}  ({mutant.test})", flush=True)
    return failed


def run(source: Path, tests: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        *(f"tests/{test}" for test in tests),
    ]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
