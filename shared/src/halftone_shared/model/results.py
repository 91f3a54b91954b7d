"""Results of a product's images, as workers record them and clients read them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self
from uuid import UUID

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.states import Action, Status
from halftone_shared.model.stored_json import StoredJson


@dataclass(frozen=True)
class ProductKey:
    """A product: row `seq` (from 1) of a request."""

    request_id: UUID
    seq: int


@dataclass(frozen=True)
class ImageError:
    """Why an image failed. `message` is a sentence for the client; `retryable`: a retry may
    succeed.
    """

    code: ImageErrorCode
    message: str
    http_status: int | None = None
    retryable: bool = False

    def to_json(self) -> StoredJson:
        return {
            "code": self.code,
            "message": self.message,
            "http_status": self.http_status,
            "retryable": self.retryable,
        }


@dataclass(frozen=True)
class Check:
    """Whether an image keeps one rule of a preset: `pass`, `warn` or `fail`, and the figures.

    A rule that could not be measured is a `warn` whose message begins with "Not measured".
    """

    rule: str
    result: str
    message: str


@dataclass(frozen=True)
class ImageFacts:
    """The facts of an image that succeeded, or of one of its variants.

    The codec makes this value; storage and views pass it on whole. To give clients another fact,
    add a field and set it in the codec. Sizes are in pixels as the image is shown. `bytes_in` and
    `source_*` describe the image as fetched. `score` is the SSIMULACRA2 score that `mode=visual`
    reached.
    """

    action: Action
    format: str
    width: int
    height: int
    bytes_in: int
    bytes_out: int
    source_width: int | None = None
    source_height: int | None = None
    score: float | None = None
    checks: tuple[Check, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> StoredJson:
        """Every field, in the order of the declaration."""
        lists = {"checks": [asdict(check) for check in self.checks], "warnings": [*self.warnings]}
        return {name: getattr(self, name) for name in FACT_NAMES} | lists

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote, ignoring fields of other versions."""
        known = {name: stored[name] for name in FACT_NAMES if name in stored}
        return cls(
            **known
            | {
                "action": Action(stored["action"]),
                "checks": tuple(Check(**check) for check in stored.get("checks", ())),
                "warnings": tuple(stored.get("warnings", ())),
            }
        )


FACT_NAMES = tuple(field.name for field in fields(ImageFacts))


@dataclass(frozen=True)
class StoredImage:
    """An output in the storage: its name (image_names.py) and its facts."""

    file: str
    facts: ImageFacts


@dataclass(frozen=True)
class ImageResult:
    """The result of one image slot: its main output and variants, or an error."""

    output: StoredImage | None = None
    variants: Mapping[str, StoredImage] = field(default_factory=dict)
    error: ImageError | None = None

    @property
    def status(self) -> Status:
        return Status.FAILED if self.error else Status.COMPLETED

    @property
    def file(self) -> str | None:
        return self.output.file if self.output else None

    @property
    def facts(self) -> ImageFacts | None:
        return self.output.facts if self.output else None

    def to_json(self) -> StoredJson:
        """The JSON stored in `products.images`. The name of the main output's file is stored beside
        it, in `products.output_files`.
        """
        if self.output is None:
            assert self.error is not None  # noqa: S101 - a slot has an output or an error
            return {"status": self.status, "error": self.error.to_json()}
        stored: StoredJson = {"status": self.status} | self.output.facts.to_json()
        if self.variants:
            stored["variants"] = {
                name: {"file": one.file} | one.facts.to_json()
                for name, one in self.variants.items()
            }
        return stored

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], file: str | None) -> Self:
        if error := stored.get("error"):
            return cls(error=ImageError(**{**error, "code": ImageErrorCode(error["code"])}))
        assert file is not None  # noqa: S101 - written together with the facts
        variants = {
            name: StoredImage(one["file"], ImageFacts.from_json(one))
            for name, one in stored.get("variants", {}).items()
        }
        return cls(StoredImage(file, ImageFacts.from_json(stored)), variants)


@dataclass(frozen=True)
class ProductResult:
    """The results of all image slots of one product, in the order of its input URLs."""

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
        return sum(facts.action is Action.KEPT_ORIGINAL for facts in self._facts)

    @property
    def reused_images(self) -> int:
        return sum(facts.action is Action.REUSED for facts in self._facts)

    @property
    def errors(self) -> dict[str, int]:
        """How many images failed with each error code."""
        return dict(Counter(image.error.code.value for image in self.images if image.error))

    @property
    def bytes_in(self) -> int:
        return sum(facts.bytes_in for facts in self._facts)

    @property
    def bytes_out(self) -> int:
        """The bytes of the main outputs; each variant has its own count."""
        return sum(facts.bytes_out for facts in self._facts)

    @property
    def _facts(self) -> Iterator[ImageFacts]:
        return (image.facts for image in self.images if image.facts)
