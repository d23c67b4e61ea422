"""Prediction with saved models, as a server needs it: loaded once, with a description of their inputs, row by row."""
