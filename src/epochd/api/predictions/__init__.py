"""The routes about batch predictions: a model predicts a dataset as a task."""
