"""For operators: live workers, the upload that a request came from, and requests that are being
deleted.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

SCHEMA = """
ALTER TABLE requests ADD COLUMN trace_id TEXT;
ALTER TABLE requests ADD COLUMN expired_at TIMESTAMP WITH TIME ZONE;
CREATE INDEX ix_requests_completed_at ON requests (completed_at, status) WHERE completed_at IS NOT NULL;
CREATE INDEX ix_requests_expired_at ON requests (expired_at) WHERE expired_at IS NOT NULL;
CREATE TABLE workers (
    id UUID NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    last_seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    products_in_hand INTEGER NOT NULL,
    codec_processes INTEGER NOT NULL,
    codec_processes_busy INTEGER NOT NULL,
    CONSTRAINT pk_workers PRIMARY KEY (id)
)
 WITH (fillfactor = 50);
"""


def upgrade() -> None:
    op.execute(SCHEMA)
