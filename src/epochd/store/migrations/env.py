"""What Alembic runs for each command: it works on the connection that it is handed, and owns none."""

from alembic import context

from epochd.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
