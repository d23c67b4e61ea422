"""Processes that read users' files and run users' queries, so that no file and no query can stop the server."""
