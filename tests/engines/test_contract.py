"""What every engine must fulfil; one class of tests, run for each installed engine."""

import numpy as np
import pytest

from epochd.engines import architecture, registry
from epochd.loop import metrics

TASKS = ["binary", "multiclass", "regression"]
OPTIMIZERS = ["adam", "adamw", "sgd", "rmsprop"]


@pytest.fixture(params=registry.installed())
def build(request):
    return lambda setup, part: registry.build(request.param, setup, part)


def order(part, epoch=0):
    return np.random.default_rng(epoch).permutation(len(part))


def same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


class TestEngine:
    def test_it_starts_from_the_canonical_weights(self, build, make):
        setup, part = make()
        same(build(setup, part).weights(), architecture.initial_weights(setup))

    @pytest.mark.parametrize("task", TASKS)
    def test_its_outputs_equal_the_reference_network(self, build, make, task):
        setup, part = make(task)
        engine = build(setup, part)
        engine.train(order(part), 0, 0.01)
        expected = architecture.forward(setup, engine.weights(), part.x)
        np.testing.assert_allclose(engine.outputs(part.x), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("task", TASKS)
    def test_the_first_loss_is_that_of_the_initial_weights(self, build, make, task):
        setup, part = make(task, dropout_rate=0.0, batch_size=len(make(task)[1]))
        engine = build(setup, part)
        expected = metrics.score(engine.outputs(part.x), part.y, task)
        totals = engine.train(order(part), 0, 1e-9)
        assert totals.rows == len(part)
        assert totals.loss / totals.rows == pytest.approx(expected.loss, rel=1e-5)
        if task != "regression":
            assert totals.score / totals.rows == pytest.approx(expected.accuracy, abs=1e-9)

    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    @pytest.mark.parametrize("task", TASKS)
    def test_it_learns(self, build, make, task, optimizer):
        setup, part = make(task, optimizer=optimizer)
        engine = build(setup, part)
        rate = 0.1 if optimizer == "sgd" else 0.005
        before = metrics.score(engine.outputs(part.x), part.y, task).loss
        for epoch in range(5):
            engine.train(order(part, epoch), epoch * 100, rate)
        assert metrics.score(engine.outputs(part.x), part.y, task).loss < 0.8 * before

    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_a_restored_engine_goes_on_bit_for_bit(self, build, make, optimizer):
        setup, part = make(optimizer=optimizer, dropout_rate=0.4)
        straight = build(setup, part)
        straight.train(order(part), 0, 0.01)
        weights, memory = straight.weights(), straight.optimizer_state()
        straight.train(order(part, 1), 18, 0.005)

        resumed = build(setup, part)
        resumed.train(order(part, 5), 3, 0.02)
        resumed.load_weights(weights)
        resumed.load_optimizer_state(memory)
        resumed.train(order(part, 1), 18, 0.005)
        same(resumed.weights(), straight.weights())
        same(resumed.optimizer_state(), straight.optimizer_state())

    def test_dropout_is_a_function_of_seed_and_step(self, build, make):
        def loss(seed, step):
            setup, part = make(seed=seed, dropout_rate=0.5)
            engine = build(setup, part)
            engine.load_weights(architecture.initial_weights(make(seed=0)[0]))
            return engine.train(order(part), step, 1e-9).loss

        assert loss(1, 0) == loss(1, 0)
        assert len({loss(1, 0), loss(1, 1), loss(2, 0)}) == 3

    def test_copies_are_handed_out(self, build, make):
        setup, part = make()
        engine = build(setup, part)
        kept = engine.weights()
        engine.train(order(part), 0, 0.1)
        same(kept, architecture.initial_weights(setup))

    def test_sgd_steps_equal_gradients_by_hand(self, build, make):
        """One full-batch step on a network without hidden nonlinearity at work: logistic regression's gradient."""
        setup, part = make(hidden_units=[1], dropout_rate=0.0, optimizer="sgd", batch_size=len(make()[1]))
        engine = build(setup, part)
        before = engine.weights()
        hidden = np.maximum(part.x @ before["hidden.0.weight"].T + before["hidden.0.bias"], 0)
        logit = hidden @ before["output.weight"].T + before["output.bias"]
        slope = (1 / (1 + np.exp(-logit[:, 0])) - part.y) / len(part)
        engine.train(np.arange(len(part)), 0, 0.5)
        after = engine.weights()
        np.testing.assert_allclose(after["output.bias"], before["output.bias"] - 0.5 * slope.sum(), atol=1e-6)
        np.testing.assert_allclose(
            after["output.weight"][0], before["output.weight"][0] - 0.5 * slope @ hidden, atol=1e-6
        )
