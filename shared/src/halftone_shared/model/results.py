"""Results of a product's images: the values that a worker settles with and clients read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.states import Action, Status


@dataclass(frozen=True)
class ProductKey:
    """Which product: the `seq`-th (from 1) row of a request."""

    request_id: UUID
    seq: int


@dataclass(frozen=True)
class ImageError:
    """Why an image failed. `message` is a sentence for the client; `retryable`: it may work another
    time.
    """

    code: ImageErrorCode
    message: str
    http_status: int | None = None
    retryable: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": self.message,
            "http_status": self.http_status,
            "retryable": self.retryable,
        }


@dataclass(frozen=True)
class ImageResult:
    """How one image slot ended. Exactly one of `file` (with `action` and the facts) and `error` is
    set.
    """

    file: str | None = None
    action: Action | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    warnings: tuple[str, ...] = ()
    error: ImageError | None = None

    @property
    def status(self) -> Status:
        return Status.FAILED if self.error else Status.COMPLETED

    def to_json(self) -> dict[str, Any]:
        """As it is stored in `products.images`; the file's name is stored beside it, in
        `products.output_files`.
        """
        if self.error:
            return {"status": self.status, "error": self.error.to_json()}
        return {
            "status": self.status,
            "action": self.action,
            "format": self.format,
            "width": self.width,
            "height": self.height,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any], file: str | None) -> "ImageResult":
        if error := stored.get("error"):
            return cls(error=ImageError(**{**error, "code": ImageErrorCode(error["code"])}))
        return cls(
            file=file,
            action=Action(stored["action"]),
            format=stored["format"],
            width=stored["width"],
            height=stored["height"],
            bytes_in=stored["bytes_in"],
            bytes_out=stored["bytes_out"],
            warnings=tuple(stored["warnings"]),
        )


@dataclass(frozen=True)
class ProductResult:
    """How all image slots of one product ended, in the order of its input URLs."""

    images: Sequence[ImageResult]

    @property
    def status(self) -> Status:
        return Status.COMPLETED if self.processed_images else Status.FAILED

    @property
    def processed_images(self) -> int:
        return sum(image.error is None for image in self.images)

    @property
    def failed_images(self) -> int:
        return len(self.images) - self.processed_images

    @property
    def kept_original_images(self) -> int:
        return sum(image.action is Action.KEPT_ORIGINAL for image in self.images)

    @property
    def bytes_in(self) -> int:
        return sum(image.bytes_in or 0 for image in self.images)

    @property
    def bytes_out(self) -> int:
        return sum(image.bytes_out or 0 for image in self.images)
