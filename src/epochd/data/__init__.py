"""From a dataset's name to leak-free arrays."""
