"""Alembic runs this for each command, on the connection that ``migrations.upgrade`` passes."""

from alembic import context

from epochd.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
