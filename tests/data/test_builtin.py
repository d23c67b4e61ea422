"""The tables that come with epochd are scikit-learn's, bit for bit."""

import json
from dataclasses import asdict
from importlib.resources import files

import numpy as np
import pytest
from sklearn import datasets

from epochd.data.tables.catalog import BUILTIN, open_dataset
from epochd.registry import profile


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes", "digits", "iris", "wine"])
def test_a_builtin_table_equals_scikit_learns(name):
    original = getattr(datasets, f"load_{name}")()
    frame = open_dataset(name, []).read()
    assert frame.columns == [*map(str, original.feature_names), "target"]
    assert np.array_equal(frame.drop("target").to_numpy(), original.data)
    assert np.array_equal(frame["target"].to_numpy(), original.target)
    assert frame["target"].to_numpy().dtype == original.target.dtype


def test_sample_is_four_columns_of_breast_cancer_under_the_names_of_the_guide():
    sample, whole = open_dataset("sample", []).read(), open_dataset("breast_cancer", []).read()
    assert sample.columns == ["feature1", "feature2", "feature3", "feature4", "target"]
    origins = ["worst area", "worst smoothness", "mean texture", "mean concave points", "target"]
    assert np.array_equal(sample.to_numpy(), whole.select(origins).to_numpy())


def test_their_facts_are_those_of_their_files():
    written = json.loads((files("epochd.data") / "builtin" / "facts.json").read_bytes())
    assert written == {name: asdict(profile.read_facts(open_dataset(name, []))) for name in BUILTIN}


def test_every_builtin_table_opens_without_any_root():
    assert all(open_dataset(name, []).read().height >= 150 for name in BUILTIN)
