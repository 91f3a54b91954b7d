"""Stores an uploaded file as a request: validates every row and writes all or nothing, in one
transaction.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, cast
from uuid import UUID, uuid4

import structlog
from pydantic import Field
from sqlalchemy import Connection, Engine
from typing_extensions import TypedDict

from halftone_api.errors import Problem, ProblemCode
from halftone_api.metrics import UPLOADED_IMAGES, UPLOADED_PRODUCTS, UPLOADED_REQUESTS
from halftone_api.upload.check import Understanding, Understood
from halftone_api.upload.form import Upload
from halftone_api.upload.layout import Columns, Layout
from halftone_api.upload.opening import open_table
from halftone_api.upload.products import ProductFile, UploadLimits, no_images
from halftone_api.upload.row_problems import RowError, RowProblem
from halftone_api.upload.sample import Sample
from halftone_api.upload.table import Table
from halftone_api.upload.unique_names import output_namer
from halftone_shared.db.engine import transaction
from halftone_shared.db.idempotency import claim_key, keep_answer
from halftone_shared.db.requests import NewProduct, NewRequest, insert_request
from halftone_shared.errors import KeyUsedOtherwise
from halftone_shared.model.json_types import Count, Url, Uuid
from halftone_shared.model.options import ImageOptions
from halftone_shared.model.secret_box import SecretBox
from halftone_shared.model.states import Status
from halftone_shared.model.status_object import RequestLinks, request_links
from halftone_shared.model.urls import without_password
from halftone_shared.presets import contradictions, load_presets
from halftone_shared.runtime.tracing import span

log = structlog.get_logger(__name__)

_READ_BYTES = 1024 * 1024


class UploadLinks(RequestLinks):
    """The links of the status object; `status` is its `self`."""

    status: Url


class Accepted(TypedDict):
    """The body of the 202."""

    message: str
    request_id: Uuid
    status: Literal[Status.PENDING]
    profile: Annotated[
        str, Field(description="`native`, `columns`, or the system that exported the file.")
    ]
    columns: Columns
    total_products: Count
    total_images: Count
    skipped_rows: Annotated[Count, Field(description="Rows without a product.")]
    warning_count: Count
    warnings: Annotated[list[RowError], Field(max_length=100)]
    links: UploadLinks


@dataclass(frozen=True)
class Intake:
    """Stores uploads. `public_url` is the base of the links in the answer."""

    engine: Engine
    limits: UploadLimits
    public_url: str
    secret_box: SecretBox

    def store(
        self,
        upload: Upload,
        *,
        owner_id: UUID | None,
        idempotency_key: str | None,
        trace_id: str | None = None,
    ) -> Accepted:
        """Write an upload's request and products; return the body of the 202.

        On return they are committed, and dispatchers are notified. If the idempotency key was used
        before, the answer is the earlier one. Raises Problem, and then nothing is stored.
        """
        try:
            with transaction(self.engine) as connection:
                if idempotency_key is not None:
                    before = claim_key(connection, owner_id, idempotency_key, _fingerprint(upload))
                    if before is not None:
                        return cast("Accepted", before)
                with open_table(upload.file, upload.reading) as (table, layout):
                    answer = self._store(connection, upload, table, layout, owner_id, trace_id)
                if idempotency_key is not None:
                    keep_answer(connection, owner_id, idempotency_key, answer)
        except KeyUsedOtherwise:
            raise Problem(
                ProblemCode.IDEMPOTENCY_KEY_REUSED,
                f"The Idempotency-Key {idempotency_key!r} came with another upload within 24"
                " hours. Use a new one.",
            ) from None
        _report(answer)
        return answer

    def _store(
        self,
        connection: Connection,
        upload: Upload,
        table: Table,
        layout: Layout,
        owner_id: UUID | None,
        trace_id: str | None,
    ) -> Accepted:
        """Write each row as soon as it is checked."""
        sample = None if upload.sample is None else self._measure(table, layout, upload)
        webhook_url = upload.webhook_url and without_password(upload.webhook_url)
        request = NewRequest(
            id=uuid4(),
            owner_id=owner_id,
            options=upload.options.to_json(),
            csv_filename=upload.filename,
            csv_header=layout.header,
            csv_delimiter=layout.delimiter,
            csv_layout=layout.to_json(),
            sample=None if sample is None else sample.to_json(),
            webhook_url=webhook_url,
            webhook_sealed_url=None
            if webhook_url == upload.webhook_url
            else self.secret_box.seal(upload.webhook_url or ""),
            webhook_secret=None
            if upload.webhook_secret is None
            else self.secret_box.seal(upload.webhook_secret),
            trace_id=trace_id,
            fresh=upload.fresh,
        )
        file = self._products(table, layout, upload)
        with (
            span("upload", request.id),
            insert_request(connection, request) as writer,
            output_namer(upload.options) as named,
        ):
            for row in file if sample is None else sample.of(file):
                # After the first error nothing is stored; the remaining rows are only checked for
                # errors.
                if file.errors.count:
                    continue
                if isinstance(row, NewProduct):
                    writer.write(named(row))
                else:
                    writer.write_other(row)
            _refuse_invalid_rows(file)
            if not writer.total_products:
                raise no_images(file)
            writer.skipped_rows = file.skipped_rows
        links = request_links(request.id, self.public_url)
        return {
            "message": "CSV received and processing started.",
            "request_id": str(request.id),
            "status": Status.PENDING,
            "profile": layout.profile,
            "columns": layout.columns_json(),
            "total_products": writer.total_products,
            "total_images": writer.total_images,
            "skipped_rows": file.skipped_rows,
            "warning_count": file.warnings.count,
            "warnings": [warning.to_json() for warning in file.warnings.first],
            "links": {"status": links["self"], **links},
        }

    def _products(self, table: Table, layout: Layout, upload: Upload) -> ProductFile:
        file = ProductFile(table, layout, self.limits, strict=upload.strict, skip=upload.skip)
        for warning in _contradictions(upload.options):
            file.warnings.add(warning)
        return file

    def _measure(self, table: Table, layout: Layout, upload: Upload) -> Sample:
        """Read the whole file to count its products and images. Raises Problem."""
        file = self._products(table, layout, upload)
        products = images = 0
        for row in file:
            if isinstance(row, NewProduct):
                products += 1
                images += len(row.input_image_urls)
        _refuse_invalid_rows(file)
        return Sample(min(upload.sample or products, products), products, images)

    def check(self, upload: Upload) -> Understood:
        """How an upload would be understood; stores nothing. Raises Problem as `store` does."""
        with open_table(upload.file, upload.reading) as (table, layout):
            file = self._products(table, layout, upload)
            found = Understanding()
            for row in file:
                found.add(row)
        _refuse_invalid_rows(file)
        if not found.products:
            raise no_images(file)
        return Understood(found.to_json(layout, file), layout.header)


def _contradictions(options: ImageOptions) -> Iterator[RowProblem]:
    """Options that break a rule of the preset, as warnings that belong to no row."""
    if options.preset is not None:
        for message in contradictions(options, load_presets()[options.preset]):
            yield RowProblem(0, "", "contradicts_preset", message, options.preset)


def _report(answer: Accepted) -> None:
    """Log a stored request, and count it in the metrics."""
    log.info(
        "request accepted",
        request_id=answer["request_id"],
        products=answer["total_products"],
        images=answer["total_images"],
    )
    UPLOADED_REQUESTS.inc()
    UPLOADED_PRODUCTS.inc(answer["total_products"])
    UPLOADED_IMAGES.inc(answer["total_images"])


def _refuse_invalid_rows(products: ProductFile) -> None:
    errors = products.errors
    if errors.count == 0:
        return
    count = "1 error" if errors.count == 1 else f"{errors.count} errors"
    raise Problem(
        ProblemCode.INVALID_ROWS,
        f"The file has {count} in its rows. Nothing was stored; correct them and upload it again.",
        error_count=errors.count,
        errors=[error.to_json() for error in errors.first],
    )


def _fingerprint(upload: Upload) -> bytes:
    """Equal for equal uploads: a hash of the file's bytes and every form field."""
    digest = hashlib.sha256()
    upload.file.seek(0)
    while chunk := upload.file.read(_READ_BYTES):
        digest.update(chunk)
    fields = [
        upload.filename,
        upload.options.to_json(),
        upload.strict,
        upload.fresh,
        upload.skip,
        upload.sample,
        repr(upload.reading),
        upload.webhook_url,
        upload.webhook_secret,
    ]
    digest.update(json.dumps(fields, sort_keys=True).encode())
    return digest.digest()
