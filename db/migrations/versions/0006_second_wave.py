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
ALTER TABLE requests ADD COLUMN image_key UUID;
UPDATE requests SET image_key = id;
ALTER TABLE requests ALTER COLUMN image_key SET NOT NULL;
ALTER TABLE products ADD COLUMN output_names TEXT[];
INSERT INTO schema_compatibility (works_since) VALUES ('0006');

CREATE TABLE owners (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    name TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_owners PRIMARY KEY (id),
    CONSTRAINT uq_owners_name UNIQUE (name)
);
-- Every key of before becomes an owner with the key's own ID, so that what names it stays as it is.
-- Keys of the same name stay apart: they did not see each other's requests.
INSERT INTO owners (id, name, created_at)
SELECT id, name || CASE WHEN number > 1 THEN ' (' || id || ')' ELSE '' END, created_at
FROM (SELECT id, name, created_at,
             row_number() OVER (PARTITION BY name ORDER BY created_at, id) AS number
      FROM api_keys) AS key;
ALTER TABLE api_keys
    ADD COLUMN owner_id UUID,
    ADD COLUMN is_admin BOOLEAN DEFAULT false NOT NULL,
    ADD COLUMN last_used_at TIMESTAMP WITH TIME ZONE;
UPDATE api_keys SET owner_id = id;
ALTER TABLE api_keys ALTER COLUMN owner_id SET NOT NULL,
    ADD CONSTRAINT fk_api_keys_owner_id FOREIGN KEY (owner_id) REFERENCES owners (id);
ALTER TABLE requests DROP CONSTRAINT fk_requests_owner_key_id;
ALTER TABLE requests RENAME COLUMN owner_key_id TO owner_id;
ALTER TABLE requests
    ADD CONSTRAINT fk_requests_owner_id FOREIGN KEY (owner_id) REFERENCES owners (id);
ALTER TABLE idempotency_keys DROP CONSTRAINT fk_idempotency_keys_owner_key_id;
ALTER TABLE idempotency_keys RENAME COLUMN owner_key_id TO owner_id;
ALTER TABLE idempotency_keys
    RENAME CONSTRAINT uq_idempotency_keys_owner_key_id_key TO uq_idempotency_keys_owner_id_key;
ALTER TABLE idempotency_keys
    ADD CONSTRAINT fk_idempotency_keys_owner_id FOREIGN KEY (owner_id) REFERENCES owners (id);

-- What `halftone doctor` compares. A worker of before says nothing of it.
ALTER TABLE workers
    ADD COLUMN version TEXT,
    ADD COLUMN engines JSONB,
    ADD COLUMN clock TIMESTAMP WITH TIME ZONE;
"""

# Before 0006 the column was written and never read.
DOWNGRADE = """
ALTER TABLE workers DROP COLUMN version, DROP COLUMN engines, DROP COLUMN clock;
-- A request of an owner of several keys goes to the oldest of them.
ALTER TABLE idempotency_keys DROP CONSTRAINT fk_idempotency_keys_owner_id;
ALTER TABLE idempotency_keys RENAME COLUMN owner_id TO owner_key_id;
ALTER TABLE idempotency_keys
    RENAME CONSTRAINT uq_idempotency_keys_owner_id_key TO uq_idempotency_keys_owner_key_id_key;
UPDATE idempotency_keys SET owner_key_id = (
    SELECT id FROM api_keys WHERE owner_id = owner_key_id ORDER BY created_at, id LIMIT 1);
ALTER TABLE idempotency_keys
    ADD CONSTRAINT fk_idempotency_keys_owner_key_id FOREIGN KEY (owner_key_id) REFERENCES api_keys (id);
ALTER TABLE requests DROP CONSTRAINT fk_requests_owner_id;
ALTER TABLE requests RENAME COLUMN owner_id TO owner_key_id;
UPDATE requests SET owner_key_id = (
    SELECT id FROM api_keys WHERE owner_id = owner_key_id ORDER BY created_at, id LIMIT 1)
WHERE owner_key_id IS NOT NULL;
ALTER TABLE requests
    ADD CONSTRAINT fk_requests_owner_key_id FOREIGN KEY (owner_key_id) REFERENCES api_keys (id);
ALTER TABLE api_keys DROP COLUMN owner_id, DROP COLUMN is_admin, DROP COLUMN last_used_at;
DROP TABLE owners;
ALTER TABLE products DROP COLUMN output_names;
ALTER TABLE requests DROP COLUMN image_key;
DROP TABLE schema_compatibility;
ALTER TABLE requests ADD COLUMN csv_url_column SMALLINT DEFAULT 0 NOT NULL;
ALTER TABLE requests ALTER COLUMN csv_url_column DROP DEFAULT;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
