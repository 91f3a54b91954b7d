"""Cancelling and retrying requests, a fencing token on products, and idempotency keys for
uploads.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

SCHEMA = """
ALTER TABLE requests ADD COLUMN cancel_requested_at TIMESTAMP WITH TIME ZONE;
ALTER TABLE products ADD COLUMN claims INTEGER DEFAULT 0 NOT NULL;
UPDATE products SET claims = attempts WHERE status = 'PROCESSING';
CREATE TABLE idempotency_keys (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    owner_key_id UUID,
    key TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    answer JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (id),
    CONSTRAINT uq_idempotency_keys_owner_key_id_key UNIQUE NULLS NOT DISTINCT (owner_key_id, key),
    CONSTRAINT fk_idempotency_keys_owner_key_id FOREIGN KEY (owner_key_id) REFERENCES api_keys (id)
);
CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at);
"""


def upgrade() -> None:
    op.execute(SCHEMA)
