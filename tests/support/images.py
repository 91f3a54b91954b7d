"""Images for tests, made in memory: small, deterministic, with structure that makes an encoder
work.
"""

import io
import struct
from typing import Any

from PIL import Image, ImageFilter


def picture(size: tuple[int, int] = (320, 240), mode: str = "RGB", seed: int = 1) -> Image.Image:
    """A smooth gradient with texture. Compresses like a photograph."""
    state = seed
    noise = bytearray()
    for _ in range(32 * 24):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        noise.append(state >> 16 & 0xFF)
    texture = Image.frombytes("L", (32, 24), bytes(noise)).resize(size, Image.Resampling.BICUBIC)
    across = Image.linear_gradient("L").rotate(90).resize(size)
    down = Image.linear_gradient("L").resize(size)
    image = Image.merge(
        "RGB", (texture, Image.blend(across, texture, 0.5), Image.blend(down, texture, 0.5))
    )
    return image.filter(ImageFilter.DETAIL).convert(mode)


def moving_dot(frames: int = 4) -> list[Image.Image]:
    """Frames that differ in a few pixels. A GIF stores only those, and compression makes it no
    smaller.
    """
    images = [picture((112, 84)).quantize(64) for _ in range(frames)]
    for number, image in enumerate(images):
        image.paste(number, (10 * number, 10, 10 * number + 8, 18))
    return images


def encoded(image: Image.Image, name: str = "JPEG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    if name in ("JPEG", "WEBP", "AVIF"):
        how = {"quality": 92} | how
    image.save(buffer, name, **how)
    return buffer.getvalue()


def jpeg(size: tuple[int, int] = (320, 240), seed: int = 1) -> bytes:
    return encoded(picture(size, seed=seed))


def tiff_of(*pages: tuple[dict[int, int | bytes], bytes]) -> bytes:
    """A TIFF of one-strip pages, given their tags and pixels. Byte values (for GPS, a directory)
    are stored outside the tag directory.
    """
    data, link_at = bytearray(b"II*\0\0\0\0\0"), 4
    for tags, pixels in pages:
        tags = tags | {273: len(data), 279: len(pixels)}
        data += pixels + bytes(len(pixels) % 2)
        entries = struct.pack("<H", len(tags))
        for tag, value in sorted(tags.items()):
            if isinstance(value, int):
                entries += struct.pack("<HHII", tag, 4, 1, value)
            else:
                entries += struct.pack(
                    "<HHII", tag, *((4, 1) if tag == 0x8825 else (7, len(value))), len(data)
                )
                data += value + bytes(len(value) % 2)
        struct.pack_into("<I", data, link_at, len(data))
        data += entries + bytes(4)
        link_at = len(data) - 4
    return bytes(data)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
