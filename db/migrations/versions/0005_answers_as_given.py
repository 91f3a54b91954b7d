"""What an upload was answered with is kept as it was given: jsonb has an order of its own for
members, json has none.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

SCHEMA = "ALTER TABLE idempotency_keys ALTER COLUMN answer TYPE JSON;"


def upgrade() -> None:
    op.execute(SCHEMA)
