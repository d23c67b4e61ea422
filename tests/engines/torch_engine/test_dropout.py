"""Dropout masks: the rate, and what they are a function of."""

import pytest

torch = pytest.importorskip("torch")
dropout = pytest.importorskip("epochd.engines.torch_engine.dropout")

ROWS = 4000


def draw(step=0, rows=ROWS, share=slice(None), rate=0.2, seed=0, shapes=((40,), (5, 2))):
    return dropout.Dropout(list(shapes), rate, seed, torch.device("cpu")).masks(step, rows, share)


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9])
def test_the_rate_is_met_and_the_mean_kept(rate):
    mask = draw(rate=rate)[0]
    deviation = (rate * (1 - rate) / mask.numel()) ** 0.5
    assert (mask == 0).double().mean().item() == pytest.approx(rate, abs=5 * deviation)
    assert mask.double().mean().item() == pytest.approx(1, abs=5 * deviation / (1 - rate))


def test_rows_and_units_and_layers_and_steps_are_independent():
    first, second = draw()
    later = draw(step=1)[0]
    pairs = [(first[1:], first[:-1]), (first[:, 1:], first[:, :-1]), (first[:, :10], second.flatten(1)), (first, later)]
    for left, right in pairs:
        found = torch.corrcoef(torch.stack([left.flatten(), right.flatten()]))[0, 1].item()
        assert abs(found) < 5 / left.numel() ** 0.5


def test_a_share_is_cut_out_of_the_masks_of_the_whole_batch():
    for whole, part in zip(draw(step=3, rows=33), draw(step=3, rows=33, share=slice(16, 33)), strict=True):
        assert torch.equal(part, whole[16:33])


def test_every_seed_and_step_has_its_own_masks():
    """The CPU generator looks at 32 bits of its key only."""
    low_bits = {dropout.key(seed, step) % 2**32 for seed in range(50) for step in range(50)}
    assert len(low_bits) == 2500
    assert not torch.equal(draw(seed=2)[0], draw(seed=4)[0])
