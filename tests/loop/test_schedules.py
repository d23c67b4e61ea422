"""Learning-rate sequences equal those of torch.optim.lr_scheduler."""

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from epochd.core import specs
from epochd.loop import schedules
from epochd.loop.state import LoopState

EPOCHS = 75


def ours(losses=None, higher_is_better=False, **options):
    spec = specs.parse({"target_column": "t", "epochs": EPOCHS, "learning_rate": 0.1, **options})
    state = LoopState(spec.learning_rate)
    rates = []
    for epoch in range(EPOCHS):
        rates.append(state.learning_rate)
        state.epoch = epoch + 1
        value = losses[epoch] if losses is not None else 0.0
        state.learning_rate = schedules.next_learning_rate(spec, state, value, higher_is_better)
    return rates


def torchs(make, losses=None):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = make(optimizer)
    rates = []
    for epoch in range(EPOCHS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*(() if losses is None else (losses[epoch],)))
    return rates


@pytest.mark.parametrize(("step_size", "gamma"), [(30, 0.1), (1, 0.97), (7, 0.5)])
def test_step(step_size, gamma):
    expected = torchs(lambda o: lr_scheduler.StepLR(o, step_size, gamma))
    found = ours(learning_rate_scheduler="step", step_size=step_size, gamma=gamma)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(("t_max", "eta_min"), [(75, 0.0001), (20, 0.0), (10, 0.05)])
def test_cosine(t_max, eta_min):
    expected = torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, t_max, eta_min))
    found = ours(learning_rate_scheduler="cosine", T_max=t_max, eta_min=eta_min)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


def test_cosine_spans_all_epochs_by_default():
    found = ours(learning_rate_scheduler="cosine")
    assert found == ours(learning_rate_scheduler="cosine", T_max=EPOCHS)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("patience", "factor"), [(5, 0.5), (0, 0.9), (2, 0.1)])
def test_plateau(seed, patience, factor):
    draw = np.random.default_rng(seed)
    losses = np.minimum.accumulate(draw.uniform(0.5, 1, EPOCHS)) + draw.choice([0, 1e-5, 1e-3], EPOCHS)
    expected = torchs(lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=patience, factor=factor), losses)
    found = ours(losses, learning_rate_scheduler="plateau", patience=patience, factor=factor)
    assert found == expected
    assert found[-1] < found[0]


def test_plateau_on_a_metric_to_be_maximised():
    accuracies = 1 - np.exp(-np.arange(EPOCHS) / 5)
    expected = torchs(lambda o: lr_scheduler.ReduceLROnPlateau(o, "max", patience=3, factor=0.5), accuracies)
    found = ours(accuracies, True, learning_rate_scheduler="plateau", patience=3, factor=0.5)
    assert found == expected
    assert found[-1] < found[0]


def test_plateau_takes_an_epoch_without_a_value_for_one_without_improvement():
    values = [0.5, None, None, 0.4, None, None, None] + [None] * (EPOCHS - 7)
    found = ours(values, learning_rate_scheduler="plateau", patience=2, factor=0.5)
    assert found[:8] == [0.1] * 7 + [0.05]


def test_none_keeps_it_constant():
    assert set(ours(learning_rate_scheduler="none")) == {0.1}
