"""From an uploaded file to a stored request: validate every row, write all or nothing, in one
transaction.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast
from uuid import UUID, uuid4

import structlog
from pydantic import Field
from sqlalchemy import Connection, Engine
from typing_extensions import TypedDict

from halftone_api.errors import Problem, ProblemCode
from halftone_api.metrics import UPLOADED_IMAGES, UPLOADED_PRODUCTS, UPLOADED_REQUESTS
from halftone_api.upload.csv_rows import CsvRefused
from halftone_api.upload.form import Upload
from halftone_api.upload.products import CsvLimits, ProductCsv, RowError
from halftone_shared.db.engine import transaction
from halftone_shared.db.idempotency import claim_key, keep_answer
from halftone_shared.db.requests import NewRequest, insert_request
from halftone_shared.errors import KeyUsedOtherwise
from halftone_shared.model.json_types import Count, Url, Uuid
from halftone_shared.model.secret_box import SecretBox
from halftone_shared.model.states import Status
from halftone_shared.model.status_object import RequestLinks, request_links
from halftone_shared.runtime.tracing import span

log = structlog.get_logger(__name__)

_READ_BYTES = 1024 * 1024


class UploadLinks(RequestLinks):
    """The links of the status object; `status` is its `self`."""

    status: Url


class Accepted(TypedDict):
    """What the 202 says."""

    message: str
    request_id: Uuid
    status: Literal[Status.PENDING]
    total_products: Count
    total_images: Count
    warning_count: Count
    warnings: Annotated[list[RowError], Field(max_length=100)]
    links: UploadLinks


@dataclass(frozen=True)
class Intake:
    """Where uploads go. `public_url` is the base of the links in the answer."""

    engine: Engine
    limits: CsvLimits
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
        """Write an upload's request and products; what the 202 says.

        On return they are committed, and whoever dispatches knows of them. With a key that came
        before, the answer is the one that was given then. Raises Problem, and then nothing remains.
        """
        try:
            with transaction(self.engine) as connection:
                if idempotency_key is not None:
                    before = claim_key(connection, owner_id, idempotency_key, _fingerprint(upload))
                    if before is not None:
                        return cast("Accepted", before)
                answer = self._store(connection, upload, owner_id, trace_id)
                if idempotency_key is not None:
                    keep_answer(
                        connection, owner_id, idempotency_key, cast("dict[str, Any]", answer)
                    )
        except CsvRefused as refused:
            raise Problem(refused.code, refused.detail, **refused.members) from None
        except KeyUsedOtherwise:
            raise Problem(
                ProblemCode.IDEMPOTENCY_KEY_REUSED,
                f"The Idempotency-Key {idempotency_key!r} came with another upload within 24 hours. Use a new one.",
            ) from None
        _tell(answer)
        return answer

    def _store(
        self,
        connection: Connection,
        upload: Upload,
        owner_id: UUID | None,
        trace_id: str | None,
    ) -> Accepted:
        """Rows are written while they are checked."""
        products = ProductCsv(upload.file, self.limits, strict=upload.strict)
        request = NewRequest(
            id=uuid4(),
            owner_id=owner_id,
            options=upload.options.to_json(),
            csv_filename=upload.filename,
            csv_header=products.header,
            csv_delimiter=products.delimiter,
            webhook_url=upload.webhook_url,
            webhook_secret=None
            if upload.webhook_secret is None
            else self.secret_box.seal(upload.webhook_secret),
            trace_id=trace_id,
        )
        with span("upload", request.id), insert_request(connection, request) as writer:
            for product in products:
                # After the first error nothing of this will stay; the rest is read for its errors
                # alone.
                if products.errors.count == 0:
                    writer.write(product)
            _refuse_invalid_rows(products)
        links = request_links(request.id, self.public_url)
        return {
            "message": "CSV received and processing started.",
            "request_id": str(request.id),
            "status": Status.PENDING,
            "total_products": writer.total_products,
            "total_images": writer.total_images,
            "warning_count": products.warnings.count,
            "warnings": [warning.to_json() for warning in products.warnings.first],
            "links": {"status": links["self"], **links},
        }


def _tell(answer: Accepted) -> None:
    log.info(
        "request accepted",
        request_id=answer["request_id"],
        products=answer["total_products"],
        images=answer["total_images"],
    )
    UPLOADED_REQUESTS.inc()
    UPLOADED_PRODUCTS.inc(answer["total_products"])
    UPLOADED_IMAGES.inc(answer["total_images"])


def _refuse_invalid_rows(products: ProductCsv) -> None:
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
    """What makes two uploads the same: the file's bytes and every field of the form."""
    digest = hashlib.sha256()
    upload.file.seek(0)
    while chunk := upload.file.read(_READ_BYTES):
        digest.update(chunk)
    fields = [
        upload.filename,
        upload.options.to_json(),
        upload.strict,
        upload.webhook_url,
        upload.webhook_secret,
    ]
    digest.update(json.dumps(fields, sort_keys=True).encode())
    return digest.digest()
