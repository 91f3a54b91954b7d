"""Stores upload answers as json: jsonb reorders the members, json keeps their order."""

from alembic import op

revision = "0005"
down_revision = "0004"

SCHEMA = "ALTER TABLE idempotency_keys ALTER COLUMN answer TYPE JSON;"


def upgrade() -> None:
    op.execute(SCHEMA)
