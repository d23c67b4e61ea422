"""How long trainings are expected to take: the table, corrected by what this machine has measured."""

import json
import logging
from dataclasses import asdict, replace
from math import inf, isfinite

import pytest

from epochd.core import specs
from epochd.engines import speeds
from epochd.engines.speeds import KEPT, SAMPLES, SHIPPED, TABLE, Sample, Speed, Speeds, Table
from epochd.loop.engine import Setup

NETWORKS = {"mlp", "cnn", "cnn2d", "lstm", "gru"}
ONE = Table(
    {"mlp": {"pytorch": Speed(0.5, 1e-3, 0.01), "jax": Speed(1.0, 1e-4, 0.01)}},
    {"pytorch": {"start": 0.5, "import": 1.5}, "jax": {"start": 0.5, "import": 1.0}},
    {"cores": 2},
)


def setup(inputs=(3,), **options):
    return Setup(specs.parse({"target_column": "t", "early_stopping_patience": None} | options), "binary", inputs, 1)


def sample(factor=1.0, flops=1e8, engine="pytorch", compile_seconds=0.5, **values):
    """What a machine measures that is ``factor`` times as slow as that of the table."""
    step = factor * ONE.speeds["mlp"][engine].step_seconds(flops)
    return replace(Sample(engine, "mlp", flops, step, compile_seconds), **values)


@pytest.fixture
def known(tmp_path):
    found = Speeds(tmp_path)
    found.write_table(ONE)
    return found


def test_the_shipped_table_has_every_network_and_engine():
    assert set(SHIPPED.speeds) == NETWORKS
    engines = {"pytorch", "tensorflow", "jax"}
    assert all(set(row) == set(SHIPPED.processes) == engines for row in SHIPPED.speeds.values())


@pytest.mark.parametrize(
    ("model", "inputs", "name"),
    [("cnn", (28, 28, 1), "cnn2d"), ("cnn", (50, 8), "cnn"), ("gru", (50, 8), "gru"), ("mlp", (28, 28, 1), "mlp")],
)
def test_convolutions_of_pictures_have_an_entry_of_their_own(model, inputs, name):
    assert speeds.network_of(setup(inputs, model_type=model)) == name


def test_the_estimate_is_start_compilation_and_steps(known):
    given = setup(epochs=10, batch_size=10)
    steps = 10 * 10 * known.speed("pytorch", "mlp", 1e8).step_seconds(speeds.step_flops(given, 100))
    seconds = speeds.training_seconds("pytorch", given, 100, measured=known)
    assert seconds == pytest.approx(2.0 + 0.5 + steps)
    assert speeds.training_seconds("pytorch", given, 100, is_warm=True, measured=known) == pytest.approx(0.5 + steps)
    shared = speeds.training_seconds("pytorch", given, 100, waiting=4, measured=known)
    assert shared == pytest.approx((2.0 + 0.5) / 5 + steps)
    ready = {"is_warm": True, "is_compiled": True}
    assert speeds.training_seconds("pytorch", given, 100, **ready, measured=known) == pytest.approx(steps)


def test_samples_correct_steps_and_replace_compilation_and_import(known):
    for factor, compiled, imported in ((2.0, 0.1, 3.0), (4.0, 0.2, 4.0), (3.0, 0.3, 5.0)):
        known.add(sample(factor, compile_seconds=compiled, import_seconds=imported))
    assert known.speed("pytorch", "mlp", 1e8) == Speed(0.2, pytest.approx(3e-3), pytest.approx(0.03))
    assert known.start_seconds("pytorch") == 0.5 + 4.0


def test_the_samples_that_are_nearest_in_size_count(known):
    for _ in range(5):
        known.add(sample(2.0, flops=1e6))
    for _ in range(5):
        known.add(sample(5.0, flops=1e9))
    assert known.speed("pytorch", "mlp", 2e6).step == pytest.approx(2e-3)
    assert known.speed("pytorch", "mlp", 5e8).step == pytest.approx(5e-3)


def test_of_samples_of_one_size_the_newest_count(known):
    for factor in [9.0] * 6 + [2.0] * 5:
        known.add(sample(factor))
    assert known.speed("pytorch", "mlp", 1e8).step == pytest.approx(2e-3)


def test_an_engine_without_samples_is_as_slow_as_the_machine(known):
    known.add(sample(3.0, engine="jax"))
    assert known.speed("pytorch", "mlp", 1e8) == Speed(1.5, pytest.approx(3e-3), pytest.approx(0.03))


def test_samples_survive_a_restart_and_are_bounded(known, tmp_path):
    for number in range(KEPT + 3):
        known.add(sample(2.0, compile_seconds=float(number)))
    known.add(sample(2.0, engine="jax"))
    stored = json.loads((tmp_path / SAMPLES).read_bytes())["samples"]
    assert len(stored) == KEPT + 1
    assert stored[0]["compile_seconds"] == 3.0, "the oldest ones are forgotten"
    assert Speeds(tmp_path).speed("pytorch", "mlp", 1e8) == known.speed("pytorch", "mlp", 1e8)
    assert {path.name for path in tmp_path.iterdir()} == {SAMPLES, TABLE}, "no temporary file is left"
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


SAMPLE = '{"samples": [{"engine": %s, "network": "mlp", "flops": 1e6, "step_seconds": 1e-4, "compile_seconds": %s}]}'
TABLE_OF_ONE = '{"measured": {}, "engines": {}, "cpu": {"mlp": {"jax": {"compile": 1, "step": %s, "gflop": 0}}}}'
DAMAGED = {
    "truncated": b"{",
    "list": b"[]",
    "no fields": b'{"samples": [{"engine": "jax"}]}',
    "no engines": b'{"cpu": {"mlp": 3}}',
    "no text": b"\xff",
    "deep": b"[" * 100_000,
    "engine": (SAMPLE % ("[1]", "1.0")).encode(),
    "compilation": (SAMPLE % ('"jax"', "{}")).encode(),
    "huge": (SAMPLE % ('"jax"', "1" + "0" * 400)).encode(),
    "standstill": (TABLE_OF_ONE % "0").encode(),
    "huge step": (TABLE_OF_ONE % ("1" + "0" * 400)).encode(),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_ignored_with_a_warning(tmp_path, caplog, content):
    (tmp_path / SAMPLES).write_bytes(content)
    (tmp_path / TABLE).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        found = Speeds(tmp_path)
        assert found.table is SHIPPED
    assert len(caplog.records) == 2
    found.add(sample())
    assert len(Speeds(tmp_path)._samples) == 1, "and replaced by the next sample"


def test_missing_files_are_not_worth_a_warning(tmp_path, caplog):
    assert Speeds(tmp_path / "none").table is SHIPPED
    assert not caplog.records


def test_a_folder_that_cannot_be_written_to_loses_samples_at_the_next_start_only(tmp_path, caplog):
    (tmp_path / "file").touch()
    found = Speeds(tmp_path / "file")
    found.add(sample(2.0, engine="jax"))
    assert found._machine_factor() != 1.0
    assert "cannot be stored" in caplog.text


def test_a_table_that_is_written_while_the_server_runs_is_used_at_once(tmp_path):
    server = Speeds(tmp_path)
    assert server.table is SHIPPED
    Speeds(tmp_path).write_table(ONE)
    assert server.table == ONE


@pytest.mark.parametrize("broken", [{"step_seconds": 0}, {"flops": 0}, {"step_seconds": float("nan")}, {"flops": "1"}])
def test_impossible_samples_are_refused(broken):
    with pytest.raises((ValueError, TypeError)):
        Sample.from_json(asdict(sample()) | broken)
    assert Sample.from_json(asdict(sample())) == sample()


def test_a_fit_finds_overhead_and_operations():
    found = speeds.fitted(sample(2.0, flops=flops) for flops in (1e6, 1e8, 1e9))
    assert found == Speed(0.5, pytest.approx(2e-3), pytest.approx(0.02))


def test_a_fit_has_no_negative_parts():
    falling = [sample(flops=1e6, step_seconds=2e-3), sample(flops=1e9, step_seconds=1e-3)]
    assert speeds.fitted(falling).gflop == 0
    steep = [sample(flops=1e8, step_seconds=1e-4), sample(flops=1e9, step_seconds=1e-1)]
    assert speeds.fitted(steep).step == speeds.LEAST_STEP
    assert speeds.fitted([sample(flops=1e9, step_seconds=0.5)]).gflop == pytest.approx(0.5)


def test_only_the_first_training_of_a_shape_tells_how_long_its_programs_compile(tmp_path):
    found = Speeds(tmp_path)
    for compile_seconds in (2.0, 0.01, 0.02):
        found.add(sample(engine="jax", compile_seconds=compile_seconds, shape="one"))
    assert found.is_compiled("jax", "one")
    assert not found.is_compiled("jax", "other")
    assert not found.is_compiled("tensorflow", "one")
    assert not found.is_compiled("jax", None)
    again = Speeds(tmp_path)
    assert again.speed("jax", "mlp", 1e9).compile == pytest.approx(2.0)
    assert again.is_compiled("jax", "one")


def test_a_sample_of_an_earlier_version_has_no_shape():
    values = asdict(sample(engine="jax"))
    del values["shape"]
    assert Sample.from_json(values).shape is None


def test_the_engine_that_was_used_last_comes_first(known):
    for engine in ("pytorch", "jax", "pytorch"):
        known.add(sample(engine=engine))
    assert known.recent_engines() == ["pytorch", "jax"]


@pytest.mark.parametrize(
    ("gains", "limit"),
    [
        ({1e6: 0.5, 1e8: 1.5, 1e9: 1.8}, 1e8),
        ({1e6: 2.0, 1e8: 1.05, 1e9: 1.8}, 1e9),
        ({1e6: 2.0, 1e9: 0.9}, inf),
        ({1e6: 2.0}, 1e6),
    ],
)
def test_all_threads_are_used_from_the_step_from_which_all_larger_ones_gain(gains, limit):
    alone = [sample(flops=flops) for flops in gains]
    together = [sample(1 / gain, flops=flops) for flops, gain in gains.items()]
    assert speeds.thread_limits(alone, together) == {"mlp": {"pytorch": limit}}
    table = replace(ONE, threads=speeds.thread_limits(alone, together))
    assert Table.from_json(json.loads(json.dumps(table.as_json(), allow_nan=False))) == table
    assert isfinite(table.threads_of("pytorch")["mlp"])
    assert table.threads_of("jax") == {}


def test_without_the_same_step_on_one_thread_nothing_is_known():
    assert speeds.thread_limits([sample(flops=1e6)], [sample(flops=2e6)]) == {}


def test_several_networks_take_the_steps_of_each_but_compile_once(known):
    given = {"is_warm": True, "measured": known}
    one, four = (speeds.training_seconds("jax", setup(**options), 100, **given) for options in ({}, {"ensemble": 4}))
    compiled = ONE.speeds["mlp"]["jax"].compile
    assert four - compiled == pytest.approx(4 * (one - compiled))
