"""What Alembic runs: the migrations, over the connection that `migrate.py` hands it."""

from alembic import context

from convergence.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
context.run_migrations()
