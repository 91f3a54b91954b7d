"""What a step knows of the output it works for."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from PIL import Image

from halftone_shared.model.options import ImageOptions
from halftone_shared.presets import Preset
from halftone_workers.codec.encoders import Frames
from halftone_workers.codec.pixels import Picture, in_srgb, to_mode


@dataclass
class Job:
    """One output of an image. Steps add warnings.

    `holds_alpha`: its format has transparency. `white_share`: that of the edge before a border was
    cut off or put around.
    """

    options: ImageOptions
    preset: Preset | None = None
    holds_alpha: bool = True
    watermark: Image.Image | None = None
    white_share: float = 1.0
    warnings: list[str] = field(default_factory=list)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def each_picture(frames: Frames, change: Callable[[Picture], Picture]) -> Frames:
    return replace(frames, pictures=[change(picture) for picture in frames.pictures])


def each_image(frames: Frames, change: Callable[[Image.Image], Image.Image]) -> Frames:
    """Change every frame, whatever its size; the profile stays."""
    return each_picture(frames, lambda picture: replace(picture, image=change(picture.image)))


def in_mixable_colours(frames: Frames) -> Frames:
    """The frames in sRGB, as gray, RGB or RGBA: what is mixed must mean the same colours."""
    return each_picture(frames, lambda one: to_mode(in_srgb(one), ("RGB", "RGBA", "L")))
