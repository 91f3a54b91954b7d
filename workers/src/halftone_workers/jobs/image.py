"""An image of a product: fetch, compress, store, and what became of it."""

import asyncio
from dataclasses import dataclass
from functools import partial

import structlog

from halftone_shared.db.products import Claim
from halftone_shared.errors import StorageUnavailable
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.image_names import image_name
from halftone_shared.model.options import ImageOptions
from halftone_shared.model.results import ImageError, ImageFacts, ImageResult, StoredImage
from halftone_shared.model.share_links import sharing_service
from halftone_shared.runtime.tracing import span
from halftone_workers.codec.options import Compressed
from halftone_workers.errors import FetchFailed, HostBusy, ImageRefused, MemoryBusy
from halftone_workers.http.fetching import FetchedImage
from halftone_workers.metrics import STAGE_SECONDS
from halftone_workers.runtime import Runtime
from halftone_workers.sharing import Who

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ImageAttempt:
    """What one attempt at an image came to; `retry_after_seconds` is what its server asked for."""

    result: ImageResult
    retry_after_seconds: float = 0.0

    @property
    def may_pass(self) -> bool:
        return self.result.error is not None and self.result.error.retryable


def attempt_images(runtime: Runtime, claim: Claim) -> list[ImageAttempt | None]:
    """One attempt at each image of a product that has not ended yet, side by side; None for those
    that the worker's end interrupted.

    They are fetched and compressed on the event loop, and stored here, where waiting for a disk
    holds up this product alone.
    """
    options = ImageOptions.from_json(claim.options)
    attempts = {
        at: None if done is None else ImageAttempt(done) for at, done in enumerate(claim.done)
    }
    work = {
        at: _attempt(runtime, claim, at + 1, url, options)
        for at, url in enumerate(claim.input_image_urls)
        if attempts[at] is None
    }
    for some in runtime.run_images(work):
        attempts.update(runtime.for_each(partial(_ended, runtime), some))
    return list(attempts.values())


@dataclass(frozen=True)
class _Made:
    """An image whose outputs are ready to be stored, each under its name: the main one first.

    Where an output has no bytes of its own, they are those of the original.
    """

    original: FetchedImage
    outputs: list[tuple[str, Compressed]]
    variant_names: list[str]

    def data(self, output: Compressed) -> bytes | bytearray:
        return self.original.data if output.data is None else output.data


async def _attempt(
    runtime: Runtime, claim: Claim, position: int, url: str, options: ImageOptions
) -> "_Made | ImageAttempt":
    key = claim.key
    try:
        with span(
            "image", key.request_id, **{"halftone.seq": key.seq, "halftone.position": position}
        ):
            return await _made(runtime, claim, position, url, options)
    except FetchFailed as failed:
        return ImageAttempt(ImageResult(error=failed.error), failed.retry_after_seconds or 0.0)
    except (HostBusy, MemoryBusy) as busy:
        return ImageAttempt(
            ImageResult(error=ImageError(ImageErrorCode.TIMEOUT, str(busy), retryable=True))
        )
    except ImageRefused as refused:
        return ImageAttempt(ImageResult(error=_refused(url, refused)))
    except Exception:
        log.exception("image failed unexpectedly", position=position)
        return _failed(ImageErrorCode.INTERNAL, "Something went wrong on our side.")


async def _made(
    runtime: Runtime, claim: Claim, position: int, url: str, options: ImageOptions
) -> _Made:
    original = await runtime.fetcher.fetch(url, Who(None, claim.key.request_id))
    try:
        main = await runtime.codec.compress(original.data, options)
        made = [("", main), *main.variants.items()]
        outputs = [
            (_file_name(claim, position, number, len(made), variant, output.extension), output)
            for number, (variant, output) in enumerate(made)
        ]
        return _Made(original, outputs, list(main.variants))
    except BaseException:
        original.reserved.give_back()
        raise


def _file_name(
    claim: Claim, position: int, number: int, outputs: int, variant: str, extension: str
) -> str:
    """`number` counts the outputs of the image from 0; the names were made at the upload."""
    own_names = claim.output_names
    own_name = own_names[(position - 1) * outputs + number] if own_names else None
    return image_name(
        claim.image_key, claim.key.seq, position, extension, variant=variant, own_name=own_name
    )


def _ended(
    runtime: Runtime, ended: "tuple[int, asyncio.Task[_Made | ImageAttempt]]"
) -> tuple[int, ImageAttempt | None]:
    at, task = ended
    if task.cancelled():
        return at, None
    made = task.result()
    return at, made if isinstance(made, ImageAttempt) else _stored(runtime, made)


def _stored(runtime: Runtime, made: _Made) -> ImageAttempt:
    """Store every output. Where one cannot be stored the image fails, with all of them."""
    file = ""
    try:
        with STAGE_SECONDS["store"].time():
            for file, output in made.outputs:
                runtime.store.put(file, made.data(output))
        return ImageAttempt(_succeeded(made))
    except StorageUnavailable as error:
        log.error("image not stored", file=file, error=str(error))
        return _failed(ImageErrorCode.STORAGE_FAILED, "The compressed image could not be stored.")
    except Exception:
        log.exception("image failed unexpectedly", file=file)
        return _failed(ImageErrorCode.INTERNAL, "Something went wrong on our side.")
    finally:
        made.original.reserved.give_back()


def _refused(url: str, refused: ImageRefused) -> ImageError:
    service = sharing_service(url)
    if refused.code is not ImageErrorCode.NOT_AN_IMAGE or service is None:
        return ImageError(refused.code, refused.message)
    message = (
        f"This link opens a {service} page, not the picture: the file is not shared with everybody."
        " Share it with anyone who has the link."
    )
    return ImageError(refused.code, message)


def _failed(code: ImageErrorCode, message: str) -> ImageAttempt:
    return ImageAttempt(ImageResult(error=ImageError(code, message, retryable=True)))


def _succeeded(made: _Made) -> ImageResult:
    main, *variants = (
        StoredImage(
            file,
            ImageFacts(
                action=output.action,
                format=output.format,
                width=output.width,
                height=output.height,
                bytes_in=len(made.original.data),
                bytes_out=len(made.data(output)),
                warnings=output.warnings,
            ),
        )
        for file, output in made.outputs
    )
    return ImageResult(main, dict(zip(made.variant_names, variants, strict=True)))
