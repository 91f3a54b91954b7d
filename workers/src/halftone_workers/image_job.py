"""An image of a product: fetch, compress, store, and what became of it."""

import asyncio
from dataclasses import dataclass

import structlog

from halftone_shared.image_names import image_name
from halftone_shared.products import Claim
from halftone_shared.results import ImageError, ImageResult, ProductKey
from halftone_shared.states import ImageErrorCode
from halftone_shared.storage import StorageUnavailable
from halftone_shared.tracing import span
from halftone_workers.codec.options import CodecOptions, Compressed, ImageRefused
from halftone_workers.fetching import FetchFailed
from halftone_workers.metrics import timed_stage
from halftone_workers.runtime import Runtime

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ImageAttempt:
    """What one attempt at an image came to; `retry_after_seconds` is what its server asked for."""

    result: ImageResult
    retry_after_seconds: float = 0.0

    @property
    def may_pass(self) -> bool:
        return self.result.error is not None and self.result.error.retryable


async def attempt_images(runtime: Runtime, claim: Claim) -> list[ImageAttempt | None]:
    """One attempt at each image of a product that has not ended yet, side by side; None for those that the worker's
    end interrupted.
    """
    options = CodecOptions.from_json(claim.options)
    tasks = [
        runtime.start_image(_attempt(runtime, claim, position, url, done, options))
        for position, (url, done) in enumerate(zip(claim.input_image_urls, claim.done, strict=True), start=1)
    ]
    await asyncio.wait(tasks)
    return [None if task.cancelled() else task.result() for task in tasks]


async def _attempt(
    runtime: Runtime, claim: Claim, position: int, url: str, done: ImageResult | None, options: CodecOptions
) -> ImageAttempt:
    if done is not None:
        return ImageAttempt(done)
    try:
        return ImageAttempt(await _process(runtime, claim.key, position, url, options))
    except FetchFailed as failed:
        return ImageAttempt(ImageResult(error=failed.error), failed.retry_after_seconds or 0.0)
    except ImageRefused as refused:
        return ImageAttempt(ImageResult(error=ImageError(refused.code, refused.message)))
    except StorageUnavailable as error:
        log.error("image not stored", position=position, error=str(error))
        message = "The compressed image could not be stored."
        return ImageAttempt(ImageResult(error=ImageError(ImageErrorCode.STORAGE_FAILED, message, retryable=True)))
    except Exception:
        log.exception("image failed unexpectedly", position=position)
        message = "Something went wrong on our side."
        return ImageAttempt(ImageResult(error=ImageError(ImageErrorCode.INTERNAL, message, retryable=True)))


async def _process(runtime: Runtime, key: ProductKey, position: int, url: str, options: CodecOptions) -> ImageResult:
    with span("image", key.request_id, **{"halftone.seq": key.seq, "halftone.position": position}):
        async with runtime.fetcher.fetched(url) as original:
            compressed = await runtime.codec.compress(original, options)
            output = original if compressed.data is None else compressed.data
            name = image_name(key.request_id, key.seq, position, compressed.extension)
            with timed_stage("store"):
                await runtime.store.put(name, output)
    return _succeeded(name, compressed, len(original), len(output))


def _succeeded(name: str, compressed: Compressed, bytes_in: int, bytes_out: int) -> ImageResult:
    return ImageResult(
        file=name,
        action=compressed.action,
        format=compressed.format,
        width=compressed.width,
        height=compressed.height,
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        warnings=compressed.warnings,
    )
