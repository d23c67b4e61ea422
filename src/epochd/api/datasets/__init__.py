"""The routes about registered datasets."""
