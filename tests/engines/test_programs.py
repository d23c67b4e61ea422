"""Trainings of one shape use one compiled program."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import network, programs, registry

VARIANTS = {
    "seed": {"seed": 7},
    "learning rate": {"learning_rate": 0.02, "learning_rate_scheduler": "cosine"},
    "epochs": {"epochs": 12_000, "early_stopping_patience": 3},
    "dropout": {"dropout_rate": 0.4},
    "weight decay": {"weight_decay": 0.3},
    "gradient clip": {"gradient_clip": 0.5},
    "label smoothing": {"label_smoothing": 0.2},
    "class weights": {"class_weights": (1.0, 3.0)},
    "rows": {"rows": 290},
}
"""How a training differs from the first one, which has 300 rows and the options of ``FIRST``."""
FIRST = {
    "dropout_rate": 0.2,
    "weight_decay": 0.01,
    "gradient_clip": 1.0,
    "label_smoothing": 0.1,
    "class_weights": (1.0, 2.0),
    "epochs": 10_000,
}


@pytest.fixture
def compilations():
    """A function that returns the number of programs that XLA has compiled for JAX so far."""
    jax = pytest.importorskip("jax")
    seconds = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield lambda: len(seconds)
    jax.monitoring.unregister_event_duration_listener(listen)


def setup_of(make, **options):
    rows = options.pop("rows", 300)
    setup, part = make(**{**FIRST, **options})
    return setup, InMemoryDataset(part.x[:rows], part.y[:rows])


def train(framework, setup, part, rate=0.01):
    """Two epochs and an evaluation: the weights and the outputs."""
    engine = registry.build(framework, setup, part)
    batches = network.batches(setup, len(part))
    for epoch in range(2):
        for chunk in batches.chunks(epoch):
            engine.train(chunk.rows, epoch * batches.steps + chunk.first_step, rate)
    return engine.weights(), engine.outputs(part.x)


@pytest.mark.parametrize("variant", VARIANTS)
def test_jax_compiles_nothing_for_another_training_of_the_shape(make, compilations, variant):
    train("jax", *setup_of(make))
    before = compilations()
    setup, part = setup_of(make, **VARIANTS[variant])
    weights, _ = train("jax", setup, part, 0.02 if variant == "learning rate" else 0.01)
    assert compilations() == before
    alone, _ = train("jax", *setup_of(make))
    assert any(not np.array_equal(weights[name], alone[name]) for name in weights) is (variant != "epochs")


def test_jax_compiles_another_program_for_another_network(make, compilations):
    train("jax", *setup_of(make))
    before = compilations()
    train("jax", *setup_of(make, hidden_units=[9]))
    assert compilations() > before


@pytest.mark.parametrize("variant", VARIANTS)
def test_tensorflow_traces_nothing_for_another_training_of_the_shape(make, variant):
    pytest.importorskip("tensorflow")
    chunk_program = importlib.import_module("epochd.engines.tensorflow_engine.devices").chunk_program
    outputs_program = importlib.import_module("epochd.engines.tensorflow_engine.engine").outputs_program
    first, _ = setup_of(make)
    shape = programs.ProgramSetup.of(first)
    train("tensorflow", *setup_of(make))
    chunk, outputs = chunk_program(shape, True, "float32"), outputs_program(shape)
    before = chunk.experimental_get_tracing_count(), outputs.experimental_get_tracing_count()
    train("tensorflow", *setup_of(make, **VARIANTS[variant]))
    assert (chunk.experimental_get_tracing_count(), outputs.experimental_get_tracing_count()) == before
    other, _ = setup_of(make, **VARIANTS[variant])
    assert chunk_program(programs.ProgramSetup.of(other), True, "float32") is chunk


def test_what_a_program_is_not_told_of_is_no_part_of_its_setup(make):
    one, _ = setup_of(make)
    other, _ = make(seed=3, learning_rate=0.5, epochs=3, dropout_rate=0.0, weight_decay=0.0, early_stopping_patience=1)
    left, right = programs.ProgramSetup.of(one), programs.ProgramSetup.of(replace(other, rows=12, threads=2))
    assert left == right
    assert left.setup == right.setup


@pytest.mark.parametrize("rows", [1, 64, 65, 100, 455, 1_000, 99_999, 1 << 20, (1 << 20) + 1])
def test_a_capacity_holds_the_rows_and_wastes_at_most_an_eighth(rows):
    assert rows <= programs.capacity(rows) <= max(64, rows * 9 / 8)
    assert programs.capacity(programs.capacity(rows)) == programs.capacity(rows)
