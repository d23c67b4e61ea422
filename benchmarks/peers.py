"""The others, each written as its documentation would have it, for the same network, batches and optimizer. Nothing of
epochd is imported, for ``scripts.py``."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cases import Case

Epochs = Iterator[float]


def keras_fit(case: "Case") -> Epochs:
    """Keras ``fit``; the backend is chosen by KERAS_BACKEND before this is called."""
    import keras
    from keras_networks import network

    model = network(case.model_type, case.inputs, case.hidden_units, dropout=0.2)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)])
    part = case.data()

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seconds.append(perf_counter() - self.began)

    seconds: list[float] = []
    while True:  # an epoch per call would compile anew where the backend has no cache for it
        done = len(seconds)
        model.fit(part.x, part.y[:, None], case.batch_size, epochs=4, verbose=0, callbacks=[Clock()])
        yield from seconds[done:]


def module(case: "Case", dropout: float = 0.2) -> Any:
    """The network as a PyTorch module."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [case.inputs[-1], *case.hidden_units]
            make: dict[str, Callable[[int, int], Any]] = {
                "mlp": nn.Linear,
                "cnn": lambda a, b: nn.Conv1d(a, b, 3, padding="same"),
                "lstm": lambda a, b: nn.LSTM(a, b, batch_first=True),
                "gru": lambda a, b: nn.GRU(a, b, batch_first=True),
            }
            self.hidden = nn.ModuleList(make[case.model_type](a, b) for a, b in pairwise(widths))
            self.drop, self.pool = nn.Dropout(dropout), nn.MaxPool1d(2)
            flat = widths[-1] * (case.inputs[0] // 2 ** len(case.hidden_units) if case.model_type == "cnn" else 1)
            self.output = nn.Linear(flat, 1)

        def forward(self, x: Any) -> Any:
            if case.model_type == "cnn":
                x = x.transpose(1, 2)
            for layer in self.hidden:
                x = layer(x)
                if case.model_type in ("lstm", "gru"):
                    x = self.drop(x[0])
                else:
                    x = torch.relu(x)
                    x = self.drop(self.pool(x) if case.model_type == "cnn" else x)
            if case.model_type in ("lstm", "gru"):
                x = x[:, -1]
            return self.output(x.flatten(1))[:, 0]

    return Network()


def _loader(case: "Case") -> Any:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    part = case.data()
    return DataLoader(TensorDataset(torch.from_numpy(part.x), torch.from_numpy(part.y)), case.batch_size, shuffle=True)


def plain_torch(case: "Case") -> Epochs:
    """The loop of PyTorch's tutorials."""
    import torch

    network, loader = module(case), _loader(case)
    optimizer, loss = torch.optim.Adam(network.parameter_count()), torch.nn.BCEWithLogitsLoss()
    while True:
        began = perf_counter()
        for x, y in loader:
            optimizer.zero_grad()
            loss(network(x), y).backward()
            optimizer.step()
        yield perf_counter() - began


def lightning(case: "Case") -> Epochs:
    import logging

    import lightning as L
    import torch

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    seconds: list[float] = []

    class Task(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.loss = module(case), torch.nn.BCEWithLogitsLoss()

        def training_step(self, batch: Any, index: int) -> Any:
            x, y = batch
            return self.loss(self.network(x), y)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters())

        def on_train_epoch_start(self) -> None:
            self.began = perf_counter()

        def on_train_epoch_end(self) -> None:
            seconds.append(perf_counter() - self.began)

    task, loader = Task(), _loader(case)
    while True:
        done = len(seconds)
        trainer = L.Trainer(
            max_epochs=4, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(task, loader)
        yield from seconds[done:]


def skorch(case: "Case") -> Epochs:
    import torch
    from skorch import NeuralNet

    part = case.data()
    net = NeuralNet(
        module(case), torch.nn.BCEWithLogitsLoss, optimizer=torch.optim.Adam, lr=0.001,
        batch_size=case.batch_size, max_epochs=1, train_split=None, verbose=0, iterator_train__shuffle=True,
    ).initialize()  # fmt: skip
    while True:
        net.partial_fit(part.x, part.y)
        yield net.history[-1]["dur"]


def scikit_learn(case: "Case") -> Epochs:
    """``MLPClassifier``: it has no dropout, which spares it some work."""
    import numpy as np
    from sklearn.neural_network import MLPClassifier

    part = case.data()
    model = MLPClassifier(case.hidden_units, batch_size=case.batch_size)
    while True:
        began = perf_counter()
        model.partial_fit(part.x, part.y, classes=np.array([0, 1]))
        yield perf_counter() - began


def naive_cpp(case: "Case") -> Epochs:
    """A C++ loop without any library, compiled for this machine."""
    compiler = shutil.which("g++")
    if compiler is None:
        raise SystemExit("no g++")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "naive"
        source = Path(__file__).with_name("naive_mlp.cpp")
        subprocess.run([compiler, "-O3", "-march=native", "-ffast-math", source, "-o", program], check=True)
        sizes = [case.rows, case.batch_size, case.inputs[0], *case.hidden_units, 1]
        process = subprocess.Popen([program, *map(str, sizes)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield float(line)
        finally:
            process.kill()
            process.wait()
