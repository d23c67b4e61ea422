"""A Python client of the server. It imports ``core`` and nothing else of epochd."""

from epochd.client.client import Client
from epochd.client.connection import DEFAULT_URL

__all__ = ["DEFAULT_URL", "Client"]
