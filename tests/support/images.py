"""Images for tests, made in memory: small, deterministic, with structure that an encoder has to work on."""

import io
from typing import Any

from PIL import Image, ImageFilter


def picture(size: tuple[int, int] = (320, 240), mode: str = "RGB", seed: int = 1) -> Image.Image:
    """A smooth gradient with texture: compresses like a photograph."""
    state = seed
    noise = bytearray()
    for _ in range(32 * 24):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        noise.append(state >> 16 & 0xFF)
    texture = Image.frombytes("L", (32, 24), bytes(noise)).resize(size, Image.Resampling.BICUBIC)
    across = Image.linear_gradient("L").rotate(90).resize(size)
    down = Image.linear_gradient("L").resize(size)
    image = Image.merge("RGB", (texture, Image.blend(across, texture, 0.5), Image.blend(down, texture, 0.5)))
    return image.filter(ImageFilter.DETAIL).convert(mode)


def encoded(image: Image.Image, name: str = "JPEG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    if name in ("JPEG", "WEBP", "AVIF"):
        how = {"quality": 92} | how
    image.save(buffer, name, **how)
    return buffer.getvalue()


def jpeg(size: tuple[int, int] = (320, 240), seed: int = 1) -> bytes:
    return encoded(picture(size, seed=seed))


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
