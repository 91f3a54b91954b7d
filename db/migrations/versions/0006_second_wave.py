"""The second wave: owners and keys, origins, unchanged images, and what their endpoints need.

Each feature appends its statements to UPGRADE, and the statements that revert them to DOWNGRADE.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

UPGRADE = """
ALTER TABLE requests ADD COLUMN csv_layout JSONB, ADD COLUMN sample JSONB,
    ADD COLUMN skipped_rows BIGINT DEFAULT 0 NOT NULL,
    ADD COLUMN largest_row_characters INTEGER DEFAULT 0 NOT NULL;
ALTER TABLE products ADD COLUMN product_key TEXT, ADD COLUMN cell_kinds TEXT,
    ALTER COLUMN serial_number DROP NOT NULL, ALTER COLUMN product_name DROP NOT NULL;
CREATE TABLE other_rows (
    request_id UUID NOT NULL,
    after_seq INTEGER NOT NULL,
    position INTEGER NOT NULL,
    line INTEGER NOT NULL,
    cells TEXT[] NOT NULL,
    cell_kinds TEXT,
    CONSTRAINT pk_other_rows PRIMARY KEY (request_id, after_seq, position),
    CONSTRAINT fk_other_rows_request_id FOREIGN KEY (request_id) REFERENCES requests (id)
        ON DELETE CASCADE
);
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

-- Images that did not change since an earlier request.
ALTER TABLE requests ADD COLUMN fresh BOOLEAN DEFAULT false NOT NULL;
CREATE TABLE known_images (
    key BYTEA NOT NULL,
    request_id UUID NOT NULL,
    sha256 BYTEA NOT NULL,
    etag TEXT,
    last_modified TEXT,
    file TEXT NOT NULL,
    result JSONB NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_known_images PRIMARY KEY (key)
);
CREATE INDEX ix_known_images_request_id ON known_images (request_id);

-- Counters: images taken over from an earlier request, and errors by their code.
ALTER TABLE requests ADD COLUMN reused_images BIGINT DEFAULT 0 NOT NULL,
    ADD COLUMN errors JSONB DEFAULT '{}' NOT NULL;
ALTER TABLE request_shards ADD COLUMN reused_images BIGINT DEFAULT 0 NOT NULL,
    ADD COLUMN errors JSONB DEFAULT '{}' NOT NULL,
    DROP CONSTRAINT ck_request_shards_not_negative,
    ADD CONSTRAINT ck_request_shards_not_negative CHECK (least(processed_products, failed_products, cancelled_products, processed_images, failed_images, kept_original_images, reused_images, bytes_in, bytes_out) >= 0);
CREATE FUNCTION add_counts(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN a = '{}' THEN b WHEN b = '{}' THEN a ELSE (
        SELECT jsonb_object_agg(key, total) FROM (
            SELECT key, sum(CAST(value AS bigint)) AS total
            FROM (SELECT * FROM jsonb_each_text(a) UNION ALL SELECT * FROM jsonb_each_text(b)) AS given
            GROUP BY key) AS sums) END
$$;
CREATE FUNCTION subtract_counts(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT coalesce(jsonb_object_agg(key, remaining), '{}') FROM (
        SELECT key, CAST(value AS bigint) - coalesce(CAST(b ->> key AS bigint), 0) AS remaining
        FROM jsonb_each_text(a)) AS differences
    WHERE remaining > 0
$$;
CREATE AGGREGATE sum_counts(jsonb) (SFUNC = add_counts, STYPE = jsonb, INITCOND = '{}');
UPDATE request_shards AS shard SET errors = found.errors
FROM (
    SELECT request_id, seq % 64 AS shard,
           sum_counts(jsonb_build_object(image #>> '{error,code}', 1)) AS errors
    FROM products CROSS JOIN LATERAL jsonb_array_elements(images) AS image
    WHERE failed_images > 0 AND status IN ('COMPLETED', 'FAILED') AND image ->> 'status' = 'FAILED'
    GROUP BY 1, 2
) AS found
WHERE shard.request_id = found.request_id AND shard.shard = found.shard;
UPDATE requests SET errors = found.errors
FROM (
    SELECT request_id, sum_counts(errors) AS errors FROM request_shards
    WHERE errors <> '{}' AND processed_products + failed_products + cancelled_products = total
    GROUP BY 1
) AS found
WHERE requests.id = found.request_id;

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
    ADD COLUMN clock TIMESTAMP WITH TIME ZONE,
    ADD COLUMN images BIGINT DEFAULT 0 NOT NULL,
    ADD COLUMN failed_images BIGINT DEFAULT 0 NOT NULL,
    ADD COLUMN image_seconds DOUBLE PRECISION DEFAULT 0 NOT NULL;

ALTER TABLE products ADD COLUMN away BOOLEAN DEFAULT false NOT NULL;
CREATE TABLE processor_jobs (
    id UUID NOT NULL,
    request_id UUID NOT NULL,
    seq INTEGER NOT NULL,
    position INTEGER NOT NULL,
    variant TEXT NOT NULL,
    status TEXT DEFAULT 'sent' NOT NULL,
    used BOOLEAN DEFAULT false NOT NULL,
    output_url TEXT,
    error TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_processor_jobs PRIMARY KEY (id),
    CONSTRAINT fk_processor_jobs_request_id FOREIGN KEY (request_id, seq)
        REFERENCES products (request_id, seq) ON DELETE CASCADE
);
CREATE INDEX ix_processor_jobs_product ON processor_jobs (request_id, seq);
CREATE INDEX ix_processor_jobs_sent ON processor_jobs (expires_at) WHERE status = 'sent';
-- What products wait for, and a request's pause while workers have enough of it.
ALTER TABLE products ADD COLUMN waiting_host TEXT, ADD COLUMN waiting_reason TEXT;
CREATE INDEX ix_products_waiting ON products (request_id, waiting_host)
    WHERE waiting_host IS NOT NULL;
ALTER TABLE requests ADD COLUMN held_until TIMESTAMP WITH TIME ZONE;

-- What owners set for the hosts of their images.
CREATE TABLE origins (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    owner_id UUID,
    host TEXT NOT NULL,
    sealed TEXT NOT NULL,
    header_names TEXT[] NOT NULL,
    has_password BOOLEAN NOT NULL,
    requests_per_second DOUBLE PRECISION,
    connections INTEGER,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_origins PRIMARY KEY (id),
    CONSTRAINT uq_origins_owner_id_host UNIQUE NULLS NOT DISTINCT (owner_id, host),
    CONSTRAINT fk_origins_owner_id FOREIGN KEY (owner_id) REFERENCES owners (id)
);
CREATE UNLOGGED TABLE origin_connections (
    name TEXT NOT NULL,
    slot INTEGER NOT NULL,
    holder UUID NOT NULL,
    until TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_origin_connections PRIMARY KEY (name, slot)
);

-- Hosts that an operator has paused.
CREATE TABLE paused_hosts (
    host TEXT NOT NULL,
    paused_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_paused_hosts PRIMARY KEY (host)
);

-- The whole webhook URL, sealed, if it contains a password. Requests of before keep it in the URL.
ALTER TABLE requests ADD COLUMN webhook_sealed_url TEXT;

-- Hosts that asked an owner's fetches to come back later (Retry-After).
CREATE UNLOGGED TABLE asked_pauses (
    payer UUID NOT NULL,
    host TEXT NOT NULL,
    until TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_asked_pauses PRIMARY KEY (payer, host)
);

-- The marker of each storage folder.
CREATE TABLE storages (
    url TEXT NOT NULL,
    marker TEXT NOT NULL,
    CONSTRAINT pk_storages PRIMARY KEY (url)
);

CREATE TABLE host_figures (
    minute TIMESTAMP WITH TIME ZONE NOT NULL,
    host TEXT NOT NULL,
    images INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    CONSTRAINT pk_host_figures PRIMARY KEY (minute, host)
);

-- The backlog of each minute, for the operators' chart.
CREATE TABLE backlog_minutes (
    minute TIMESTAMP WITH TIME ZONE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    waiting_products BIGINT NOT NULL,
    postponed_products BIGINT NOT NULL,
    processing_products BIGINT NOT NULL,
    pending_events BIGINT NOT NULL,
    oldest_waiting_seconds DOUBLE PRECISION NOT NULL,
    CONSTRAINT pk_backlog_minutes PRIMARY KEY (minute)
);
"""

# Before 0006 the column was written but never read.
DOWNGRADE = """
ALTER TABLE requests DROP COLUMN webhook_sealed_url;
DROP TABLE asked_pauses;
DROP TABLE storages;
DROP TABLE paused_hosts;
DROP TABLE host_figures;
DROP TABLE backlog_minutes;
DROP TABLE origin_connections;
DROP TABLE origins;
DROP TABLE processor_jobs;
ALTER TABLE products DROP COLUMN away;
ALTER TABLE workers DROP COLUMN version, DROP COLUMN engines, DROP COLUMN clock,
    DROP COLUMN images, DROP COLUMN failed_images, DROP COLUMN image_seconds;
DROP TABLE other_rows;
UPDATE products SET serial_number = coalesce(serial_number, seq),
    product_name = coalesce(product_name, product_key, '')
    WHERE serial_number IS NULL OR product_name IS NULL;
ALTER TABLE products DROP COLUMN product_key, DROP COLUMN cell_kinds,
    ALTER COLUMN serial_number SET NOT NULL, ALTER COLUMN product_name SET NOT NULL;
ALTER TABLE requests DROP COLUMN csv_layout, DROP COLUMN sample, DROP COLUMN skipped_rows,
    DROP COLUMN largest_row_characters;
DROP INDEX ix_products_waiting;
ALTER TABLE products DROP COLUMN waiting_host, DROP COLUMN waiting_reason;
ALTER TABLE requests DROP COLUMN held_until;
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
DROP TABLE known_images;
ALTER TABLE requests DROP COLUMN fresh;
ALTER TABLE requests DROP COLUMN reused_images, DROP COLUMN errors;
ALTER TABLE request_shards DROP CONSTRAINT ck_request_shards_not_negative,
    DROP COLUMN reused_images, DROP COLUMN errors,
    ADD CONSTRAINT ck_request_shards_not_negative CHECK (least(processed_products, failed_products, cancelled_products, processed_images, failed_images, kept_original_images, bytes_in, bytes_out) >= 0);
DROP AGGREGATE sum_counts(jsonb);
DROP FUNCTION add_counts(jsonb, jsonb);
DROP FUNCTION subtract_counts(jsonb, jsonb);
ALTER TABLE requests ADD COLUMN csv_url_column SMALLINT DEFAULT 0 NOT NULL;
ALTER TABLE requests ALTER COLUMN csv_url_column DROP DEFAULT;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
