"""TensorFlow's own promises: two ways to run the same steps, real Keras layers, dropout by hash, float16."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from epochd.core.errors import InvalidSpec
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import programs, registry

if "tensorflow" not in registry.installed():
    pytest.skip("tensorflow is not installed", allow_module_level=True)

from epochd.engines.tensorflow_engine import devices, runtime, training_step
from epochd.engines.tensorflow_engine import engine as tensorflow_engine
from epochd.engines.tensorflow_engine.runtime import CPU_DEVICES, keras, tf

NEVER = 10**12


def trained(make, monkeypatch, compile_steps, **options):
    monkeypatch.setattr(devices, "COMPILE_STEPS", dict.fromkeys(["mlp", "cnn", "lstm", "gru"], compile_steps))
    setup, part = make("multiclass", **options)
    engine = registry.build("tensorflow", setup, part)
    totals = engine.train(np.arange(len(part)), 0, 0.01)
    return engine, totals


@pytest.mark.parametrize("model", ["cnn-2d", "mlp-embeddings", "cnn-masked", "gru-masked-bidirectional"])
def test_compiled_or_not_the_steps_are_the_same(make, monkeypatch, model):
    options = {"model": model, "dropout_rate": 0.3, "optimizer": "sgd", "hidden_units": [8]}
    compiled, one = trained(make, monkeypatch, 0, **options)
    traced, other = trained(make, monkeypatch, NEVER, **options)
    assert compiled.description["compiled"]
    assert not traced.description["compiled"]
    assert one.loss == pytest.approx(other.loss, rel=1e-5)
    for name, weight in compiled.weights().items():
        np.testing.assert_allclose(weight, traced.weights()[name], atol=1e-5, err_msg=name)


def test_a_convolution_with_too_many_patches_is_not_compiled(make):
    small, _ = make(model="cnn-2d", epochs=10_000)
    wide, _ = make(model="cnn-2d", kernel_size=6, epochs=10_000)
    assert devices.compiles(small, 300)
    assert not devices.compiles(wide, 300)


def test_rows_that_come_in_windows_count_for_compiling(make):
    setup, _ = make(epochs=1)
    many = setup.spec.batch_size * devices.COMPILE_STEPS["mlp"]
    assert not devices.compiles(setup, 300)
    assert devices.compiles(replace(setup, rows=many), 300)


@pytest.mark.parametrize("model", ["cnn-masked", "gru-masked-bidirectional"])
def test_what_stands_in_padding_counts_for_nothing(make, model):
    """Codes included: no vector moves for a padded step."""
    setup, part = make("multiclass", model, hidden_units=[8])
    padding = part.x[..., -1:] == 0
    padding[:, 0] = False  # a row that is all padding is read as one step
    other = InMemoryDataset(np.where(padding, np.float32(3), part.x), part.y)
    other.x[..., -1] = part.x[..., -1]
    plain, strange = registry.build("tensorflow", setup, part), registry.build("tensorflow", setup, other)
    for engine in (plain, strange):
        engine.train(np.arange(len(part)), 0, 0.01)
    for name, weight in plain.weights().items():
        np.testing.assert_array_equal(strange.weights()[name], weight, err_msg=name)
    np.testing.assert_array_equal(strange.outputs(other.x), plain.outputs(part.x))


def test_masked_windows_of_other_sizes_train_the_same(make):
    """A smaller window is filled up with rows of zeros, which have no step that exists."""
    setup, part = make("multiclass", "lstm-masked", hidden_units=[8])
    whole = registry.build("tensorflow", setup, part)
    whole.train(np.arange(len(part)), 0, 0.01)
    windowed = registry.build("tensorflow", setup, InMemoryDataset(part.x[:192], part.y[:192]))
    windowed.train(np.arange(192), 0, 0.01)
    windowed.load_rows(InMemoryDataset(part.x[192:], part.y[192:]))
    windowed.train(np.arange(len(part) - 192), 6, 0.01)
    for name, weight in whole.weights().items():
        np.testing.assert_array_equal(windowed.weights()[name], weight, err_msg=name)


@pytest.mark.parametrize("model", ["lstm", "gru"])
def test_keras_layers_with_its_weights_compute_the_same(make, model):
    """Gate order, reset variant and biases by Keras's own layers."""
    setup, part = make(model=model, hidden_units=[12, 8])
    engine = registry.build("tensorflow", setup, part)
    weights = engine.weights()
    layer = keras.layers.LSTM if model == "lstm" else keras.layers.GRU
    hidden = part.x
    for i, units in enumerate(setup.spec.hidden_units):
        own = layer(units, return_sequences=i == 0)
        own.build(hidden.shape)
        own.set_weights(keras_weights(weights, f"hidden.{i}", units))
        hidden = np.asarray(own(hidden))
    expected = hidden @ weights["output.weight"].T + weights["output.bias"]
    np.testing.assert_allclose(engine.outputs(part.x), expected, atol=1e-5)


def keras_weights(weights, layer, units):
    """Kernel, recurrent kernel and bias as Keras keeps them: transposed, GRU gates z, r, n and two rows of biases."""
    gru = f"{layer}.bias_hh" in weights
    gates = [1, 0, 2] if gru else range(4)
    turned = np.concatenate([np.arange(units) + gate * units for gate in gates])
    kernels = [weights[f"{layer}.{name}"][turned].T for name in ("weight_ih", "weight_hh")]
    biases = [weights[f"{layer}.{name}"][turned] for name in (["bias_ih", "bias_hh"] if gru else ["bias_ih"])]
    return [*kernels, np.stack(biases) if gru else biases[0]]


class TestDropout:
    SHAPE = (200, 500)

    def mask(self, make, step=0, layer=0, seed=0, rate=0.3, first=0):
        setup, _ = make(dropout_rate=rate, seed=seed)
        runtime.configure(setup)  # before the first tensor, so that later tests of this process have their devices
        hyper = {name: tf.constant(value) for name, value in programs.hyperparameters(setup).items()}
        drop = training_step.dropout(tf.constant(step, tf.int64), first, hyper)
        return drop(tf.ones(self.SHAPE), layer, 0).numpy()

    @pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
    def test_it_drops_its_share_and_keeps_the_mean(self, make, rate):
        mask = self.mask(make, rate=rate)
        deviation = (rate * (1 - rate) / mask.size) ** 0.5
        assert (mask == 0).mean() == pytest.approx(rate, abs=4 * deviation)
        assert np.unique(mask[mask > 0]) == pytest.approx(1 / (1 - rate))
        assert (mask == 0).mean(0).std() == pytest.approx((rate * (1 - rate) / 200) ** 0.5, rel=0.15)

    @pytest.mark.parametrize("other", [{"step": 1}, {"step": 2**32}, {"layer": 1}, {"seed": 1}])
    def test_seed_step_and_layer_give_independent_masks(self, make, other):
        one, two = self.mask(make), self.mask(make, **other)
        assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 4 / one.size**0.5

    def test_neighbouring_rows_and_units_are_independent(self, make):
        mask = self.mask(make)
        for left, right in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
            assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 4 / left.size**0.5

    def test_a_share_of_the_rows_gets_its_part_of_the_mask(self, make):
        np.testing.assert_array_equal(self.mask(make, first=50)[:150], self.mask(make)[50:])


def test_float16_scales_its_loss_and_learns(make, monkeypatch):
    """The path of GPUs without bfloat16, on a CPU."""
    monkeypatch.setattr(tensorflow_engine, "compute_dtype", lambda setup: "float16")
    setup, part = make()
    engine = registry.build("tensorflow", setup, part)
    losses = [engine.train(np.arange(len(part)), 10 * epoch, 0.005).loss for epoch in range(8)]
    assert losses[-1] < 0.8 * losses[0]
    assert engine.optimizer_state()["calm_steps"] == 80
    assert all(weight.dtype == np.float32 for weight in engine.weights().values())


def test_bfloat16_finds_vectors_and_adds_up_their_gradients_in_whole(make, monkeypatch):
    """Rounded, code 301 would be 300, and a sum of equal parts would end at the 256th. The mean of 300 equal rows is
    that of one."""
    monkeypatch.setattr(tensorflow_engine, "compute_dtype", lambda setup: "bfloat16")
    setup, part = make("regression", "mlp-embeddings", optimizer="sgd", batch_size=300, dropout_rate=0.0)
    part.x[:], part.y[:] = part.x[0], 2
    part.x[:, 1] = 301
    moves = []
    for rows in (1, 300):
        engine = registry.build("tensorflow", setup, part)
        before = engine.weights()["embedding.1.weight"]
        engine.train(np.arange(rows), 0, 0.1)
        moves.append(engine.weights()["embedding.1.weight"] - before)
    assert np.flatnonzero(moves[1].any(1)).tolist() == [301]
    assert np.linalg.norm(moves[1] - moves[0]) < 0.03 * np.linalg.norm(moves[0])


def test_an_overflowing_float16_step_is_left_out_and_halves_the_scale(make, monkeypatch):
    monkeypatch.setattr(tensorflow_engine, "compute_dtype", lambda setup: "float16")
    setup, part = make(batch_size=300)
    engine = registry.build("tensorflow", setup, part)
    engine.load_optimizer_state({"loss_scale": np.array(1e30, np.float32)})
    before = engine.weights()
    engine.train(np.arange(len(part)), 0, 0.1)
    for name, weight in engine.weights().items():
        np.testing.assert_array_equal(weight, before[name])
    assert engine.optimizer_state()["loss_scale"] == np.float32(1e30) / 2
    assert engine.optimizer_state()["steps"] == 0


def test_more_devices_than_the_process_has_are_refused(make):
    registry.build("tensorflow", *make())  # the first engine of a process settles how many there are
    setup, part = make(devices=CPU_DEVICES + 1)
    with pytest.raises(InvalidSpec, match=rf"{CPU_DEVICES + 1} CPU devices are requested"):
        registry.build("tensorflow", setup, part)


def test_it_says_nothing_on_stderr():
    code = "from epochd.engines import registry; registry.warm('tensorflow')"
    # jax, which other tests import here, sets this variable; a worker has one framework only
    env = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert found.stderr == ""
