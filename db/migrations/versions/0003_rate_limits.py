"""Rate limits, shared by all API processes. Webhook secrets are encrypted from this version on;
earlier versions stored none.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

# Unlogged: after a crash the table is empty, and every caller's limit starts again.
SCHEMA = """
CREATE UNLOGGED TABLE rate_limits (
    caller TEXT NOT NULL,
    free_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_rate_limits PRIMARY KEY (caller)
) WITH (fillfactor = '50');
"""


def upgrade() -> None:
    op.execute(SCHEMA)
