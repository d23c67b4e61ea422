"""Encoded columns are written to their channels, however few rows are filled at a time."""

import numpy as np
import pytest

from epochd.data.encoding import encoder
from epochd.data.encoding.encoder import EncodedColumns

NUMBERS = np.arange(20, dtype=np.float32).reshape(2, 10) + 1


@pytest.fixture
def columns():
    return EncodedColumns(list(enumerate(NUMBERS)), [(2, np.arange(10) % 3)])


@pytest.mark.parametrize("at_once", [1, 20, 10**6])
def test_numbers_and_ones_are_written_to_their_channels(columns, at_once, monkeypatch):
    monkeypatch.setattr(encoder, "FILL_VALUES", at_once)
    out = np.zeros((10, 5), np.float32)
    columns.fill(out)
    np.testing.assert_array_equal(out[:, :2], NUMBERS.T)
    np.testing.assert_array_equal(out[:, 2:], np.eye(3)[np.arange(10) % 3])


@pytest.mark.parametrize("at_once", [1, 20, 10**6])
def test_chosen_rows_are_those_of_all(columns, at_once, monkeypatch):
    monkeypatch.setattr(encoder, "FILL_VALUES", at_once)
    whole, chosen = np.zeros((10, 5), np.float32), np.array([1, 2, 7, 9])
    columns.fill(whole)
    out = np.zeros((4, 5), np.float32)
    columns.fill(out, chosen)
    np.testing.assert_array_equal(out, whole[chosen])
