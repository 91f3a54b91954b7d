"""One image of a product: fetch, compress, store, and report the outcome."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from halftone_shared.db.known_images import KnownImage, Source
from halftone_shared.db.products import Claim
from halftone_shared.errors import ImageNotStored, StorageUnavailable
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.image_names import image_name
from halftone_shared.model.options import ImageOptions
from halftone_shared.model.results import ImageError, ImageFacts, ImageResult, StoredImage
from halftone_shared.model.share_links import sharing_service
from halftone_shared.model.states import WaitReason
from halftone_shared.runtime.tracing import span
from halftone_workers.codec.options import Compressed
from halftone_workers.errors import (
    FetchFailed,
    HostBusy,
    ImageRefused,
    MemoryBusy,
    NotModified,
)
from halftone_workers.http.fetching import FetchedImage
from halftone_workers.http.origins import OwnOrigins
from halftone_workers.jobs.active_product import ActiveProduct, Waiting
from halftone_workers.jobs.remote_processor import Away, RemoteProcessor
from halftone_workers.jobs.unchanged import (
    Unchanged,
    forget,
    outputs_of,
    sha256_of,
    taken_over,
)
from halftone_workers.metrics import STAGE_SECONDS
from halftone_workers.runtime import Runtime
from halftone_workers.storage_gate import RETURN_SECONDS

log = structlog.get_logger(__name__)

# An image that got no memory is tried again after this time.
MEMORY_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class ImageAttempt:
    """The outcome of one attempt at an image.

    `retry_after_seconds`: the pause that its server asked for. `waiting`: the host that the image
    waits for, if any. `was_tried` is False if nothing was sent to the host: the attempt does not
    count. `is_away`: an external service is processing the image.
    """

    result: ImageResult
    retry_after_seconds: float = 0.0
    waiting: Waiting | None = None
    was_tried: bool = True
    is_away: bool = False

    @property
    def may_pass(self) -> bool:
        return self.result.error is not None and self.result.error.retryable


def attempt_images(runtime: Runtime, product: ActiveProduct) -> list[ImageAttempt | None]:
    """Attempt all unfinished images of a product concurrently. None for cancelled images.

    Images are fetched and compressed on the event loop, and stored in this thread, where waiting
    for a disk delays only this product.
    """
    claim, options, unchanged = product.claim, product.options, product.unchanged
    uses_remote = runtime.settings.processor_url is not None
    remote = RemoteProcessor(runtime, claim, options, product.who) if uses_remote else None
    how = _How(options, unchanged, runtime.origins.of(claim.owner_id), remote)
    first_with_url: dict[str, int] = {}
    for at, url in enumerate(claim.input_image_urls):
        first_with_url.setdefault(url, at)
    attempts = {
        at: None if done is None else ImageAttempt(done) for at, done in enumerate(claim.done)
    }
    work = {
        at: _attempt(runtime, product, at + 1, url, how)
        for url, at in first_with_url.items()
        if attempts[at] is None
    }
    copied: dict[int, list[str]] = {}
    for some in runtime.run_images(product, work):
        attempts.update(runtime.in_parts(partial(_ended, runtime, claim, unchanged, copied), some))
    for at, url in enumerate(claim.input_image_urls):
        if attempts[at] is None and (first := attempts[first_with_url[url]]) is not None:
            attempts[at] = _same_url(runtime, claim, at, first, copied)
    try:
        runtime.copies.sync([file for files in copied.values() for file in files])
    except StorageUnavailable as error:
        unchanged.new.clear()
        attempts |= dict.fromkeys(copied, _not_copied(runtime, 0, error))
    return list(attempts.values())


@dataclass(frozen=True)
class _How:
    """How the images of a product are made: by the codec processes, or by the external service."""

    options: ImageOptions
    unchanged: Unchanged
    own: OwnOrigins
    remote: RemoteProcessor | None


@dataclass(frozen=True)
class _Made:
    """An image whose outputs are ready to be stored, each under its name; the main one is first.

    An output without bytes of its own is stored with the bytes of the original.
    """

    position: int
    original: FetchedImage
    source: Source
    outputs: list[tuple[str, Compressed]]
    variant_names: list[str]

    def data(self, output: Compressed) -> bytes | bytearray:
        return self.original.data if output.data is None else output.data


@dataclass(frozen=True)
class _Known:
    """An image that has not changed since it was last compressed."""

    position: int
    known: KnownImage
    source: Source


async def _attempt(
    runtime: Runtime,
    product: ActiveProduct,
    position: int,
    url: str,
    how: _How,
) -> "_Made | _Known | ImageAttempt":
    started = time.monotonic()
    made = await _attempt_one(runtime, product, position, url, how)
    _count(runtime, url, made, time.monotonic() - started)
    return made


def _count(
    runtime: Runtime, url: str, made: "_Made | _Known | ImageAttempt", seconds: float
) -> None:
    """Count the attempt for its host, unless nothing was sent to it or nothing was compressed."""
    if isinstance(made, _Made):
        sizes = len(made.original.data), len(made.data(made.outputs[0][1]))
        runtime.host_counts.add(
            url, failed=False, bytes_in=sizes[0], bytes_out=sizes[1], seconds=seconds
        )
    elif isinstance(made, ImageAttempt) and made.was_tried and made.result.error:
        runtime.host_counts.add(url, failed=True, bytes_in=0, bytes_out=0, seconds=seconds)


async def _attempt_one(
    runtime: Runtime,
    product: ActiveProduct,
    position: int,
    url: str,
    how: _How,
) -> "_Made | _Known | ImageAttempt":
    key = product.claim.key
    try:
        with span(
            "image", key.request_id, **{"halftone.seq": key.seq, "halftone.position": position}
        ):
            try:
                return await _made(runtime, product, position, url, how)
            except Away:  # no error of the span
                return ImageAttempt(ImageResult(), is_away=True)
    except FetchFailed as failed:
        return _not_fetched(failed)
    except HostBusy as busy:
        return _not_tried(str(busy), product.appointment(busy))
    except MemoryBusy as busy:
        return _not_tried(str(busy), None, MEMORY_PAUSE_SECONDS)
    except ImageRefused as refused:
        return ImageAttempt(ImageResult(error=_refused(url, refused)))
    except Exception:
        log.exception("image failed unexpectedly", position=position)
        return _failed(ImageErrorCode.INTERNAL, "Something went wrong on our side.")


async def _made(
    runtime: Runtime,
    product: ActiveProduct,
    position: int,
    url: str,
    how: _How,
) -> _Made | _Known:
    claim = product.claim
    known = how.unchanged.at(position)
    if known and how.unchanged.is_of_this_request(known):
        return _Known(position, known, known.source)
    try:
        with product.on_network(url):
            original = await runtime.fetcher.fetch(
                url, product.who, known=known.source if known else None, own=how.own
            )
    except NotModified:
        assert known is not None  # noqa: S101 - the request used its validators
        return _Known(position, known, known.source)
    try:
        source = Source(await sha256_of(original.data), original.etag, original.last_modified)
        if known and known.source.sha256 == source.sha256:
            original.reserved.give_back()
            return _Known(position, known, source)
        main = await _compressed(runtime, product, position, url, original, how)
        made = [("", main), *main.variants.items()]
        outputs = [
            (_file_name(claim, position, number, len(made), variant, output.extension), output)
            for number, (variant, output) in enumerate(made)
        ]
        return _Made(position, original, source, outputs, list(main.variants))
    except BaseException:
        original.reserved.give_back()
        raise


async def _compressed(
    runtime: Runtime,
    product: ActiveProduct,
    position: int,
    url: str,
    original: FetchedImage,
    how: _How,
) -> Compressed:
    """Make the outputs of an image. The codec processes check what the external service made."""
    if how.remote is not None:
        processed = await how.remote.outputs(position, url)
        return await runtime.codec.compress(
            original.data, how.options, processed=processed, who=product.who
        )
    marks = await runtime.watermarks.of(product.who, how.options)
    return await runtime.codec.compress(original.data, how.options, marks, who=product.who)


def _file_name(
    claim: Claim, position: int, number: int, outputs: int, variant: str, extension: str
) -> str:
    """`number` counts the image's outputs from 0. The names were chosen at the upload."""
    own_names = claim.output_names
    own_name = own_names[(position - 1) * outputs + number] if own_names else None
    return image_name(
        claim.image_key, claim.key.seq, position, extension, variant=variant, own_name=own_name
    )


def _ended(
    runtime: Runtime,
    claim: Claim,
    unchanged: Unchanged,
    copied: dict[int, list[str]],
    ended: "Sequence[tuple[int, asyncio.Task[_Made | _Known | ImageAttempt]]]",
) -> list[tuple[int, ImageAttempt | None]]:
    """Store what the ended tasks have made. None for cancelled tasks."""
    outcomes = {at: None if task.cancelled() else task.result() for at, task in ended}
    made = {at: one for at, one in outcomes.items() if isinstance(one, _Made)}
    stored = dict(zip(made, _stored(runtime, list(made.values())), strict=True))
    attempts: list[tuple[int, ImageAttempt | None]] = []
    for at, outcome in outcomes.items():
        if outcome is None or isinstance(outcome, ImageAttempt):
            attempts.append((at, outcome))
            continue
        if isinstance(outcome, _Known):
            attempt = _taken_over(runtime, claim, unchanged, copied, at, outcome.known)
        else:
            attempt = stored[at]
        if attempt.result.output:
            unchanged.made(outcome.position, outcome.source, attempt.result)
        attempts.append((at, attempt))
    return attempts


def _taken_over(
    runtime: Runtime,
    claim: Claim,
    unchanged: Unchanged,
    copied: dict[int, list[str]],
    at: int,
    known: KnownImage,
) -> ImageAttempt:
    is_ours = unchanged.is_of_this_request(known)
    attempt = _copied(runtime, claim, at, known.result, copied, same_request=is_ours)
    if attempt.result.error:
        forget(runtime.engine, known)
    return attempt


def _same_url(
    runtime: Runtime, claim: Claim, at: int, first: ImageAttempt, copied: dict[int, list[str]]
) -> ImageAttempt:
    """The result for a repeated URL in a product, which is fetched and compressed only once."""
    if first.result.error or first.is_away:
        return first
    return _copied(runtime, claim, at, first.result, copied, same_request=True)


def _copied(
    runtime: Runtime,
    claim: Claim,
    at: int,
    known: ImageResult,
    copied: dict[int, list[str]],
    *,
    same_request: bool,
) -> ImageAttempt:
    """Copy the outputs of an earlier compression of the image to new names, and add these to
    `copied`. They are on the disk only after a sync.
    """
    outputs = outputs_of(known)
    variants = ["", *known.variants]
    files = [
        _file_name(
            claim, at + 1, number, len(outputs), variants[number], output.file.rpartition(".")[2]
        )
        for number, output in enumerate(outputs)
    ]
    try:
        with STAGE_SECONDS["store"].time():
            for output, file in zip(outputs, files, strict=True):
                runtime.store.copy(output.file, file)
        copied[at] = files
        return ImageAttempt(taken_over(known, files, same_request=same_request))
    except ImageNotStored as error:
        log.warning("file of an unchanged image is missing", file=str(error))
        return _not_tried("The file of the earlier request is gone; it is made again.", None)
    except StorageUnavailable as error:
        return _not_copied(runtime, known.facts.bytes_out if known.facts else 0, error)


def _not_copied(runtime: Runtime, size: int, error: StorageUnavailable) -> ImageAttempt:
    if runtime.storage_gate.is_away(size):
        return _storage_away()
    log.error("image not stored", error=str(error))
    return _failed(ImageErrorCode.STORAGE_FAILED, "The compressed image could not be stored.")


def _stored(runtime: Runtime, images: Sequence[_Made]) -> list[ImageAttempt]:
    """Store every output of these images. If one output cannot be stored, its whole image fails."""
    if not images:
        return []
    files = [(file, made.data(output)) for made in images for file, output in made.outputs]
    started = time.perf_counter()
    try:
        failures = dict(zip((file for file, _ in files), runtime.store.put_all(files), strict=True))
        return [_stored_or_not(runtime, made, failures) for made in images]
    except Exception:
        log.exception("images failed unexpectedly", files=[file for file, _ in files])
        return [_failed(ImageErrorCode.INTERNAL, "Something went wrong on our side.")] * len(images)
    finally:
        for made in images:
            STAGE_SECONDS["store"].observe(time.perf_counter() - started)
            made.original.reserved.give_back()


def _stored_or_not(
    runtime: Runtime, made: _Made, failures: Mapping[str, StorageUnavailable | None]
) -> ImageAttempt:
    failed = next(((file, failures[file]) for file, _ in made.outputs if failures[file]), None)
    if failed is None:
        return ImageAttempt(_succeeded(made))
    if runtime.storage_gate.is_away(max(len(made.data(output)) for _, output in made.outputs)):
        return _storage_away()
    log.error("image not stored", file=failed[0], error=str(failed[1]))
    return _failed(ImageErrorCode.STORAGE_FAILED, "The compressed image could not be stored.")


def _refused(url: str, refused: ImageRefused) -> ImageError:
    service = sharing_service(url)
    if refused.code is not ImageErrorCode.NOT_AN_IMAGE or service is None:
        return ImageError(refused.code, refused.message)
    message = (
        f"This link opens a {service} page, not the picture: the file is not shared with everybody."
        " Share it with anyone who has the link."
    )
    return ImageError(refused.code, message)


def _not_fetched(failed: FetchFailed) -> ImageAttempt:
    seconds = failed.retry_after_seconds or 0.0
    waiting = None
    if failed.silent_host is not None:
        waiting = Waiting(failed.silent_host, WaitReason.DOES_NOT_ANSWER, seconds)
    elif failed.asking_host is not None:
        waiting = Waiting(failed.asking_host, WaitReason.RETRY_AFTER, seconds)
    return ImageAttempt(ImageResult(error=failed.error), seconds, waiting)


def _not_tried(message: str, waiting: Waiting | None, seconds: float = 0.0) -> ImageAttempt:
    error = ImageError(ImageErrorCode.TIMEOUT, message, retryable=True)
    seconds = waiting.seconds if waiting else seconds
    return ImageAttempt(ImageResult(error=error), seconds, waiting, was_tried=False)


def _storage_away() -> ImageAttempt:
    message = "The storage of the images cannot be written now."
    error = ImageError(ImageErrorCode.STORAGE_FAILED, message, retryable=True)
    return ImageAttempt(ImageResult(error=error), RETURN_SECONDS, was_tried=False)


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
                source_width=output.source_width or None,
                source_height=output.source_height or None,
                score=output.score,
                checks=output.checks,
                warnings=output.warnings,
            ),
        )
        for file, output in made.outputs
    )
    return ImageResult(main, dict(zip(made.variant_names, variants, strict=True)))
