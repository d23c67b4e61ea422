"""TensorBoard's own reader finds the history in the event files, without epochd and without TensorFlow."""

import json

import polars as pl
import pytest

from epochd.export import Form, forms
from epochd.export.saved_model import SavedModel
from tests.export import isolated

READ = """
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
found = {}
for run in ("train", "validation"):
    events = EventAccumulator(f"{given}/{run}").Reload()
    tags = events.Tags()["scalars"]
    found[run] = {tag: [[e.step, e.value, e.wall_time] for e in events.Scalars(tag)] for tag in tags}
import os
os.chdir(os.path.dirname(given))
DOCUMENTED
events = EventAccumulator(given).Reload()
found["config"] = events.Tensors("config")[0].tensor_proto.string_val[0].decode()
content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
options = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
found["hparams"] = {name: getattr(value, value.WhichOneof("kind")) for name, value in options.items()}
print(json.dumps(found))
""".replace("DOCUMENTED", isolated.documented("tensorboard"))


@pytest.fixture(scope="module")
def saved(model):
    return SavedModel.load(model("mlp-embeddings").folder)


@pytest.fixture(scope="module")
def read(saved, tmp_path_factory):
    folder = forms.write(saved, Form.TENSORBOARD, tmp_path_factory.mktemp("logs") / "models-tensorboard")
    documented, found = isolated.run(READ, folder, refused=("tensorflow",)).splitlines()
    assert documented.startswith("[(1, ")
    return json.loads(found)


def test_every_metric_of_the_history_is_a_scalar_of_its_run(saved, read):
    history = pl.read_csv(saved.folder / "history.csv")
    for run, prefix in (("train", "train_"), ("validation", "val_")):
        for name in ("loss", "r2"):
            assert [event[0] for event in read[run][name]] == history["epoch"].to_list()
            assert [event[1] for event in read[run][name]] == pytest.approx(history[prefix + name].to_list())
    assert [event[1] for event in read["train"]["learning_rate"]] == pytest.approx([0.01] * 3)
    assert {"mae", "rmse"} <= read["validation"].keys()
    assert "accuracy" not in read["train"], "a regression has no accuracy"


def test_epochs_end_as_long_after_another_as_they_took(saved, read):
    times = [event[2] for event in read["train"]["loss"]]
    assert times == pytest.approx([saved.saved_at - 4, saved.saved_at - 2, saved.saved_at], abs=0.001)


def test_the_config_is_text_and_hyperparameters(saved, read):
    assert json.loads(read["config"])["task_id"] == saved.about["task_id"]
    assert read["hparams"]["activation"] == "gelu"
    assert read["hparams"]["batch_size"] == 32
    assert read["hparams"]["hidden_units"] == "[12, 8]"
    assert read["hparams"]["mixed_precision"] is False
