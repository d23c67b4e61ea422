"""Where a model can be saved, and what happens if it cannot."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epochd.artifact import files, pack
from epochd.core import specs
from epochd.core.errors import ModelNotSaved, OutOfSpace
from epochd.core.jobs import TASK_ID
from epochd.loop.state import LoopState


@pytest.fixture
def store(tmp_path):
    (tmp_path / "models" / "Churn").mkdir(parents=True)
    (tmp_path / "models" / "caf\u00e9").mkdir()
    (tmp_path / "file").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("models/churn/v1", "differs from the existing folder 'Churn' only in case"),
        ("Models", "differs from the existing folder 'models'"),
        ("models/cafe\u0301", "differs from the existing folder 'caf\u00e9'"),
        ("file/x", "'file' is a file"),
        ("x" * 256, "more than 255 bytes"),
        ("/".join(["x" * 200] * 30), "is too long"),
    ],
)
def test_a_folder_that_cannot_be_used_is_a_problem_with_the_reason(store, folder, reason):
    problem = pack.place_problem(store, folder)
    assert problem is not None
    assert problem.field == "output_path"
    assert reason in problem.message
    assert problem.hint


@pytest.mark.parametrize("folder", ["models/Churn", "models/Churn/new", "models/caf\u00e9", "other", "models/x/y"])
def test_any_other_folder_can_be_used_and_is_not_created(store, folder):
    before = sorted(store.rglob("*"))
    assert pack.place_problem(store, folder) is None
    assert sorted(store.rglob("*")) == before


def test_a_folder_where_the_server_may_not_write_is_a_problem(store, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "Churn")
    assert "not writable" in pack.place_problem(store, "models/Churn/x").message
    assert pack.place_problem(store, "models/x") is None


def test_a_folder_whose_latest_is_no_link_is_a_problem(store):
    (store / "models" / files.LATEST).mkdir()
    assert "is not a link" in pack.place_problem(store, "models").message
    assert pack.place_problem(store, "models/Churn") is None


def test_a_store_that_does_not_exist_yet_has_place(tmp_path):
    assert pack.place_problem(tmp_path / "absent", "models") is None


@pytest.fixture
def state():
    return LoopState(0.1, best_weights={"w": np.zeros(3, np.float32)}, history=[{"epoch": 1}])


def save(folder, state, **options):
    pack.pack(folder, {"format": 1}, state, {"train": np.arange(3)}, **options)


def test_a_model_that_cannot_be_saved_is_told_with_what_to_do(tmp_path, state):
    (tmp_path / "models").write_text("a file")
    with pytest.raises(ModelNotSaved, match=r"could not be saved in .*models/t.*File exists.*without training again"):
        save(tmp_path / "models" / "t", state)
    with pytest.raises(ModelNotSaved, match="File name too long"):
        save(tmp_path / ("x" * 300) / "t", state)


def test_a_full_disk_is_no_other_failure(tmp_path, state, monkeypatch):
    def refuse(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "flush", refuse)
    with pytest.raises(OutOfSpace):
        save(tmp_path / "t", state)


def modes(folder):
    return {path.name: oct(path.stat().st_mode & 0o777) for path in (folder, *folder.iterdir())}


@pytest.mark.parametrize(("is_shared", "folder", "file"), [(False, "0o700", "0o600"), (True, "0o750", "0o640")])
def test_all_files_of_a_model_have_the_same_mode(tmp_path, state, is_shared, folder, file):
    (tmp_path / "models").mkdir(0o700)
    model = tmp_path / "models" / "t"
    save(model, state, shared=tmp_path if is_shared else None, others={"model.onnx": b"graph", "none": None})
    found = modes(model)
    assert found.pop("t") == folder
    names = {"model.safetensors", "model.json", "model.onnx", "history.csv", "splits.parquet", "manifest.json"}
    assert set(found) == names
    assert set(found.values()) == {file}
    assert oct((tmp_path / "models").stat().st_mode & 0o777) == folder


def test_a_model_without_a_graph_is_complete(tmp_path, state):
    save(tmp_path / "t", state)
    files.verify(tmp_path / "t")
    assert not (tmp_path / "t" / "model.onnx").exists()


def test_rows_that_an_older_version_wrote_stand_in_one_table_with_newer_ones(tmp_path, state):
    state.history = [{"epoch": 1, "val_loss": 0.5}, {"epoch": 2, "val_loss": 0.25, "val_auc": 0.75}]
    save(tmp_path / "t", state)
    table = (tmp_path / "t" / "history.csv").read_text()
    assert table.splitlines() == ["epoch,val_loss,val_auc", "1,0.5,", "2,0.25,0.75"]


PARTS = st.sampled_from(
    [*"/.~ a", "latest", "..", "epoch_training_20260101_000000_abcdef", "名", "\u202e", "\0", "con"]
)


@settings(max_examples=60)
@given(st.lists(PARTS | st.characters(codec="utf-8"), min_size=1, max_size=60).map("".join))
def test_a_model_can_be_saved_below_every_output_path_that_is_accepted(path):
    spec, problems = specs.parse_leniently({"target_column": "y", "output_path": path})
    assert all(problem.field == "output_path" and problem.message.isprintable() for problem in problems)
    folder = spec.artifact_folder  # the default one where the path is refused
    with tempfile.TemporaryDirectory() as home:
        store = Path(home, "artifacts")
        store.mkdir()
        assert pack.place_problem(store, folder) is None
        (store / folder / pack.LONGEST_NAME).parent.mkdir(parents=True)
        (store / folder / pack.LONGEST_NAME).touch()
        assert [found.name for found in Path(home).iterdir()] == ["artifacts"]
        names = [part.casefold() for part in Path(folder).parts]
        assert not any(TASK_ID.fullmatch(name) or name.startswith(files.TEMPORARY) for name in names)
