"""Alembic's entry: migrations run on the connection that ``Database`` hands over."""

from __future__ import annotations

from alembic import context

from mlops_magics.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="mlops_version",  # MLflow may keep its own alembic_version in the same database
    render_as_batch=True,
)
context.run_migrations()
