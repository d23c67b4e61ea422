"""A server whose store has trained models, as for the routes about models."""

from tests.api.models.conftest import built, house, store

__all__ = ["built", "house", "store"]
