"""epochd: a self-hosted training server with exact pause and resume."""

__version__ = "0.1.0"
