"""The output that a step works on."""

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

    `holds_alpha`: whether its format has transparency. `white_share`: the white share of the edge,
    before a border was cut off or added.
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
    """Change every frame, of any size, and keep its profile."""
    return each_picture(frames, lambda picture: replace(picture, image=change(picture.image)))


def in_mixable_colours(frames: Frames) -> Frames:
    """Convert the frames to sRGB, as gray, RGB or RGBA: only colours of one space can be mixed."""
    return each_picture(frames, lambda one: to_mode(in_srgb(one), ("RGB", "RGBA", "L")))
