"""What every engine must fulfil: one class of tests, run for each installed engine."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load, save

from epochd.core.errors import InvalidSpec
from epochd.core.target_scale import relative
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import network, reference, registry
from epochd.loop import metrics

TASKS = ["binary", "multiclass", "regression"]
OPTIMIZERS = ["adam", "adamw", "sgd", "rmsprop"]


@pytest.fixture(params=registry.installed())
def framework(request):
    return request.param


@pytest.fixture
def build(framework):
    return lambda setup, part: registry.build(framework, setup, part)


def order(part, epoch=0):
    return np.random.default_rng(epoch).permutation(len(part))


def stored(arrays):
    """What a checkpoint gives back."""
    return load(save(arrays))


def same(left, right, **tolerance):
    assert left.keys() == right.keys()
    for name in left:
        if tolerance:
            np.testing.assert_allclose(left[name], right[name], err_msg=name, **tolerance)
        else:
            np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def loss_of(outputs, part, setup):
    """The training loss by the book: smoothed, weighted, the mean over rows; in NumPy."""
    rows, smooth = len(part), setup.spec.label_smoothing
    if setup.task == "regression":
        return float(((outputs[:, 0] - part.y) ** 2).mean())
    wide = outputs.astype(np.float64)
    weights = np.array(setup.class_weights or (1.0,) * max(2, setup.outputs))[part.y.astype(int)]
    if setup.task == "binary":
        y = part.y * (1 - smooth) + smooth / 2
        losses = np.logaddexp(0, wide[:, 0]) - y * wide[:, 0]
    else:
        logs = wide - np.logaddexp.reduce(wide, axis=1, keepdims=True)
        losses = -(1 - smooth) * logs[np.arange(rows), part.y] - smooth * logs.mean(1)
    return float((losses * weights).mean())


OTHERS = [name for name in registry.installed() if name != "pytorch"]
"""PyTorch is what they are compared with, and is not compared with itself."""
PLAIN = ["mlp", "mlp-gelu", "cnn-1d", "cnn-2d", "lstm", "lstm-bidirectional", "gru"]
ARCHITECTURES = ["mlp", "cnn-2d", "lstm-bidirectional"]
"""For what depends neither on the activation nor on the kind of cell nor on a layer having one direction or dimension
only. A GRU, with a mask, is among ``TestEmbeddingsAndMasks``."""
EMBEDDED = ["mlp-embeddings", "cnn-embedding", "lstm-embedding", "gru-embedding"]
MASKED = ["cnn-masked", "lstm-masked-bidirectional", "gru-masked-bidirectional"]


def outputs_and_loss_equal_the_reference_networks(engine, setup, part):
    for _ in range(2):
        outputs = reference.forward(setup, engine.weights(), part.x)
        np.testing.assert_allclose(engine.outputs(part.x), outputs, rtol=1e-4, atol=1e-5)
        expected = metrics.evaluation(engine.outputs(part.x), part.y, setup.task)
        totals = engine.train(order(part), 0, 0.01)
        assert totals.rows == len(part)
        assert totals.loss / totals.rows == pytest.approx(expected["loss"], rel=1e-5)
        if setup.task != "regression":
            assert totals.score / totals.rows == pytest.approx(expected["accuracy"], abs=1e-9)


@pytest.mark.parametrize("model", PLAIN)
class TestEveryModel:
    def test_it_starts_from_the_canonical_weights(self, build, make, model):
        setup, part = make(model=model)
        weights = build(setup, part).weights()
        same(weights, network.initial_weights(setup))
        assert sum(w.size for w in weights.values()) == network.parameter_count(setup)

    def test_pytorch_computes_outputs_and_loss_of_the_reference_networks(self, make, model):
        """The others follow PyTorch: see the next test."""
        setup, part = make("multiclass", model, dropout_rate=0.0, batch_size=300)
        outputs_and_loss_equal_the_reference_networks(registry.build("pytorch", setup, part), setup, part)

    @pytest.mark.parametrize("name", OTHERS)
    def test_twenty_sgd_steps_follow_the_same_path_and_the_weights_can_be_exchanged(self, name, make, model):
        """PyTorch's autograd from the same weights is the path."""
        options = {"optimizer": "sgd", "dropout_rate": 0.0, "batch_size": 15}
        setup, part = make("multiclass", model, **options)
        engine, oracle = registry.build(name, setup, part), registry.build("pytorch", setup, part)
        np.testing.assert_allclose(engine.outputs(part.x), oracle.outputs(part.x), rtol=1e-4, atol=1e-5)
        totals, expected = (one.train(order(part), 0, 0.1) for one in (engine, oracle))
        same(engine.weights(), oracle.weights(), atol=1e-4, rtol=0)
        assert totals.rows == expected.rows == len(part)
        assert totals.loss == pytest.approx(expected.loss, rel=1e-4)

        oracle.train(order(part, 1), 20, 0.1)
        engine.load_weights(stored(oracle.weights()))
        np.testing.assert_allclose(engine.outputs(part.x), oracle.outputs(part.x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("task", "model"),
    [*((task, "mlp") for task in TASKS), ("regression", "cnn-2d"), ("binary", "lstm-bidirectional")],
)
def test_outputs_and_loss_equal_the_reference_networks_for_every_task(build, make, task, model):
    setup, part = make(task, model, dropout_rate=0.0, batch_size=300, hidden_units=[8])
    outputs_and_loss_equal_the_reference_networks(build(setup, part), setup, part)


class TestEveryArchitecture:
    @pytest.mark.parametrize("model", ARCHITECTURES)
    def test_a_restored_engine_goes_on_bit_for_bit(self, build, make, model):
        setup, part = make(model=model, dropout_rate=0.4, hidden_units=[8])
        straight = build(setup, part)
        straight.train(order(part), 0, 0.01)
        weights, memory = stored(straight.weights()), stored(straight.optimizer_state())
        straight.train(order(part, 1), 10, 0.005)

        resumed = build(setup, part)
        resumed.train(order(part, 5), 3, 0.02)
        resumed.load_weights(weights)
        resumed.load_optimizer_state(memory)
        resumed.train(order(part, 1), 10, 0.005)
        same(resumed.weights(), straight.weights())
        same(resumed.optimizer_state(), straight.optimizer_state())

    def test_two_devices_give_the_result_of_one(self, build, make):
        """Dropout included: each row's mask belongs to its place in the global batch."""
        results = []
        for devices in (1, 2):
            setup, part = make(model="cnn-2d", devices=devices, dropout_rate=0.3, optimizer="sgd")
            engine = build(setup, part)
            try:
                totals = engine.train(order(part), 0, 0.1)
                results.append((totals, engine.weights()))
            finally:
                engine.close()
        (one, weights_one), (two, weights_two) = results
        assert two.rows == one.rows
        assert two.loss == pytest.approx(one.loss, rel=1e-5)
        assert two.score == one.score
        same(weights_two, weights_one, atol=1e-5, rtol=0)


class TestEmbeddingsAndMasks:
    @pytest.mark.parametrize("model", EMBEDDED + MASKED)
    def test_twenty_sgd_steps_follow_the_same_path_to_the_reference(self, framework, build, make, model):
        """PyTorch's autograd from the canonical weights is the path; dropout off, what comes out is the reference's."""
        options = {"optimizer": "sgd", "dropout_rate": 0.0, "batch_size": 15}
        setup, part = make("multiclass", model, **options)
        engine = build(setup, part)
        same(engine.weights(), network.initial_weights(setup))
        engine.train(order(part), 0, 0.1)
        if framework != "pytorch":
            oracle = registry.build("pytorch", setup, part)
            oracle.train(order(part), 0, 0.1)
            same(engine.weights(), oracle.weights(), atol=1e-4, rtol=0)
        expected = reference.forward(setup, engine.weights(), part.x)
        np.testing.assert_allclose(engine.outputs(part.x), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("model", ["mlp-embeddings", "gru-masked-bidirectional"])
    def test_a_restored_engine_goes_on_bit_for_bit(self, build, make, model):
        setup, part = make("multiclass", model, dropout_rate=0.4, hidden_units=[8])
        straight, resumed = build(setup, part), build(setup, part)
        straight.train(order(part), 0, 0.01)
        resumed.load_weights(stored(straight.weights()))
        resumed.load_optimizer_state(stored(straight.optimizer_state()))
        for engine in (straight, resumed):
            engine.train(order(part, 1), 10, 0.005)
        same(resumed.weights(), straight.weights())

    @pytest.mark.parametrize("model", ["mlp-embeddings", "gru-masked"])
    def test_two_devices_give_the_result_of_one(self, build, make, model):
        results = []
        for devices in (1, 2):
            options = {"dropout_rate": 0.3, "optimizer": "sgd", "hidden_units": [8]}
            setup, part = make("multiclass", model, devices=devices, **options)
            with closing(build(setup, part)) as engine:
                engine.train(order(part), 0, 0.1)
                results.append(engine.weights())
        same(*results, atol=1e-5, rtol=0)

    def test_codes_that_no_row_has_keep_their_vectors(self, build, make):
        setup, part = make("multiclass", "mlp-embeddings", dropout_rate=0.0, activation="tanh")
        engine = build(setup, part)
        before = engine.weights()
        engine.train(order(part), 0, 0.01)
        for i, embedding in enumerate(setup.embeddings):
            moved = engine.weights()[f"embedding.{i}.weight"] != before[f"embedding.{i}.weight"]
            seen = np.isin(np.arange(embedding.codes), part.x[:, embedding.channel])
            np.testing.assert_array_equal(moved.any(1), seen)


class TestTraining:
    def test_two_devices_are_restored_bit_for_bit(self, build, make):
        setup, part = make(devices=2, dropout_rate=0.3)
        with closing(build(setup, part)) as straight:
            straight.train(order(part), 0, 0.01)
            weights, memory = stored(straight.weights()), stored(straight.optimizer_state())
            straight.train(order(part, 1), 10, 0.01)
            expected = straight.weights()
        with closing(build(setup, part)) as resumed:
            resumed.load_weights(weights)
            resumed.load_optimizer_state(memory)
            resumed.train(order(part, 1), 10, 0.01)
            same(resumed.weights(), expected)

    @pytest.mark.parametrize(("task", "optimizer"), [*zip([*TASKS, "binary"], OPTIMIZERS, strict=True)])
    def test_it_learns(self, build, make, task, optimizer):
        setup, part = make(task, optimizer=optimizer)
        engine = build(setup, part)
        rate = 0.1 if optimizer == "sgd" else 0.005
        before = metrics.evaluation(engine.outputs(part.x), part.y, task)["loss"]
        for epoch in range(8):
            engine.train(order(part, epoch), epoch * 10, rate)
        assert metrics.evaluation(engine.outputs(part.x), part.y, task)["loss"] < 0.8 * before

    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    @pytest.mark.parametrize("decay", [None, 0.1])
    @pytest.mark.parametrize("name", OTHERS)
    def test_optimizers_follow_pytorch(self, name, make, optimizer, decay):
        """Ten steps against torch.optim itself: constants, bias correction and weight decay included."""
        options = {"optimizer": optimizer, "dropout_rate": 0.0, "batch_size": 30, "weight_decay": decay}
        setup, part = make("regression", **options)
        engine, oracle = registry.build(name, setup, part), registry.build("pytorch", setup, part)
        for one in (engine, oracle):
            one.train(order(part), 0, 0.01)
        same(engine.weights(), oracle.weights(), atol=5e-5, rtol=0)

    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_every_optimizer_is_restored_bit_for_bit(self, build, make, optimizer):
        setup, part = make(optimizer=optimizer)
        straight = build(setup, part)
        straight.train(order(part), 0, 0.01)
        resumed = build(setup, part)
        resumed.load_weights(straight.weights())
        resumed.load_optimizer_state(straight.optimizer_state())
        for engine in (straight, resumed):
            engine.train(order(part, 1), 10, 0.01)
        same(resumed.weights(), straight.weights())

    def test_a_fresh_engine_has_a_memory_that_can_be_restored(self, build, make):
        setup, part = make()
        first, second = build(setup, part), build(setup, part)
        second.load_optimizer_state(first.optimizer_state())
        for engine in (first, second):
            engine.train(order(part), 0, 0.01)
        same(second.weights(), first.weights())

    @pytest.mark.parametrize("task", ["binary", "multiclass"])
    @pytest.mark.parametrize(
        "options", [{"label_smoothing": 0.2}, {"class_weights": (0.5, 2.0, *[1.0] * 8)}], ids=["smoothing", "weights"]
    )
    def test_the_loss_is_smoothed_and_weighted_by_the_book(self, build, make, task, options):
        setup, part = make(task, dropout_rate=0.0, batch_size=300, **options)
        engine = build(setup, part)
        expected = loss_of(engine.outputs(part.x), part, setup)
        totals = engine.train(order(part), 0, 1e-9)
        assert totals.loss / totals.rows == pytest.approx(expected, rel=1e-5)
        assert expected != pytest.approx(metrics.evaluation(engine.outputs(part.x), part.y, task)["loss"], rel=1e-4)

    @pytest.mark.parametrize("devices", [1, 2])
    def test_squared_errors_of_logarithms_are_added_up_in_the_targets_own_unit(self, build, make, devices):
        setup, part = make("regression", dropout_rate=0.0, batch_size=300, devices=devices)
        log = (1.7, float(part.y.max()))
        with closing(build(replace(setup, target_log=log), part)) as engine:
            outputs = engine.outputs(part.x)[:, 0]
            totals = engine.train(order(part), 0, 1e-9)
            errors = relative(outputs, *log) - relative(part.y, *log)
            assert totals.score == pytest.approx(float((errors**2).sum()), rel=1e-4)
            assert totals.loss == pytest.approx(float(((outputs - part.y) ** 2).sum()), rel=1e-5)

    @pytest.mark.parametrize("task", TASKS)
    @pytest.mark.parametrize("classes", [False, True], ids=["rows", "rows and classes"])
    def test_rows_count_by_their_weight_in_loss_score_and_step(self, build, make, task, classes):
        """Whole weights are what repeated rows would do, but for the size of the batch; class weights multiply."""
        options = {"optimizer": "sgd", "dropout_rate": 0.0, "batch_size": 4 * 300}
        if classes and task != "regression":
            options["class_weights"] = (0.5, 2.0, *[1.0] * 8)
        setup, part = make(task, **options)
        weights = np.random.default_rng(0).integers(0, 4, len(part)).astype(np.float32)
        rows = np.repeat(np.arange(len(part)), weights.astype(int))
        repeated = InMemoryDataset(part.x[rows], part.y[rows])
        weighted = InMemoryDataset(part.x, part.y, weights)
        engine, oracle = build(setup, weighted), build(setup, repeated)
        totals = engine.train(order(weighted), 0, 0.1)
        expected = oracle.train(np.arange(len(rows)), 0, 0.1 * len(rows) / len(part))
        assert (totals.loss, totals.score) == pytest.approx((expected.loss, expected.score), rel=1e-5)
        same(engine.weights(), oracle.weights(), atol=1e-5, rtol=0)

    def test_weights_of_one_train_as_no_weights(self, build, make):
        setup, part = make("multiclass", dropout_rate=0.3)
        plain, weighted = build(setup, part), build(setup, InMemoryDataset(part.x, part.y, np.ones(len(part), "f4")))
        first, second = (engine.train(order(part), 0, 0.01) for engine in (plain, weighted))
        assert (second.loss, second.score) == pytest.approx((first.loss, first.score), rel=1e-6)
        same(weighted.weights(), plain.weights(), atol=1e-5, rtol=0)

    def test_weighted_rows_train_alike_on_two_devices_and_in_windows(self, build, make):
        results = []
        for devices in (1, 2):
            setup, part = make("regression", devices=devices, dropout_rate=0.3, optimizer="sgd")
            part = replace(part, weights=np.random.default_rng(0).uniform(0, 2, len(part)).astype("f4"))
            rows = order(part)
            with closing(build(setup, part)) as engine:
                for first in (0, 128, 256):
                    chosen = rows[first : first + 128]
                    engine.load_rows(InMemoryDataset(part.x[chosen], part.y[chosen], part.weights[chosen]).padded(300))
                    totals = engine.train(np.arange(len(chosen)), first // 32, 0.1)
                results.append((totals, engine.weights()))
        (one, weights_one), (two, weights_two) = results
        assert (two.loss, two.score) == pytest.approx((one.loss, one.score), rel=1e-5)
        same(weights_two, weights_one, atol=1e-5, rtol=0)
        setup, part = make("regression", dropout_rate=0.3, optimizer="sgd")
        part = replace(part, weights=np.random.default_rng(0).uniform(0, 2, len(part)).astype("f4"))
        whole = build(setup, part)
        whole.train(order(part), 0, 0.1)
        same(whole.weights(), weights_one, atol=1e-6, rtol=0)

    def test_a_wild_logarithm_has_a_finite_squared_error(self, build, make):
        setup, part = make("regression", dropout_rate=0.0, batch_size=300)
        engine = build(replace(setup, target_log=(1.7, 0.0)), part)
        engine.load_weights(engine.weights() | {"output.bias": np.array([1e15], np.float32)})
        totals = engine.train(order(part), 0, 1e-9)
        assert totals.is_finite
        assert totals.score > 1e30

    def test_a_clipped_gradient_moves_the_weights_by_at_most_its_norm(self, build, make):
        setup, part = make("regression", optimizer="sgd", gradient_clip=0.01, batch_size=300, dropout_rate=0.0)
        engine = build(setup, part)
        before = engine.weights()
        engine.train(order(part), 0, 1.0)
        moved = sum(float(((after - before[name]) ** 2).sum()) for name, after in engine.weights().items()) ** 0.5
        assert moved == pytest.approx(0.01, rel=1e-3)

    def test_dropout_is_a_function_of_seed_and_step(self, build, make):
        def loss(seed, step):
            setup, part = make(seed=seed, dropout_rate=0.5)
            engine = build(setup, part)
            engine.load_weights(network.initial_weights(make(seed=0)[0]))
            return engine.train(order(part), step, 1e-9).loss

        assert loss(1, 0) == loss(1, 0)
        assert len({loss(1, 0), loss(1, 1), loss(2, 0)}) == 3

    def test_steps_taken_in_two_calls_equal_one_call(self, build, make):
        """What a chunk is has no effect on the weights."""
        setup, part = make(dropout_rate=0.3)
        whole, halves = build(setup, part), build(setup, part)
        rows = order(part)
        whole.train(rows, 0, 0.01)
        halves.train(rows[:128], 0, 0.01)
        halves.train(rows[128:], 4, 0.01)
        same(halves.weights(), whole.weights())

    def test_rows_that_come_in_windows_train_the_same(self, build, make):
        """What streaming does: each chunk's rows replace those before, the last window being smaller."""
        setup, part = make(dropout_rate=0.3)
        rows = order(part)
        whole, windowed = build(setup, part), None
        whole.train(rows, 0, 0.01)
        for first in (0, 128, 256):
            chosen = rows[first : first + 128]
            window = InMemoryDataset(part.x[chosen], part.y[chosen])
            windowed = windowed or build(setup, window)
            windowed.load_rows(window)
            windowed.train(np.arange(len(chosen)), first // 32, 0.01)
        same(windowed.weights(), whole.weights())

    def test_copies_are_handed_out(self, build, make):
        setup, part = make()
        engine = build(setup, part)
        kept = engine.weights()
        engine.train(order(part), 0, 0.1)
        same(kept, network.initial_weights(setup))

    def test_non_finite_losses_are_reported_not_hidden(self, build, make):
        setup, part = make("regression", optimizer="sgd")
        part.x[:] = part.x * np.float32(1e30)
        totals = build(setup, part).train(order(part), 0, 10.0)
        assert not np.isfinite(totals.loss)

    def test_mixed_precision_learns_as_well_or_is_refused_with_the_reason(self, build, make):
        scores = []
        for mixed in (False, True):
            setup, part = make("binary", hidden_units=[256, 128], batch_size=64, mixed_precision=mixed)
            try:
                engine = build(setup, part)
            except InvalidSpec as refused:
                pytest.skip(refused.problems[0].message)
            for epoch in range(8):
                assert np.isfinite(engine.train(order(part, epoch), epoch * 5, 0.003).loss)
            assert all(weight.dtype == np.float32 for weight in engine.weights().values())
            scores.append(metrics.evaluation(engine.outputs(part.x), part.y, "binary")["accuracy"])
        assert scores[1] == pytest.approx(scores[0], abs=0.02)
