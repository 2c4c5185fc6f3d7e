"""Alembic's entry: the connection is the record's own, which has begun a transaction and holds the lock."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
