"""Retrying everything that failed with one error code, over all requests: `halftone retry
--all`.
"""

from sqlalchemy import Engine

from halftone_shared.db.cancel_retry import ended_with_failures, retry_request
from halftone_shared.db.invariants import examine
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.results import ImageError, ImageResult
from tests.support.stored import claimed, execute, failed_image, query, settle, store_request

NOT_STORED = ImageResult(
    error=ImageError(ImageErrorCode.STORAGE_FAILED, "It could not be stored.", None, True)
)


def test_requests_are_found_by_code_and_time(engine: Engine) -> None:
    ours, others, earlier = (store_request(engine, 1) for _ in range(3))
    for request_id, image in ((ours, NOT_STORED), (others, failed_image()), (earlier, NOT_STORED)):
        settle(engine, claimed(engine, request_id, 1), image)
    execute(
        engine,
        "UPDATE requests SET completed_at = completed_at - interval '3 hours' WHERE id = :id",
        id=earlier,
    )
    with engine.connect() as connection:
        found = ended_with_failures(connection, code="storage_failed", since_seconds=7200)
        everything = ended_with_failures(connection, code=None, since_seconds=7200)
    assert found == [ours]
    assert set(everything) == {ours, others}


def test_products_that_failed_otherwise_stay_as_they_are(engine: Engine) -> None:
    request_id = store_request(engine, 3)
    for seq, image in enumerate((NOT_STORED, failed_image(), None), start=1):
        settle(engine, claimed(engine, request_id, seq), *([image] if image else []))
    retry_request(engine, request_id, "http://api.example", code="storage_failed")
    states = query(
        engine, "SELECT status FROM products WHERE request_id = :id ORDER BY seq", id=request_id
    )
    assert [row.status for row in states] == ["PENDING", "FAILED", "COMPLETED"]
    assert all(finding is None for _, finding in examine(engine))
    settle(engine, claimed(engine, request_id, 1))
    (ended,) = query(engine, "SELECT status, failed_products FROM requests")
    assert (ended.status, ended.failed_products) == ("COMPLETED", 1)
