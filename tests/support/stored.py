"""Requests in the database, created without an upload, for tests of what happens to them later."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, event, text

from halftone_shared.db.barrier import Settled, settle_product
from halftone_shared.db.engine import transaction
from halftone_shared.db.products import Claim, claim_products
from halftone_shared.db.requests import NewProduct, NewRequest, insert_request
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.results import (
    ImageError,
    ImageFacts,
    ImageResult,
    ProductKey,
    ProductResult,
    StoredImage,
)
from halftone_shared.model.states import Action

# The image key in tests of names.
REQUEST_KEY = UUID("8243ff57-4d97-4733-bd91-3bb51286b55e")


def store_request(
    engine: Engine,
    products: int = 1,
    *,
    images: int = 1,
    webhook_url: str | None = None,
    owner_id: UUID | None = None,
    urls: Sequence[str] | None = None,
    url_of: Callable[[int, int], str] = lambda seq, at: f"http://127.0.0.1/{seq}-{at}.jpg",
    options: dict[str, Any] | None = None,
    fresh: bool = False,
) -> UUID:
    """Create a request with that many products of that many images each, or of these `urls`. Its
    image key is its ID. `url_of` gives the URL at a product's `seq` and an image's position.
    """
    request_id = uuid4()
    request = NewRequest(
        id=request_id,
        image_key=request_id,
        owner_id=owner_id,
        options=options or {"mode": "quality", "quality": 50, "format": "keep"},
        fresh=fresh,
        csv_filename="products.csv",
        csv_header=["Serial Number", "Product Name", "Input Image Urls"],
        csv_delimiter=",",
        webhook_url=webhook_url,
        webhook_secret=None,
    )
    with transaction(engine) as connection, insert_request(connection, request) as writer:
        for seq in range(1, products + 1):
            given = list(urls or ()) or [url_of(seq, at) for at in range(1, images + 1)]
            cells = [str(seq), f"SKU{seq}", ",".join(given)]
            writer.write(NewProduct(seq + 1, seq, f"SKU{seq}", cells, given))
    return request.id


@contextmanager
def before_statement(start: str, do: Callable[[], object]) -> Iterator[None]:
    """Run `do` once within the block, right before a statement that starts with this text."""
    waiting = [do]

    def interrupt(*arguments: Any) -> None:
        if waiting and arguments[2].startswith(start):
            waiting.pop()()

    event.listen(Engine, "before_cursor_execute", interrupt)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", interrupt)
    assert not waiting, f"no statement began with {start!r}"


def stored_image(file: str, **facts: Any) -> StoredImage:
    """A stored output with the properties of a small JPEG, except those given."""
    usual = {"format": "JPEG", "width": 8, "height": 8, "bytes_in": 100, "bytes_out": 40}
    return StoredImage(file, ImageFacts(**{"action": Action.COMPRESSED, **usual, **facts}))


def good_image(file: str = "x", **facts: Any) -> ImageResult:
    return ImageResult(stored_image(file, **facts))


def failed_image(*, retryable: bool = False) -> ImageResult:
    return ImageResult(
        error=ImageError(ImageErrorCode.HTTP_ERROR, "The server answered 404.", 404, retryable)
    )


def claim_product(connection: Connection, key: ProductKey) -> Claim | None:
    return claim_products(connection, [key])[0]


def claimed(engine: Engine, request_id: UUID, seq: int) -> Claim:
    with engine.connect() as connection:
        claim = claim_product(connection, ProductKey(request_id, seq))
    assert claim is not None
    return claim


def settle(engine: Engine, claim: Claim, *images: ImageResult) -> Settled:
    """Settle a claim, by default with one good image per URL."""
    results = images or tuple(good_image() for _ in claim.input_image_urls)
    with engine.connect() as connection:
        return settle_product(connection, claim, ProductResult(results))


def finish(engine: Engine, request_id: UUID, products: int) -> list[Settled]:
    """Claim and settle all products of a request."""
    return [settle(engine, claimed(engine, request_id, seq)) for seq in range(1, products + 1)]


# Returns a row for each statement in the database that waits for a lock.
WAITING = (
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def query(engine: Engine, statement: str, **parameters: Any) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement), parameters))


def execute(engine: Engine, statement: str, **parameters: Any) -> None:
    with engine.connect() as connection:
        connection.execute(text(statement), parameters)


def rows_read(engine: Engine, table: str) -> int:
    """Rows of the table read so far in this database, by sequential or index scan."""
    query(engine, "SELECT pg_stat_force_next_flush()")
    [row] = query(
        engine,
        "SELECT seq_tup_read + idx_tup_fetch AS read FROM pg_stat_user_tables"
        " WHERE relname = :table",
        table=table,
    )
    return int(row.read)
