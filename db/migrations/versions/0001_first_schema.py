"""The first schema: requests, their products, the completion barrier's shards, webhook events, API
keys.
"""

from alembic import op

revision = "0001"
down_revision = None

SCHEMA = """
CREATE TABLE api_keys (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    name TEXT NOT NULL,
    secret_sha256 BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_api_keys PRIMARY KEY (id),
    CONSTRAINT uq_api_keys_secret_sha256 UNIQUE (secret_sha256)
);
CREATE TABLE requests (
    id UUID NOT NULL,
    owner_key_id UUID,
    status TEXT DEFAULT 'PENDING' NOT NULL,
    outcome TEXT,
    run INTEGER DEFAULT 1 NOT NULL,
    options JSONB NOT NULL,
    csv_filename TEXT NOT NULL,
    csv_header TEXT[] NOT NULL,
    csv_delimiter TEXT NOT NULL,
    csv_url_column SMALLINT NOT NULL,
    image_token TEXT NOT NULL,
    total_products INTEGER NOT NULL,
    total_images BIGINT NOT NULL,
    open_shards SMALLINT NOT NULL,
    processed_products BIGINT DEFAULT 0 NOT NULL,
    failed_products BIGINT DEFAULT 0 NOT NULL,
    cancelled_products BIGINT DEFAULT 0 NOT NULL,
    processed_images BIGINT DEFAULT 0 NOT NULL,
    failed_images BIGINT DEFAULT 0 NOT NULL,
    kept_original_images BIGINT DEFAULT 0 NOT NULL,
    bytes_in BIGINT DEFAULT 0 NOT NULL,
    bytes_out BIGINT DEFAULT 0 NOT NULL,
    dispatch_cursor INTEGER DEFAULT 0 NOT NULL,
    served_at TIMESTAMP WITH TIME ZONE,
    webhook_url TEXT,
    webhook_secret TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    completed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_requests PRIMARY KEY (id),
    CONSTRAINT ck_requests_open_shards CHECK (open_shards >= 0),
    CONSTRAINT ck_requests_dispatch_cursor CHECK (dispatch_cursor BETWEEN 0 AND total_products),
    CONSTRAINT ck_requests_counted CHECK (processed_products + failed_products + cancelled_products <= total_products),
    CONSTRAINT ck_requests_ended_with_last_shard CHECK ((status IN ('COMPLETED', 'FAILED', 'CANCELLED')) = (open_shards = 0)),
    CONSTRAINT ck_requests_ended_has_time CHECK ((status IN ('COMPLETED', 'FAILED', 'CANCELLED')) = (completed_at IS NOT NULL)),
    CONSTRAINT ck_requests_ended_has_outcome CHECK ((status IN ('COMPLETED', 'FAILED', 'CANCELLED')) = (outcome IS NOT NULL)),
    CONSTRAINT fk_requests_owner_key_id FOREIGN KEY(owner_key_id) REFERENCES api_keys (id),
    CONSTRAINT uq_requests_image_token UNIQUE (image_token)
)
 WITH (fillfactor = 50);
CREATE INDEX ix_requests_active ON requests (served_at, id) WHERE status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED');
CREATE INDEX ix_requests_created_at ON requests (created_at, id);
CREATE TABLE products (
    request_id UUID NOT NULL,
    seq INTEGER NOT NULL,
    line INTEGER NOT NULL,
    serial_number BIGINT NOT NULL,
    product_name TEXT NOT NULL,
    cells TEXT[] NOT NULL,
    input_image_urls TEXT[] NOT NULL,
    status TEXT DEFAULT 'PENDING' NOT NULL,
    attempts SMALLINT DEFAULT 0 NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE,
    next_attempt_at TIMESTAMP WITH TIME ZONE,
    output_files TEXT[],
    images JSONB,
    failed_images SMALLINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_products PRIMARY KEY (request_id, seq),
    CONSTRAINT fk_products_request_id FOREIGN KEY(request_id) REFERENCES requests (id) ON DELETE CASCADE,
    CONSTRAINT ck_products_only_pending_is_due CHECK (status = 'PENDING' OR next_attempt_at IS NULL),
    CONSTRAINT ck_products_final_is_in_no_hand CHECK (status IN ('PENDING', 'PROCESSING') OR lease_until IS NULL),
    CONSTRAINT ck_products_processing_is_leased CHECK (status <> 'PROCESSING' OR lease_until IS NOT NULL)
)
 WITH (fillfactor = 70);
CREATE INDEX ix_products_due_again ON products (request_id, next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX ix_products_failed ON products (request_id, seq) WHERE failed_images > 0;
CREATE INDEX ix_products_lease_until ON products (lease_until) WHERE lease_until IS NOT NULL;
CREATE TABLE request_shards (
    request_id UUID NOT NULL,
    shard SMALLINT NOT NULL,
    total INTEGER NOT NULL,
    processed_products BIGINT DEFAULT 0 NOT NULL,
    failed_products BIGINT DEFAULT 0 NOT NULL,
    cancelled_products BIGINT DEFAULT 0 NOT NULL,
    processed_images BIGINT DEFAULT 0 NOT NULL,
    failed_images BIGINT DEFAULT 0 NOT NULL,
    kept_original_images BIGINT DEFAULT 0 NOT NULL,
    bytes_in BIGINT DEFAULT 0 NOT NULL,
    bytes_out BIGINT DEFAULT 0 NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_request_shards PRIMARY KEY (request_id, shard),
    CONSTRAINT fk_request_shards_request_id FOREIGN KEY(request_id) REFERENCES requests (id) ON DELETE CASCADE,
    CONSTRAINT ck_request_shards_counted CHECK (processed_products + failed_products + cancelled_products BETWEEN 0 AND total),
    CONSTRAINT ck_request_shards_not_negative CHECK (least(processed_products, failed_products, cancelled_products, processed_images, failed_images, kept_original_images, bytes_in, bytes_out) >= 0)
)
 WITH (fillfactor = 10);
CREATE TABLE webhook_events (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    request_id UUID NOT NULL,
    run INTEGER NOT NULL,
    body TEXT,
    status TEXT DEFAULT 'pending' NOT NULL,
    attempts SMALLINT DEFAULT 0 NOT NULL,
    step SMALLINT DEFAULT 0 NOT NULL,
    next_attempt_at TIMESTAMP WITH TIME ZONE,
    lease_until TIMESTAMP WITH TIME ZONE,
    last_status_code SMALLINT,
    last_error TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    delivered_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_webhook_events PRIMARY KEY (id),
    CONSTRAINT fk_webhook_events_request_id FOREIGN KEY(request_id) REFERENCES requests (id) ON DELETE CASCADE,
    CONSTRAINT uq_webhook_events_request_id_run UNIQUE (request_id, run),
    CONSTRAINT ck_webhook_events_pending_is_due CHECK ((status = 'pending') = (next_attempt_at IS NOT NULL))
);
CREATE INDEX ix_webhook_events_due ON webhook_events (next_attempt_at) WHERE status = 'pending';
CREATE TABLE webhook_attempts (
    event_id UUID NOT NULL,
    attempt SMALLINT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    duration_ms INTEGER NOT NULL,
    status_code SMALLINT,
    error TEXT,
    CONSTRAINT pk_webhook_attempts PRIMARY KEY (event_id, attempt),
    CONSTRAINT fk_webhook_attempts_event_id FOREIGN KEY(event_id) REFERENCES webhook_events (id) ON DELETE CASCADE
);
"""


def upgrade() -> None:
    op.execute(SCHEMA)
