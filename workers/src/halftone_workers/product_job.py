"""A product, from its message to its settlement: claim, fetch and compress its images side by side, store, settle."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from halftone_shared.barrier import Settled, settle_product
from halftone_shared.image_names import image_name
from halftone_shared.products import Claim, claim_product, postpone_product
from halftone_shared.results import ImageError, ImageResult, ProductKey, ProductResult
from halftone_shared.states import ImageErrorCode
from halftone_shared.storage import StorageUnavailable
from halftone_shared.tracing import span
from halftone_workers.codec.options import CodecOptions, Compressed, ImageRefused
from halftone_workers.fetching import FetchFailed
from halftone_workers.metrics import POSTPONED, count_settled, timed_stage
from halftone_workers.runtime import Runtime

log = structlog.get_logger(__name__)

FIRST_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 300.0


@dataclass(frozen=True)
class ImageAttempt:
    """What one attempt at an image came to; `retry_after_seconds` is what its server asked for."""

    result: ImageResult
    retry_after_seconds: float = 0.0

    @property
    def may_pass(self) -> bool:
        return self.result.error is not None and self.result.error.retryable


def process_product(runtime: Runtime, key: ProductKey) -> None:
    """Do what is due of a product. Nothing, when another worker has it or it has ended: messages come more than
    once.
    """
    claim = runtime.persist(lambda connection: claim_product(connection, key))
    if claim is None:
        return
    with (
        runtime.leases.holding(claim),
        span("product", key.request_id, **{"halftone.seq": key.seq, "halftone.attempt": claim.attempt}),
        structlog.contextvars.bound_contextvars(
            trace_id=claim.trace_id, request_id=str(key.request_id), seq=key.seq, attempt=claim.attempt
        ),
    ):
        attempts = runtime.run(attempt_images(runtime, claim))
        _record(runtime, claim, attempts)


async def attempt_images(runtime: Runtime, claim: Claim) -> list[ImageAttempt | None]:
    """One attempt at each image that has not ended yet, side by side; None for those that the worker's end
    interrupted.
    """
    options = CodecOptions.from_json(claim.options)
    tasks = [
        asyncio.ensure_future(_attempt(runtime, claim, position, url, done, options))
        for position, (url, done) in enumerate(zip(claim.input_image_urls, claim.done, strict=True), start=1)
    ]
    aborting = asyncio.ensure_future(runtime.aborting.wait())
    everything = asyncio.gather(*tasks)
    await asyncio.wait((everything, aborting), return_when=asyncio.FIRST_COMPLETED)
    aborting.cancel()
    for task in tasks:
        task.cancel()
    await asyncio.gather(everything, return_exceptions=True)
    return [None if task.cancelled() else task.result() for task in tasks]


async def _attempt(
    runtime: Runtime, claim: Claim, position: int, url: str, done: ImageResult | None, options: CodecOptions
) -> ImageAttempt:
    if done is not None:
        return ImageAttempt(done)
    try:
        return ImageAttempt(await _process_image(runtime, claim.key, position, url, options))
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


async def _process_image(
    runtime: Runtime, key: ProductKey, position: int, url: str, options: CodecOptions
) -> ImageResult:
    facts = {"halftone.seq": key.seq, "halftone.position": position}
    async with AsyncExitStack() as held:
        held.enter_context(span("image", key.request_id, **facts))
        with timed_stage("download"):
            original = await held.enter_async_context(runtime.fetcher.fetched(url))
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


def _record(runtime: Runtime, claim: Claim, attempts: Sequence[ImageAttempt | None]) -> None:
    """Settle the product, or give it back when some of its images may do better another time."""
    if any(attempt is None for attempt in attempts):
        done = [None if attempt is None or attempt.may_pass else attempt.result for attempt in attempts]
        runtime.persist(lambda connection: postpone_product(connection, claim, done, delay_seconds=0, counted=False))
        POSTPONED.labels("stopping").inc()
        log.info("product handed back", reason="the worker is stopping")
        return
    ended = [attempt for attempt in attempts if attempt is not None]
    if any(attempt.may_pass for attempt in ended) and claim.attempt < runtime.settings.max_attempts:
        _postpone(runtime, claim, ended)
    else:
        _settle(runtime, claim, ProductResult([attempt.result for attempt in ended]))


def _postpone(runtime: Runtime, claim: Claim, attempts: Sequence[ImageAttempt]) -> None:
    asked = max(attempt.retry_after_seconds for attempt in attempts)
    delay = max(backoff_seconds(claim.attempt), asked)
    done = [None if attempt.may_pass else attempt.result for attempt in attempts]
    runtime.persist(lambda connection: postpone_product(connection, claim, done, delay_seconds=delay))
    POSTPONED.labels("retry").inc()
    codes = sorted({attempt.result.error.code for attempt in attempts if attempt.may_pass and attempt.result.error})
    log.info("product postponed", seconds=round(delay, 1), codes=codes)


def _settle(runtime: Runtime, claim: Claim, result: ProductResult) -> Settled:
    settled = runtime.persist(lambda connection: settle_product(connection, claim, result))
    if settled.counted:
        count_settled(result)
        log.info(
            "product settled",
            status=result.status,
            images=result.processed_images,
            failed_images=result.failed_images,
            bytes_in=result.bytes_in,
            bytes_out=result.bytes_out,
        )
    else:
        log.warning("product settled by another attempt")
    if settled.ended:
        log.info("request ended")
    return settled


def backoff_seconds(attempt: int) -> float:
    """How long to wait after the `attempt`-th attempt (from 1): doubling, spread by ± 25 %, so that failures do not
    return
    together."""
    delay = min(FIRST_BACKOFF_SECONDS * 2.0 ** (attempt - 1), MAX_BACKOFF_SECONDS)
    return delay * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
