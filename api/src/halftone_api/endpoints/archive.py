"""All output images of a request in one ZIP, streamed as they are read from the storage."""

from collections.abc import Iterator

import structlog
from starlette.requests import Request
from starlette.responses import Response

from halftone_api.endpoints.declaration import Answer, Parameter, Tag, endpoint
from halftone_api.endpoints.download import Download, all_products, attachment, refuse_unended
from halftone_api.endpoints.parameters import REQUEST_ID, TEXT
from halftone_api.endpoints.request_lookup import find_request
from halftone_api.errors import Problem, ProblemCode
from halftone_api.output.stored_zip import stored_zip
from halftone_api.services import Services, services
from halftone_shared.db.details import ProductRow
from halftone_shared.model.image_names import parse_image_name
from halftone_shared.model.request_status import RequestStatus
from halftone_shared.model.results import ImageResult

log = structlog.get_logger(__name__)

VARIANT = Parameter(
    name="variant",
    description="Only the outputs of this variant.",
    schema=TEXT,
    parse=str,
    expected="the name of a variant",
    default=None,
)


@endpoint(
    "GET",
    "/api/archive/{request_id}",
    name="archive",
    tag=Tag.RESULTS,
    summary="Every output image in one ZIP, once the request has ended",
    parameters=(REQUEST_ID, VARIANT),
    answers={
        200: Answer("The ZIP; its entries are not compressed.", media_types=("application/zip",))
    },
    problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.NOT_FOUND, ProblemCode.NOT_ENDED),
)
def archive(request: Request) -> Response:
    """Entries are stored uncompressed, because the images are compressed already."""
    found = find_request(request)
    variant = VARIANT.of(request)
    known = [one["name"] for one in found.options.get("variants", ())]
    if variant is not None and variant not in known:
        have = f"its variants are {', '.join(known)}" if known else "it has no variants"
        raise Problem(
            ProblemCode.INVALID_PARAMETER,
            f"variant={variant[:100]!r}: the request has no such variant; {have}.",
            parameter="variant",
        )
    refuse_unended(request, found, "The archive")
    return Download(
        stored_zip(
            _entries(services(request), found, variant), found.completed_at or found.created_at
        ),
        media_type="application/zip",
        headers={
            "Content-Disposition": attachment(found.csv_filename, "images", "zip"),
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
        },
    )


def _entries(
    services: Services, found: RequestStatus, variant: str | None
) -> Iterator[tuple[str, bytes]]:
    """Name and content of each output, in the order of the file. Only one image at a time is in
    memory.
    """
    for product in all_products(services, found):
        for file, name in _files(product, variant):
            yield name, services.store.get(file)


def _files(product: ProductRow, variant: str | None) -> Iterator[tuple[str, str]]:
    """The product's output files, each with its name in the archive."""
    for position, image in enumerate(product.images, start=1):
        if image is None:
            continue
        for name, file in _outputs(image):
            if variant is None or name == variant:
                yield file, _entry_name(product.seq, position, name, file)


def _outputs(image: ImageResult) -> Iterator[tuple[str, str]]:
    """The main output, under an empty name, and the variants."""
    if image.file is not None:
        yield "", image.file
        yield from ((name, one.file) for name, one in image.variants.items())


def _entry_name(seq: int, position: int, variant: str, file: str) -> str:
    """The client's own name if the upload gave one, else the row's number and the position."""
    slot = parse_image_name(file)
    assert slot is not None  # noqa: S101 - a worker made the name
    own = slot.own_name or f"{seq}-{position}{f'-{variant}' if variant else ''}"
    return f"{own}.{slot.extension}"
