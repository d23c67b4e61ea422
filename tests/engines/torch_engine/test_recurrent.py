"""The GRU function against PyTorch's: same states, same gradients."""

import pytest

torch = pytest.importorskip("torch")
recurrent = pytest.importorskip("epochd.engines.torch_engine.recurrent")

STEPS, ROWS, INPUTS, UNITS = 7, 5, 3, 4


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(0)
    shapes = [(3 * UNITS, INPUTS), (3 * UNITS, UNITS), (3 * UNITS,), (3 * UNITS,)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.fixture
def x():
    return torch.randn(STEPS, ROWS, INPUTS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def ours(x, weights):
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    return recurrent.GruFunction.apply(torch.nn.functional.linear(x, weight_ih, bias_ih), weight_hh, bias_hh)


def theirs(x, weights):
    start = x.new_zeros(1, ROWS, UNITS)
    return torch.gru(x, start, weights, True, 1, 0.0, True, False, False)[0]


def test_states_equal_those_of_torch_gru(x, weights):
    torch.testing.assert_close(ours(x, weights), theirs(x, weights))


@pytest.mark.parametrize("reached", [slice(None), slice(-1, None)], ids=["all-steps", "last-step"])
def test_gradients_equal_those_of_torch_gru(x, weights, reached):
    x.requires_grad_()
    found, expected = (torch.autograd.grad(f(x, weights)[reached].sin().sum(), [x, *weights]) for f in (ours, theirs))
    torch.testing.assert_close(found, expected)
