"""What is trained under fire: short epochs and long ones, every schedule that remembers, early stopping, dropout.

Undisturbed, each takes some seconds. So that accidents fall on every part of them: before the first checkpoint, before
and after the best epoch, in the midst of an epoch, at the end.
"""

from typing import Any

Config = dict[str, Any]

SHORT_EPOCHS: Config = {
    "framework": "pytorch",
    "dataset": "breast_cancer",
    "target_column": "target",
    "epochs": 500,
    "hidden_units": [32, 16],
    "learning_rate_scheduler": "cosine",
    "early_stopping_patience": None,
}
PLATEAU: Config = {
    "framework": "pytorch",
    "dataset": "digits",
    "target_column": "target",
    "epochs": 200,
    "batch_size": 16,
    "hidden_units": [128, 64],
    "dropout_rate": 0.3,
    "learning_rate_scheduler": "plateau",
    "patience": 3,
    "early_stopping_patience": 60,
    "min_delta": 0.0,
}
LONG_EPOCHS: Config = {
    "framework": "pytorch",
    "dataset": "digits",
    "target_column": "target",
    "epochs": 8,
    "batch_size": 4,
    "hidden_units": [256, 128],
    "optimizer": "sgd",
    "learning_rate": 0.02,
    "learning_rate_scheduler": "step",
    "step_size": 2,
    "early_stopping_patience": None,
}
RECURRENT: Config = {
    "framework": "pytorch",
    "dataset": "digits",
    "target_column": "target",
    "model_type": "gru",
    "input_shape": [8, 8],
    "epochs": 12,
    "hidden_units": [24],
    "learning_rate_scheduler": "plateau",
    "patience": 1,
    "early_stopping_patience": None,
}
JAX = SHORT_EPOCHS | {"framework": "jax", "learning_rate_scheduler": "plateau", "patience": 10}
TENSORFLOW = JAX | {"framework": "tensorflow", "epochs": 300}

ALL: dict[str, Config] = {
    "short epochs": SHORT_EPOCHS,
    "plateau": PLATEAU,
    "long epochs": LONG_EPOCHS,
    "recurrent": RECURRENT,
    "jax": JAX,
    "tensorflow": TENSORFLOW,
}
FEW = {name: ALL[name] for name in ("short epochs", "plateau")}
"""Trainings that need one framework only, for a run that has to be short."""
