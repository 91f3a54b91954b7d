"""Images unchanged since an earlier request are reused. Each output has its own file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from halftone_shared.db.deletion import mark_deleted
from halftone_shared.db.details import ProductRow, product_page
from halftone_shared.db.known_images import forget_old_images
from halftone_shared.model.results import ImageResult, ProductKey
from halftone_shared.service import sweeper
from halftone_shared.service.sweeper import Sweeper
from halftone_workers.codec.options import Compressed
from halftone_workers.jobs import unchanged
from halftone_workers.jobs.product import ProductJobs
from halftone_workers.runtime import Runtime
from tests.support.halftone import wait_for
from tests.support.images import jpeg
from tests.support.origin import Answer, Origin
from tests.support.runtime import running_runtime
from tests.support.stored import before_statement, execute, query, store_request

ETAG = {"ETag": '"v1"'}


@dataclass(frozen=True)
class Worker:
    """A worker that gets its products one by one."""

    engine: Engine
    runtime: Runtime
    jobs: ProductJobs

    def run(self, *urls: str, products: int = 1, **request: Any) -> list[ProductRow]:
        """Upload a request with these URLs and process it to its end."""
        return self.rows(self.run_id(*urls, products=products, **request))

    def run_id(self, *urls: str, products: int = 1, **request: Any) -> UUID:
        request_id = store_request(self.engine, products, urls=urls, **request)
        for seq in range(1, products + 1):
            self.jobs.process(ProductKey(request_id, seq))
        return request_id

    def rows(self, request_id: UUID) -> list[ProductRow]:
        with self.engine.connect() as connection:
            return product_page(connection, request_id, after_seq=0, limit=100)

    def bytes_of(self, image: ImageResult) -> bytes:
        assert image.file is not None
        return self.runtime.store.get(image.file)


@pytest.fixture
def worker(database_url: str, engine: Engine, tmp_path: Path) -> Iterator[Worker]:
    with running_runtime(database_url, tmp_path, fetch_allow="127.0.0.0/8") as runtime:
        yield Worker(engine, runtime, ProductJobs(runtime))


def image_of(rows: list[ProductRow], position: int = 1, product: int = 1) -> ImageResult:
    image = rows[product - 1].images[position - 1]
    assert image is not None
    return image


def action_of(rows: list[ProductRow], position: int = 1) -> str | None:
    facts = image_of(rows, position).facts
    return None if facts is None else facts.action


def test_product_ends_though_the_connection_breaks_as_its_images_are_remembered(
    worker: Worker, origin: Origin
) -> None:
    url = origin.serve("/a.jpg", Answer(jpeg(), headers=ETAG))

    def break_connections() -> None:
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        query(worker.engine, f"SELECT pg_terminate_backend(pid) {others}")

    with before_statement("INSERT INTO known_images", break_connections):
        assert action_of(worker.run(url)) == "compressed"
    assert action_of(worker.run(url)) == "reused"


@pytest.mark.parametrize("validator", [ETAG, {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}])
def test_image_whose_server_answers_304_is_reused(
    worker: Worker, origin: Origin, validator: dict[str, str]
) -> None:
    url = origin.serve("/a.jpg", Answer(jpeg(), headers=validator))
    first, second = worker.run(url), worker.run(url)
    assert (action_of(first), action_of(second)) == ("compressed", "reused")
    old, new = image_of(first), image_of(second)
    assert old.file != new.file
    assert worker.bytes_of(old) == worker.bytes_of(new)
    assert old.facts is not None
    assert new.facts is not None
    assert (old.facts.bytes_in, old.facts.bytes_out) == (new.facts.bytes_in, new.facts.bytes_out)
    assert [row.reused_images for row in query(worker.engine, "SELECT * FROM requests")].count(
        1
    ) == 1


def test_image_with_the_same_bytes_is_reused_without_validators(
    worker: Worker, origin: Origin
) -> None:
    url = origin.serve("/a.jpg", jpeg())
    worker.run(url)
    assert action_of(worker.run(url)) == "reused"
    assert origin.hits["/a.jpg"] == 2


def test_one_changed_image_is_compressed_and_the_others_are_reused(
    worker: Worker, origin: Origin
) -> None:
    urls = [origin.serve(f"/{n}.jpg", jpeg(seed=n)) for n in range(3)]
    worker.run(*urls)
    origin.serve("/1.jpg", jpeg(seed=9))
    rows = worker.run(*urls)
    assert [action_of(rows, position) for position in (1, 2, 3)] == [
        "reused",
        "compressed",
        "reused",
    ]


def test_other_options_or_another_codec_version_miss(
    worker: Worker, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = origin.serve("/a.jpg", Answer(jpeg(), headers=ETAG))
    worker.run(url)
    other = {"mode": "quality", "quality": 40, "format": "keep"}
    assert action_of(worker.run(url, options=other)) == "compressed"
    monkeypatch.setattr(unchanged, "CODEC_VERSION", 0)
    assert action_of(worker.run(url)) == "compressed"
    assert "if-none-match" not in origin.gets[-1][1]


def test_fresh_request_asks_for_nothing_of_before(worker: Worker, origin: Origin) -> None:
    url = origin.serve("/a.jpg", Answer(jpeg(), headers=ETAG))
    worker.run(url)
    assert action_of(worker.run(url, fresh=True)) == "compressed"
    assert "if-none-match" not in origin.gets[-1][1]
    assert action_of(worker.run(url)) == "reused"


def test_owners_share_nothing(worker: Worker, origin: Origin) -> None:
    url = origin.serve("/a.jpg", Answer(jpeg(), headers=ETAG))
    owners = uuid4(), uuid4()
    for owner in owners:
        execute(worker.engine, "INSERT INTO owners (id, name) VALUES (:id, :id)", id=owner)
    keyless: UUID | None = None
    for owner_id in (keyless, *owners):
        assert action_of(worker.run(url, owner_id=owner_id)) == "compressed"
        assert "if-none-match" not in origin.gets[-1][1]
    assert origin.hits["/a.jpg"] == 3


def test_second_owner_of_the_same_urls_costs_the_work_of_the_first(
    worker: Worker, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So neither owner learns by time that the other has the image."""
    compressed: list[int] = []
    compress = worker.runtime.codec.compress

    async def counted(data: bytes, *given: Any, **named: Any) -> Compressed:
        compressed.append(len(data))
        return await compress(data, *given, **named)

    monkeypatch.setattr(worker.runtime.codec, "compress", counted)
    images = [jpeg(seed=seed) for seed in range(3)]
    urls = [
        origin.serve(f"/{at}.jpg", Answer(image, headers=ETAG)) for at, image in enumerate(images)
    ]
    work = []
    for owner in (uuid4(), uuid4()):
        execute(worker.engine, "INSERT INTO owners (id, name) VALUES (:id, :id)", id=owner)
        rows = worker.run(*urls, owner_id=owner)
        asked = [(path, headers.get("if-none-match")) for path, headers in origin.gets]
        files = {image.file for row in rows for image in row.images if image}
        work.append((sorted(asked), sorted(compressed), len(files)))
        origin.gets.clear()
        compressed.clear()
    first, second = work
    assert first == second
    assert first[1] == sorted(map(len, images))


def test_deleting_either_request_leaves_the_other_s_file(worker: Worker, origin: Origin) -> None:
    url = origin.serve("/a.jpg", Answer(jpeg(), headers=ETAG))
    deletes = Sweeper(worker.engine, worker.runtime.store, retention_days=0)
    requests = [worker.run_id(url) for _ in range(3)]
    for gone in (requests[0], requests[2]):
        with worker.engine.connect() as connection:
            mark_deleted(connection, gone)
    assert deletes.sweep() == 2
    assert worker.bytes_of(image_of(worker.rows(requests[1])))
    # The known images were deleted with the newest request, so nothing refers to deleted files.
    assert query(worker.engine, "SELECT FROM known_images") == []
    assert action_of(worker.run(url)) == "compressed"


def test_file_that_is_missing_is_made_again(worker: Worker, origin: Origin) -> None:
    url = origin.serve("/a.jpg", Answer(jpeg(), headers=ETAG))
    first = worker.run_id(url)
    token = query(worker.engine, "SELECT image_token FROM requests")[0].image_token
    worker.runtime.store.delete_folder(f"images/{token[:2]}/{token}")
    second = worker.run_id(url)
    assert worker.rows(second)[0].status == "PENDING"
    execute(worker.engine, "UPDATE products SET next_attempt_at = now() WHERE status = 'PENDING'")
    worker.jobs.process(ProductKey(second, 1))
    assert action_of(worker.rows(second)) == "compressed"
    assert first != second


@pytest.mark.parametrize("fresh", [False, True])
def test_same_url_is_fetched_and_compressed_once_per_request(
    worker: Worker, origin: Origin, fresh: bool
) -> None:
    url = origin.serve("/a.jpg", jpeg())
    rows = worker.run(url, url, products=2, fresh=fresh)
    images = [image_of(rows, position, product) for product in (1, 2) for position in (1, 2)]
    assert origin.hits["/a.jpg"] == 1
    assert len({image.file for image in images}) == 4
    assert {image.facts and image.facts.action for image in images} == {"compressed"}
    assert len({worker.bytes_of(image) for image in images}) == 1


def test_failure_of_a_repeated_url_fails_each_of_its_slots(worker: Worker, origin: Origin) -> None:
    url = origin.url + "/missing.jpg"
    rows = worker.run(url, url)
    assert [image_of(rows, at).error and image_of(rows, at).error.code for at in (1, 2)] == [  # type: ignore[union-attr]
        "http_error",
        "http_error",
    ]
    assert origin.hits["/missing.jpg"] == 1


def test_variants_are_taken_over_with_the_image(worker: Worker, origin: Origin) -> None:
    url = origin.serve("/a.jpg", Answer(jpeg(), headers=ETAG))
    options = {"mode": "quality", "variants": [{"name": "thumb", "mode": "quality", "width": 8}]}
    first, second = (image_of(worker.run(url, options=options)) for _ in range(2))
    if not first.variants:
        pytest.skip("the codec makes no variants yet")
    assert worker.runtime.store.get(second.variants["thumb"].file)
    assert first.variants["thumb"].file != second.variants["thumb"].file


def test_table_of_known_images_is_bounded(worker: Worker, origin: Origin) -> None:
    worker.run(*(origin.serve(f"/{n}.jpg", jpeg(seed=n)) for n in range(4)))
    execute(
        worker.engine,
        "UPDATE known_images SET used_at = now() - interval '91 days'"
        " WHERE key = (SELECT min(key::text)::bytea FROM known_images)",
    )
    with worker.engine.connect() as connection:
        assert forget_old_images(connection) == 1
        assert forget_old_images(connection, rows=10) == 0
        execute(
            worker.engine,
            "UPDATE known_images SET used_at = now() - interval '1 day'"
            " WHERE key = (SELECT min(key::text)::bytea FROM known_images)",
        )
        assert forget_old_images(connection, rows=2) == 1
    assert len(query(worker.engine, "SELECT FROM known_images")) == 2


def test_sweeper_keeps_the_table_of_known_images_bounded(
    worker: Worker, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.run(*(origin.serve(f"/{n}.jpg", jpeg(seed=n)) for n in range(2)))
    execute(
        worker.engine,
        "UPDATE known_images SET used_at = now() - interval '91 days'"
        " WHERE key = (SELECT min(key::text)::bytea FROM known_images)",
    )
    monkeypatch.setattr(sweeper, "SWEEP_EVERY_SECONDS", 0.05)
    running = Sweeper(worker.engine, worker.runtime.store, retention_days=0)
    running.start()
    try:
        wait_for(lambda: len(query(worker.engine, "SELECT FROM known_images")) == 1)
    finally:
        running.stop()
