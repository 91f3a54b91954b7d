"""What is asked of the codec, and what it answers. Frozen values that go over a socket as JSON."""

from dataclasses import dataclass
from typing import Any

from halftone_shared.model.states import Action, Mode, OutputFormat


@dataclass(frozen=True)
class CodecOptions:
    """How to compress. `quality` 1–95 (modes quality and scale), `scale` and `ratio` above 0 and at
    most 1.
    """

    mode: Mode = Mode.QUALITY
    quality: int = 50
    scale: float = 0.5
    ratio: float = 0.5
    format: OutputFormat = OutputFormat.KEEP

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "CodecOptions":
        """From a request's stored options, which hold what its mode has."""
        return cls(
            **{**stored, "mode": Mode(stored["mode"]), "format": OutputFormat(stored["format"])}
        )


@dataclass(frozen=True)
class CodecLimits:
    """What is refused before it is decoded: `max_pixels` a frame (width × height), `max_frames` an
    image.
    """

    max_pixels: int = 50_000_000
    max_frames: int = 500


@dataclass(frozen=True)
class Compressed:
    """An image that was compressed, or kept where that made it no smaller. `data` is None where not
    a byte changed.
    """

    data: bytes | None
    action: Action
    format: str
    extension: str
    width: int
    height: int
    warnings: tuple[str, ...] = ()
