"""The second wave: owners and keys, origins, unchanged images, and what their endpoints need.

Every part of the wave appends its statements to UPGRADE, and what takes them back to DOWNGRADE.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

UPGRADE = """
ALTER TABLE requests DROP COLUMN csv_url_column;
CREATE TABLE schema_compatibility (
    only_row BOOLEAN DEFAULT true NOT NULL,
    works_since TEXT NOT NULL,
    CONSTRAINT pk_schema_compatibility PRIMARY KEY (only_row),
    CONSTRAINT ck_schema_compatibility_only_row CHECK (only_row)
);
INSERT INTO schema_compatibility (works_since) VALUES ('0006');
"""

# Before 0006 the column was written and never read.
DOWNGRADE = """
DROP TABLE schema_compatibility;
ALTER TABLE requests ADD COLUMN csv_url_column SMALLINT DEFAULT 0 NOT NULL;
ALTER TABLE requests ALTER COLUMN csv_url_column DROP DEFAULT;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
