"""The tables. The other modules of this package have the queries; db/migrations has the schema's
history.

`requests` 1—n `products`, 1—64 `request_shards` (the completion barrier's counters), 1—n
`webhook_events` (one for each time the request ends), each 1—n `webhook_attempts`. `owners` have
`api_keys` and own requests. `workers` lists the live worker processes.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB

from halftone_shared.model.states import FINAL_STATUSES

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# An SQL list: `status IN {FINAL}` is true for requests and products that have ended.
FINAL = "(" + ", ".join(f"'{status}'" for status in FINAL_STATUSES) + ")"
# The number of ended products of a shard or request.
ENDED_PRODUCTS = "processed_products + failed_products + cancelled_products"


def _time(name: str, *, nullable: bool = True) -> "Column[object]":
    return Column(
        name,
        DateTime(timezone=True),
        nullable=nullable,
        server_default=None if nullable else func.now(),
    )


def _count(name: str) -> "Column[int]":
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _counters() -> list["Column[int]"]:
    """Counters of finished products and images: kept per shard, and added to the request when the
    shard is full.
    """
    return [
        _count("processed_products"),
        _count("failed_products"),
        _count("cancelled_products"),
        _count("processed_images"),
        _count("failed_images"),
        _count("kept_original_images"),
        _count("reused_images"),
        _count("bytes_in"),
        _count("bytes_out"),
    ]


COUNTERS = tuple(column.name for column in _counters())


def _errors() -> "Column[object]":
    """How many images failed with each error code: `{"http_error": 2}`. Summed by the database
    functions `add_counts` and `sum_counts` (migration 0006).
    """
    return Column("errors", JSONB, nullable=False, server_default=text("'{}'"))


owners = Table(
    "owners",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("name", Text, nullable=False, unique=True),
    _time("created_at", nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("owner_id", Uuid, ForeignKey("owners.id"), nullable=False),
    Column("name", Text, nullable=False),
    # An admin key sees every owner's requests.
    Column("is_admin", Boolean, nullable=False, server_default=text("false")),
    Column("secret_sha256", LargeBinary, nullable=False, unique=True),
    _time("created_at", nullable=False),
    # Updated at most once a minute.
    _time("last_used_at"),
    _time("revoked_at"),
)

requests = Table(
    "requests",
    metadata,
    Column("id", Uuid, primary_key=True),
    # Null for uploads with HALFTONE_AUTH=off.
    Column("owner_id", Uuid, ForeignKey("owners.id")),
    Column("status", Text, nullable=False, server_default="PENDING"),
    Column("outcome", Text),
    # 1, plus 1 for every retry. Each (id, run) ends once and has at most one webhook event.
    Column("run", Integer, nullable=False, server_default=text("1")),
    Column("options", JSONB, nullable=False),
    # Do not reuse images of earlier requests.
    Column("fresh", Boolean, nullable=False, server_default=text("false")),
    Column("csv_filename", Text, nullable=False),
    Column("csv_header", ARRAY(Text), nullable=False),
    Column("csv_delimiter", Text, nullable=False),
    # Secret: the names of output images and the token are derived from it (image_names.py).
    Column("image_key", Uuid, nullable=False),
    # The file's layout, for writing it back (the API's Layout). Null before migration 0006, when
    # all files were native CSV.
    Column("csv_layout", JSONB),
    # Rows that are not products: rows without an image, and invalid rows that were skipped.
    _count("skipped_rows"),
    # The most characters of cells and URLs in one row. Limits how many rows an answer reads at
    # once.
    Column("largest_row_characters", Integer, nullable=False, server_default=text("0")),
    # With `sample=N`: the numbers of products and images in the whole file.
    Column("sample", JSONB),
    Column("image_token", Text, nullable=False, unique=True),
    Column("total_products", Integer, nullable=False),
    Column("total_images", BigInteger, nullable=False),
    Column("open_shards", SmallInteger, nullable=False),
    *_counters(),
    _errors(),
    # Products up to this seq have been handed out once; those due again have next_attempt_at set.
    Column("dispatch_cursor", Integer, nullable=False, server_default=text("0")),
    _time("served_at"),
    # No more of its products are handed out before this time: enough of them wait in workers.
    _time("held_until"),
    # Set by a cancellation: no more products are handed out or claimed, and unfinished ones become
    # CANCELLED.
    _time("cancel_requested_at"),
    # With its password hidden; the whole URL is then sealed (secret_box.py). Requests of versions
    # before 0006 have their password here.
    Column("webhook_url", Text),
    Column("webhook_sealed_url", Text),
    # Sealed.
    Column("webhook_secret", Text),
    # The upload's X-Request-Id: one ID to grep for, from the upload to the webhook.
    Column("trace_id", Text),
    _time("created_at", nullable=False),
    _time("started_at"),
    _time("updated_at", nullable=False),
    _time("completed_at"),
    # Set by deletion.py: the request is hidden from then on, and its files and rows are being
    # deleted.
    _time("expired_at"),
    CheckConstraint("open_shards >= 0", name="open_shards"),
    CheckConstraint("dispatch_cursor BETWEEN 0 AND total_products", name="dispatch_cursor"),
    CheckConstraint(
        f"{ENDED_PRODUCTS} <= total_products",
        name="counted",
    ),
    CheckConstraint(f"(status IN {FINAL}) = (open_shards = 0)", name="ended_with_last_shard"),
    CheckConstraint(f"(status IN {FINAL}) = (completed_at IS NOT NULL)", name="ended_has_time"),
    CheckConstraint(f"(status IN {FINAL}) = (outcome IS NOT NULL)", name="ended_has_outcome"),
    Index("ix_requests_active", "served_at", "id", postgresql_where=text(f"status NOT IN {FINAL}")),
    Index("ix_requests_created_at", "created_at", "id"),
    Index(
        "ix_requests_completed_at",
        "completed_at",
        "status",
        postgresql_where=text("completed_at IS NOT NULL"),
    ),
    Index("ix_requests_expired_at", "expired_at", postgresql_where=text("expired_at IS NOT NULL")),
    # Every dispatch and every full shard updates the row; free space on the page keeps these
    # updates on it (HOT).
    postgresql_with={"fillfactor": "50"},
)

products = Table(
    "products",
    metadata,
    Column("request_id", Uuid, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("line", Integer, nullable=False),
    # Null for files other than the native CSV: they have only a key, or neither.
    Column("serial_number", BigInteger),
    Column("product_key", Text),
    Column("product_name", Text),
    Column("cells", ARRAY(Text), nullable=False),
    # The types of a workbook row's cells, one character each; null if all are text.
    Column("cell_kinds", Text),
    Column("input_image_urls", ARRAY(Text), nullable=False),
    # The client's names for the outputs (option `names`): for each URL the main one, then variants.
    Column("output_names", ARRAY(Text)),
    Column("status", Text, nullable=False, server_default="PENDING"),
    Column("attempts", SmallInteger, nullable=False, server_default=text("0")),
    # The fencing token: incremented by every claim and, unlike `attempts`, never decremented.
    Column("claims", Integer, nullable=False, server_default=text("0")),
    # Until then the product is held: by a published message (PENDING) or by a worker (PROCESSING).
    _time("lease_until"),
    # When a product that was handed out before becomes due again.
    _time("next_attempt_at"),
    # One entry per input URL: the file's name under /api/image/, or null without an output.
    Column("output_files", ARRAY(Text)),
    Column("images", JSONB),
    Column("failed_images", SmallInteger, nullable=False, server_default=text("0")),
    # The host that the product waits for, and the reason (WaitReason), for the client to read.
    Column("waiting_host", Text),
    Column("waiting_reason", Text),
    ForeignKeyConstraint(["request_id"], ["requests.id"], ondelete="CASCADE"),
    # The external processor has its images. No worker holds it, and the lease is not renewed.
    Column("away", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("status = 'PENDING' OR next_attempt_at IS NULL", name="only_pending_is_due"),
    CheckConstraint(
        "status IN ('PENDING', 'PROCESSING') OR lease_until IS NULL", name="final_is_in_no_hand"
    ),
    CheckConstraint(
        "status <> 'PROCESSING' OR lease_until IS NOT NULL", name="processing_is_leased"
    ),
    Index(
        "ix_products_due_again",
        "request_id",
        "next_attempt_at",
        postgresql_where=text("next_attempt_at IS NOT NULL"),
    ),
    Index(
        "ix_products_lease_until", "lease_until", postgresql_where=text("lease_until IS NOT NULL")
    ),
    Index(
        "ix_products_waiting",
        "request_id",
        "waiting_host",
        postgresql_where=text("waiting_host IS NOT NULL"),
    ),
    Index("ix_products_failed", "request_id", "seq", postgresql_where=text("failed_images > 0")),
    postgresql_with={"fillfactor": "70"},
)

# Rows of the file that are not products, as uploaded. The output file has them in their places.
other_rows = Table(
    "other_rows",
    metadata,
    Column("request_id", Uuid, primary_key=True),
    # The seq of the product before the row (0: before the first), and its position after that
    # product, from 1.
    Column("after_seq", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("line", Integer, nullable=False),
    Column("cells", ARRAY(Text), nullable=False),
    Column("cell_kinds", Text),
    ForeignKeyConstraint(["request_id"], ["requests.id"], ondelete="CASCADE"),
)

request_shards = Table(
    "request_shards",
    metadata,
    Column("request_id", Uuid, primary_key=True),
    Column("shard", SmallInteger, primary_key=True),
    Column("total", Integer, nullable=False),
    *_counters(),
    _errors(),
    _time("updated_at", nullable=False),
    ForeignKeyConstraint(["request_id"], ["requests.id"], ondelete="CASCADE"),
    CheckConstraint(
        f"{ENDED_PRODUCTS} BETWEEN 0 AND total",
        name="counted",
    ),
    CheckConstraint(
        "least(processed_products, failed_products, cancelled_products, processed_images,"
        " failed_images, kept_original_images, reused_images, bytes_in, bytes_out) >= 0",
        name="not_negative",
    ),
    # Every finished product updates a counter; with 90 % of the page free the updates stay on it
    # (HOT).
    postgresql_with={"fillfactor": "10"},
)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("request_id", Uuid, nullable=False),
    Column("run", Integer, nullable=False),
    # Null until the first attempt writes it: see webhook_events.py.
    Column("body", Text),
    Column("status", Text, nullable=False, server_default="pending"),
    # `attempts` counts all attempts, `step` those since the schedule began; a replay restarts the
    # schedule.
    Column("attempts", SmallInteger, nullable=False, server_default=text("0")),
    Column("step", SmallInteger, nullable=False, server_default=text("0")),
    _time("next_attempt_at"),
    _time("lease_until"),
    Column("last_status_code", SmallInteger),
    Column("last_error", Text),
    _time("created_at", nullable=False),
    _time("delivered_at"),
    ForeignKeyConstraint(["request_id"], ["requests.id"], ondelete="CASCADE"),
    UniqueConstraint("request_id", "run"),
    CheckConstraint("(status = 'pending') = (next_attempt_at IS NOT NULL)", name="pending_is_due"),
    Index("ix_webhook_events_due", "next_attempt_at", postgresql_where=text("status = 'pending'")),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    # Null for uploads with HALFTONE_AUTH=off.
    Column("owner_id", Uuid, ForeignKey("owners.id")),
    Column("key", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    # The answer to the upload, with its members in their original order (json, not jsonb). Null
    # while the upload's transaction is open.
    Column("answer", JSON),
    _time("created_at", nullable=False),
    UniqueConstraint("owner_id", "key", postgresql_nulls_not_distinct=True),
    Index("ix_idempotency_keys_created_at", "created_at"),
)

# Unlogged: its rows have no value after a crash.
rate_limits = Table(
    "rate_limits",
    metadata,
    Column("caller", Text, primary_key=True),
    Column("free_at", DateTime(timezone=True), nullable=False),
    prefixes=["UNLOGGED"],
    postgresql_with={"fillfactor": "50"},
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("attempt", SmallInteger, primary_key=True),
    _time("started_at", nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("status_code", SmallInteger),
    Column("error", Text),
    ForeignKeyConstraint(["event_id"], ["webhook_events.id"], ondelete="CASCADE"),
)

# Owners' settings for the hosts of their images: see origins.py.
origins = Table(
    "origins",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("owner_id", Uuid, ForeignKey("owners.id")),
    Column("host", Text, nullable=False),
    # Headers, user name and password, sealed: see secret_box.py.
    Column("sealed", Text, nullable=False),
    Column("header_names", ARRAY(Text), nullable=False),
    Column("has_password", Boolean, nullable=False),
    Column("requests_per_second", Double),
    Column("connections", Integer),
    _time("updated_at", nullable=False),
    UniqueConstraint("owner_id", "host", postgresql_nulls_not_distinct=True),
)

# Open connections to origins that have a limit. Unlogged, like rate_limits.
origin_connections = Table(
    "origin_connections",
    metadata,
    Column("name", Text, primary_key=True),
    Column("slot", Integer, primary_key=True),
    Column("holder", Uuid, nullable=False),
    Column("until", DateTime(timezone=True), nullable=False),
    prefixes=["UNLOGGED"],
)

# Hosts that asked an owner's fetches to come back later: see asked_pauses.py. Unlogged.
asked_pauses = Table(
    "asked_pauses",
    metadata,
    Column("payer", Uuid, primary_key=True),
    Column("host", Text, primary_key=True),
    Column("until", DateTime(timezone=True), nullable=False),
    prefixes=["UNLOGGED"],
)

# Hosts that an operator has paused: see paused_hosts.py.
paused_hosts = Table(
    "paused_hosts",
    metadata,
    Column("host", Text, primary_key=True),
    Column("paused_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# The last result for an owner's image at a URL: see known_images.py.
known_images = Table(
    "known_images",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("request_id", Uuid, nullable=False, index=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("etag", Text),
    Column("last_modified", Text),
    Column("file", Text, nullable=False),
    Column("result", JSONB, nullable=False),
    _time("used_at", nullable=False),
)

# The marker of each storage folder in use: see service/storage_check.py.
storages = Table(
    "storages",
    metadata,
    Column("url", Text, primary_key=True),
    Column("marker", Text, nullable=False),
)

# One row: the oldest version of halftone that works with this schema, given as the newest migration
# which that version knows. A migration that older code cannot work with sets it to its own
# revision.
schema_compatibility = Table(
    "schema_compatibility",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    Column("works_since", Text, nullable=False),
    CheckConstraint("only_row", name="only_row"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    _time("started_at", nullable=False),
    _time("last_seen_at", nullable=False),
    # The column keeps the name that workers of earlier versions write.
    Column("products_in_hand", Integer, key="products_active", nullable=False),
    Column("codec_processes", Integer, nullable=False),
    Column("codec_processes_busy", Integer, nullable=False),
    # Since migration 0006: the worker's version, its image libraries' versions, its clock at the
    # report, and its attempts at images since its start.
    Column("version", Text),
    Column("engines", JSONB),
    Column("clock", DateTime(timezone=True)),
    Column("images", BigInteger, nullable=False, server_default=text("0")),
    Column("failed_images", BigInteger, nullable=False, server_default=text("0")),
    Column("image_seconds", Double, nullable=False, server_default=text("0")),
    postgresql_with={"fillfactor": "50"},
)

# Outputs of images that the external image processing service makes: see processor_jobs.py.
processor_jobs = Table(
    "processor_jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("request_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("variant", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="sent"),
    # A result is used once, by the worker that claims its product.
    Column("used", Boolean, nullable=False, server_default=text("false")),
    Column("output_url", Text),
    Column("error", Text),
    _time("created_at", nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    _time("ended_at"),
    ForeignKeyConstraint(
        ["request_id", "seq"], ["products.request_id", "products.seq"], ondelete="CASCADE"
    ),
    Index("ix_processor_jobs_product", "request_id", "seq"),
    Index("ix_processor_jobs_sent", "expires_at", postgresql_where=text("status = 'sent'")),
)

# Counts of finished images by minute and host: see host_figures.py.
host_figures = Table(
    "host_figures",
    metadata,
    Column("minute", DateTime(timezone=True), primary_key=True),
    Column("host", Text, primary_key=True),
    Column("images", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("bytes_in", BigInteger, nullable=False),
    Column("bytes_out", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
)

# The highest backlog of each minute: see backlog_minutes.py.
backlog_minutes = Table(
    "backlog_minutes",
    metadata,
    Column("minute", DateTime(timezone=True), primary_key=True),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("waiting_products", BigInteger, nullable=False),
    Column("postponed_products", BigInteger, nullable=False),
    Column("processing_products", BigInteger, nullable=False),
    Column("pending_events", BigInteger, nullable=False),
    Column("oldest_waiting_seconds", Double, nullable=False),
)
