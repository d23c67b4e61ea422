"""A saved model in the forms that other programs open: ONNX, PyTorch, Keras, TensorFlow, TensorBoard, MLflow.

Every form is made from the canonical weights, whichever engine trained the model, and opens without epochd. Packages
are imported when a form needs them, in the process of ``epochd export``.
"""

from enum import StrEnum


class Form(StrEnum):
    """What a model can be exported as."""

    ONNX = "onnx"
    TORCH = "torch"
    KERAS = "keras"
    SAVEDMODEL = "savedmodel"
    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
