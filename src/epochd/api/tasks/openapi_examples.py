"""Example configs on the OpenAPI page, including those of the public guide."""

from typing import Any


def _mlp(name: str, units: list[int], scheduler: str, output: str, **rest: object) -> dict[str, Any]:
    """A request body of the guide."""
    return {
        "name": name,
        "algorithm_type": "deep_learning",
        "model_type": "mlp",
        "epochs": 100,
        "batch_size": 32,
        "learning_rate": 0.001,
        "hidden_units": units,
        "dropout_rate": 0.2,
        "early_stopping_patience": 10,
        "learning_rate_scheduler": scheduler,
        "feature_columns": ["feature1", "feature2", "feature3"],
        "target_column": "target",
        "output_path": output,
        **rest,
    }


QUICK_START = _mlp("深度学习模型训练", [128, 64, 32], "step", "/models/deep_learning_model")
BASIC = _mlp(
    "基础MLP训练",
    [128, 64],
    "step",
    "/models/mlp_model",
    epochs=50,
    batch_size=64,
    dropout_rate=0.3,
    early_stopping_patience=5,
)
COMPLEX = _mlp(
    "复杂网络训练",
    [256, 128, 64, 32],
    "plateau",
    "/models/complex_model",
    epochs=200,
    learning_rate=0.0001,
    dropout_rate=0.5,
    early_stopping_patience=15,
    feature_columns=["feature1", "feature2", "feature3", "feature4"],
)
BREAST_CANCER = {
    "name": "breast cancer, mlp",
    "dataset": "breast_cancer",
    "target_column": "target",
    "hidden_units": [64, 32],
    "epochs": 50,
    "learning_rate_scheduler": "cosine",
    "output_path": "/models/breast_cancer",
}

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/TrainingConfig"},
                "examples": {
                    "quick start": {"summary": "快速开始", "value": QUICK_START},
                    "basic mlp": {"summary": "基础MLP训练", "value": BASIC},
                    "complex mlp": {"summary": "复杂网络训练", "value": COMPLEX},
                    "built-in dataset": {"summary": "A built-in dataset by name", "value": BREAST_CANCER},
                },
            }
        },
    }
}
"""The OpenAPI description of a config as request body. Routes read the raw JSON, so that all problems are found."""
