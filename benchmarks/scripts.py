"""Trainings as scripts of other libraries, each written as its documentation would have it: ``python scripts.py SIDE
TRAINING``, with the options of the training as JSON. ``whole.py`` times these processes, so that nothing is imported
here that a script does not need. Each saves its model in the working directory and prints the number of its epochs.
"""

import json
import sys
from collections.abc import Callable
from types import SimpleNamespace as Training
from typing import Any

import numpy as np


def arrays(training: Training) -> tuple[Any, Any, Any, Any]:
    """Training rows, validation rows, their targets; scaled, float32, in the shape of the network's inputs."""
    import pandas as pd
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    table = pd.read_parquet(training.path)
    y = table.pop("target").to_numpy()
    x = table[list(training.columns or table.columns)].to_numpy(np.float32)
    x, x_val, y, y_val = train_test_split(x, y, test_size=training.held_out, random_state=training.seed, stratify=y)
    scaler, shape = StandardScaler().fit(x), (-1, *training.inputs)
    return scaler.transform(x).reshape(shape), scaler.transform(x_val).reshape(shape), y, y_val


def lightning(training: Training) -> int:
    import lightning as L
    import peers
    import torch
    from lightning.pytorch.callbacks import Callback, EarlyStopping
    from torch.utils.data import DataLoader, TensorDataset

    L.seed_everything(training.seed)
    x, x_val, y, y_val = arrays(training)

    class Task(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = peers.module(training, training.dropout)
            self.loss = torch.nn.BCEWithLogitsLoss()

        def training_step(self, batch: Any, index: int) -> Any:
            return self.loss(self.network(batch[0]), batch[1])

        def validation_step(self, batch: Any, index: int) -> None:
            output = self.network(batch[0])
            self.log("val_loss", self.loss(output, batch[1]))
            self.log("val_accuracy", ((output > 0) == (batch[1] > 0.5)).float().mean())

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(self.parameters(), training.learning_rate)
            if not training.step_size:
                return optimizer
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, training.step_size, 0.1)]

    def loader(x: Any, y: Any, **options: Any) -> Any:
        tensors = TensorDataset(torch.from_numpy(x), torch.from_numpy(y.astype(np.float32)))
        return DataLoader(tensors, training.batch_size, **options)

    stop: list[Callback] = (
        [EarlyStopping("val_loss", training.min_delta, training.patience)] if training.patience else []
    )
    trainer = L.Trainer(
        max_epochs=training.epochs, accelerator="cpu", logger=False, callbacks=stop, num_sanity_val_steps=0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    task = Task()
    trainer.fit(task, loader(x, y, shuffle=True), loader(x_val, y_val))
    trainer.save_checkpoint("model.ckpt")
    return int(trainer.current_epoch)


def keras_fit(training: Training) -> int:
    """With the backend that KERAS_BACKEND names."""
    import keras
    from keras_networks import network

    keras.utils.set_random_seed(training.seed)
    x, x_val, y, y_val = arrays(training)
    model = network(training.model_type, training.inputs, training.hidden_units, dropout=training.dropout)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    accuracy = keras.metrics.BinaryAccuracy(threshold=0.0)
    model.compile(keras.optimizers.Adam(training.learning_rate), loss, metrics=[accuracy])
    callbacks: list[Any] = []
    if training.patience:
        callbacks.append(
            keras.callbacks.EarlyStopping("val_loss", training.min_delta, training.patience, restore_best_weights=True)
        )
    if training.step_size:
        rate, size = training.learning_rate, training.step_size
        callbacks.append(keras.callbacks.LearningRateScheduler(lambda epoch: rate * 0.1 ** (epoch // size)))
    held_out = (x_val, y_val[:, None])
    options: dict[str, Any] = {"validation_data": held_out, "callbacks": callbacks, "verbose": 0}
    history = model.fit(x, y[:, None], training.batch_size, epochs=training.epochs, **options)
    model.save("model.keras")
    return len(history.epoch)


def skorch(training: Training) -> int:
    import peers
    import torch
    from skorch import NeuralNet
    from skorch.callbacks import EarlyStopping, LRScheduler
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    torch.manual_seed(training.seed)
    x, x_val, y, y_val = arrays(training)
    callbacks: list[Any] = []
    if training.patience:
        callbacks.append(EarlyStopping("valid_loss", training.patience, training.min_delta, "abs"))
    if training.step_size:
        callbacks.append(LRScheduler("StepLR", step_size=training.step_size, gamma=0.1))
    net = NeuralNet(
        peers.module(training, training.dropout), torch.nn.BCEWithLogitsLoss, optimizer=torch.optim.Adam,
        lr=training.learning_rate, batch_size=training.batch_size, max_epochs=training.epochs, verbose=0,
        train_split=predefined_split(Dataset(x_val, y_val.astype(np.float32))), callbacks=callbacks,
        iterator_train__shuffle=True,
    )  # fmt: skip
    net.fit(x, y.astype(np.float32))
    net.save_params(f_params="model.pt")
    return len(net.history)


def scikit_learn(training: Training) -> int:
    """``MLPClassifier``, which has neither dropout nor a schedule for Adam; it holds rows out only to stop early."""
    import joblib
    from sklearn.neural_network import MLPClassifier

    x, x_val, y, y_val = arrays(training)
    patient = {"early_stopping": True, "n_iter_no_change": training.patience, "tol": training.min_delta}
    stop = patient if training.patience else {}
    model = MLPClassifier(
        training.hidden_units, batch_size=training.batch_size, learning_rate_init=training.learning_rate,
        max_iter=training.epochs, random_state=training.seed, **({"n_iter_no_change": training.epochs} | stop),
    )  # fmt: skip
    model.fit(x, y)
    model.score(x_val, y_val)
    joblib.dump(model, "model.joblib")
    return int(model.n_iter_)


SIDES: dict[str, Callable[[Training], int]] = {
    "lightning": lightning,
    "keras-jax": keras_fit,
    "keras-tensorflow": keras_fit,
    "skorch": skorch,
    "scikit-learn": scikit_learn,
}

if __name__ == "__main__":
    print(SIDES[sys.argv[1]](Training(**json.loads(sys.argv[2]))))
