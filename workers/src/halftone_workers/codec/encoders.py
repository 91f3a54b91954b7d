"""How each format is written: one function a format, from prepared frames to bytes. Quality is 1–95 throughout."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from halftone_workers.codec.formats import FACTS, Format
from halftone_workers.codec.pixels import Picture, in_srgb, to_mode

MAX_COLOURS = 256
_COPYRIGHT_TAG = 0x8298


@dataclass(frozen=True)
class Frames:
    """A decoded image: its frames, how long each is shown (milliseconds), how often all are (0: for ever)."""

    pictures: Sequence[Picture]
    durations: Sequence[int] = ()
    loop: int = 0
    lossless: bool = False
    copyright: str | None = None

    @property
    def first(self) -> Image.Image:
        return self.pictures[0].image

    @property
    def others(self) -> list[Image.Image]:
        return [picture.image for picture in self.pictures[1:]]


def fit(frames: Frames, output: Format) -> Frames:
    """The frames in modes that the format holds, in sRGB where it holds no profile."""
    pictures = frames.pictures if FACTS[output].icc else [in_srgb(picture) for picture in frames.pictures]
    return replace(frames, pictures=[to_mode(picture, _MODES[output]) for picture in pictures])


def encode(frames: Frames, output: Format, quality: int) -> bytes:
    """Fitted frames in the output format. The same frames and quality give the same bytes."""
    return _ENCODERS[output](frames, quality)


def _jpeg(frames: Frames, quality: int) -> bytes:
    return _save(frames, Format.JPEG, quality=quality, optimize=True)


def _png(frames: Frames, quality: int) -> bytes:
    if frames.others:
        return _save(frames, Format.PNG, duration=list(frames.durations), loop=frames.loop)
    palette = _with_palette(frames.first, _colours(quality))
    return _save(replace(frames, pictures=[replace(frames.pictures[0], image=palette)]), Format.PNG, optimize=True)


def _webp(frames: Frames, quality: int) -> bytes:
    how: dict[str, Any] = {"lossless": True} if frames.lossless else {"quality": quality}
    if frames.others:
        how |= {"duration": list(frames.durations), "loop": frames.loop}
    return _save(frames, Format.WEBP, method=4, **how)


def _gif(frames: Frames, quality: int) -> bytes:
    how: dict[str, Any] = {"duration": list(frames.durations), "loop": frames.loop} if frames.others else {}
    pictures = [replace(picture, image=_with_palette(picture.image, _colours(quality))) for picture in frames.pictures]
    return _save(
        replace(frames, pictures=pictures), Format.GIF, optimize=True, disposal=2 if frames.others else 0, **how
    )


def _avif(frames: Frames, quality: int) -> bytes:
    how: dict[str, Any] = {"duration": list(frames.durations)} if frames.others else {}
    return _save(frames, Format.AVIF, quality=quality, speed=8, max_threads=1, **how)


def _tiff(frames: Frames, quality: int) -> bytes:
    if all(picture.image.mode in ("RGB", "L", "CMYK") for picture in frames.pictures):
        return _save(frames, Format.TIFF, compression="jpeg", quality=quality)
    return _save(frames, Format.TIFF, compression="tiff_adobe_deflate")


_ENCODERS: dict[Format, Callable[[Frames, int], bytes]] = {
    Format.JPEG: _jpeg,
    Format.PNG: _png,
    Format.WEBP: _webp,
    Format.GIF: _gif,
    Format.AVIF: _avif,
    Format.TIFF: _tiff,
}

# The modes that each encoder writes as they are; to_mode turns the others into one of these.
_MODES = {
    Format.JPEG: ("RGB", "L", "CMYK"),
    Format.PNG: ("RGB", "RGBA", "L", "1", "P"),
    Format.WEBP: ("RGB", "RGBA"),
    Format.GIF: ("RGB", "RGBA", "L", "P"),
    Format.AVIF: ("RGB", "RGBA"),
    Format.TIFF: ("RGB", "RGBA", "L", "1", "P", "CMYK"),
}


def _save(frames: Frames, output: Format, **how: Any) -> bytes:
    buffer = io.BytesIO()
    if frames.others:
        how |= {"save_all": True, "append_images": frames.others}
    icc = frames.pictures[0].icc if FACTS[output].icc else None
    # Given even when empty: what is not given, Pillow takes from the source image.
    how["icc_profile"] = icc
    if output is not Format.GIF:
        how["exif"] = _copyright_exif(frames.copyright)
    frames.first.save(buffer, output.value, **how)
    return buffer.getvalue()


def _copyright_exif(copyright_notice: str | None) -> bytes:
    if not copyright_notice:
        return b""
    exif = Image.Exif()
    exif[_COPYRIGHT_TAG] = copyright_notice
    return exif.tobytes()


def _colours(quality: int) -> int:
    """Palette size: the whole palette from quality 50 on, and fewer colours below."""
    return MAX_COLOURS if quality >= 50 else max(2, MAX_COLOURS * quality // 50)


def _with_palette(image: Image.Image, colours: int) -> Image.Image:
    """At most `colours` colours, dithered, alpha kept. What has no more stays as it is."""
    if image.mode in ("1", "P") or image.mode == "L":
        return image
    if image.mode == "RGBA":
        return image.quantize(colours, Image.Quantize.FASTOCTREE)
    palette = image.quantize(colours, Image.Quantize.MEDIANCUT)
    return image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
