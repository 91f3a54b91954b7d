"""The codec's limits and results: frozen values that are sent over a socket as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from halftone_shared.model.results import Check
from halftone_shared.model.states import Action


@dataclass(frozen=True)
class CodecLimits:
    """Limits that are checked before decoding: `max_pixels` per frame (width × height) and
    `max_frames` per image.
    """

    max_pixels: int = 50_000_000
    max_frames: int = 500


@dataclass(frozen=True)
class Compressed:
    """An image that was compressed, or kept if that made it no smaller.

    `data` is None if no byte changed. Sizes are in pixels, of the image as displayed.
    `score`: the SSIMULACRA2 score that `mode=visual` reached. `variants`: other outputs by name.
    """

    data: bytes | None
    action: Action
    format: str
    extension: str
    width: int
    height: int
    source_width: int = 0
    source_height: int = 0
    score: float | None = None
    checks: tuple[Check, ...] = ()
    warnings: tuple[str, ...] = ()
    variants: "Mapping[str, Compressed]" = field(default_factory=dict)
