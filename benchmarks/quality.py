"""How well epochd's models predict, beside each other and beside Keras ``fit``: ``make quality``.

Every engine trains the same specs on the same splits, three seeds each; Keras (on TensorFlow, with its own initial
weights) trains the same networks on the same rows with the same batch size, epochs and early stopping. The score
is that of the held-out rows at the best epoch: accuracy, or R² for regression. Each side has a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import trials
from rich.console import Console
from rich.table import Table

from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.engines import registry
from epochd.loop import fit, metrics
from epochd.loop.members import Member, Members
from epochd.loop.state import LoopState
from epochd.worker.execute import Training

KERAS = "keras fit"
EPOCHS = 100
Scores = dict[str, dict[str, list[float]]]
"""Trial → side → one score per seed."""


def main() -> None:
    options = parse()
    if options.side:
        learn(options.side, Path(options.folder), options.epochs, options.trials)
        return
    scores = compare(options)
    verdicts = [Verdict(trial, found) for trial, found in scores.items()]
    show(verdicts, Console(width=max(120, Console().width)))
    if options.json:
        options.json.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    names = [trial.name for trial in trials.TRIALS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=lambda text: text.split(","), default=names, help=f"of {','.join(names)}")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all scores there")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def compare(options: argparse.Namespace) -> Scores:
    """Run the sides one after another."""
    scores: Scores = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as folder:
        names = options.trials
        if not trials.write_series(Path(folder)):
            print("the time series is left out: vega-datasets is not installed", file=sys.stderr)
            names = [trial.name for trial in trials.TRIALS if trial.name in names and not trial.needs_series]
        for side in sides():
            arguments = [
                "--side",
                side,
                "--folder",
                folder,
                "--epochs",
                str(options.epochs),
                "--trials",
                ",".join(names),
            ]
            for trial, score in side_scores(arguments):
                scores[trial][side].append(score)
    return scores


def sides() -> list[str]:
    here = all(find_spec(module) for module in ("keras", "tensorflow"))
    return [*registry.installed(), *([KERAS] if here else [])]


def side_scores(arguments: Sequence[str]) -> Iterator[tuple[str, float]]:
    """What a side's process prints, line by line; its end is waited for."""
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            trial, seed, score = json.loads(line)
            print(f"{arguments[1]}, {trial}, seed {seed}: {score:.4f}", file=sys.stderr, flush=True)
            yield trial, score
    if process.returncode:
        raise SystemExit(f"{arguments[1]} failed with exit code {process.returncode}")


def learn(side: str, folder: Path, epochs: int, names: list[str]) -> None:
    """In a side's process: print [trial, seed, score] for each training."""
    score: Callable[[Training], float] = keras_score if side == KERAS else partial(our_score, side)
    for trial, seed, training in trials.trainings(folder, epochs, names):
        print(json.dumps([trial.name, seed, score(training)]), flush=True)


def our_score(framework: str, training: Training) -> float:
    config, name = trials.held_out(training)
    state = LoopState(config.spec.learning_rate)
    with closing(registry.build(framework, training.setup, config.train)) as engine:
        fit.fit(Members([Member(engine, config, state)]), Silence())
    assert state.best_row is not None
    return float(state.best_row[name])


class Silence:
    """A sink for a training that nobody watches."""

    def emit(self, kind: ReportKind, payload: dict[str, Any]) -> None:
        """Nobody listens."""

    def position(self, epoch: int, step: int, steps: int) -> None:
        """Nobody listens."""

    def command(self) -> Command:
        return Command.CONTINUE

    def checkpoint_due(self) -> bool:
        return False

    def checkpoint(self, members: Members) -> None:
        """Never due."""


def keras_score(training: Training) -> float:
    """``fit`` with Keras's own early stopping; the weights of the best epoch are scored by our metrics."""
    import keras
    from keras_networks import network

    config, name = trials.held_out(training)
    spec, validation = config.spec, config.validation
    assert validation is not None
    keras.utils.set_random_seed(spec.seed)
    model = network(
        spec.model_type, training.setup.inputs, spec.hidden_units, spec.dropout_rate, training.setup.outputs
    )
    losses = {
        "binary": keras.losses.BinaryCrossentropy(from_logits=True),
        "multiclass": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "regression": keras.losses.MeanSquaredError(),
    }
    model.compile(keras.optimizers.Adam(spec.learning_rate), losses[config.task])
    stop = keras.callbacks.EarlyStopping(
        monitor=spec.watched,
        min_delta=spec.min_delta,
        patience=spec.early_stopping_patience,
        restore_best_weights=True,
    )
    y, held_out_y = (part.y.reshape(-1, 1) for part in (config.train, validation))
    model.fit(
        config.train.x,
        y,
        batch_size=spec.batch_size,
        epochs=spec.epochs,
        validation_data=(validation.x, held_out_y),
        callbacks=[stop],
        verbose=0,
    )
    scores = metrics.evaluation(model.predict(validation.x, verbose=0), validation.y, config.task)
    return float(scores[name.removeprefix("val_")])


@dataclass(frozen=True)
class Verdict:
    """The scores of one trial, side by side. ``deviation`` is the sides' standard deviation over seeds, pooled
    (root mean square), which is the unit of both questions."""

    trial: str
    scores: dict[str, list[float]]

    @property
    def engines(self) -> list[str]:
        return [side for side in self.scores if side != KERAS]

    @property
    def deviation(self) -> float:
        spreads = [stdev(found) if len(found) > 1 else 0.0 for found in self.scores.values()]
        return sqrt(mean(spread**2 for spread in spreads))

    @property
    def range(self) -> float:
        """Between the best and the worst engine's mean."""
        means = [mean(self.scores[engine]) for engine in self.engines]
        return max(means) - min(means)

    @property
    def above_keras(self) -> float | None:
        """The worst engine's mean less Keras's."""
        if KERAS not in self.scores:
            return None
        return min(mean(self.scores[engine]) for engine in self.engines) - mean(self.scores[KERAS])


def show(verdicts: Sequence[Verdict], console: Console) -> None:
    columns = list(dict.fromkeys(side for verdict in verdicts for side in verdict.scores))
    table = Table(title="Validation score (accuracy; R² for diabetes and temperature), mean ± sd of three seeds")
    table.add_column("trial")
    for title in (*columns, "pooled sd", "engines' range", "worst - Keras", "engines agree", "not below Keras"):
        table.add_column(title, justify="right")
    for verdict in verdicts:
        table.add_row(verdict.trial, *(_cell(verdict.scores.get(side, [])) for side in columns), *_judged(verdict))
    table.caption = (
        "agree: the engines' range is within one pooled sd; not below: the worst is less than one under Keras"
    )
    console.print(table)


def _cell(scores: Sequence[float]) -> str:
    spread = f" ± {stdev(scores):.3f}" if len(scores) > 1 else ""
    return f"{mean(scores):.3f}{spread}" if scores else ""


def _judged(verdict: Verdict) -> Iterator[str]:
    gap, unit = verdict.above_keras, verdict.deviation
    yield f"{unit:.3f}"
    yield f"{verdict.range:.3f}"
    yield "" if gap is None else f"{gap:+.3f}"
    yield "yes" if verdict.range <= unit else "NO"
    yield "" if gap is None else "yes" if gap >= 0 else "within one sd" if gap >= -unit else "NO"


if __name__ == "__main__":
    main()
