"""Lens and film: bloom, softness, a tone curve, grain."""

from random import Random

from PIL import Image, ImageChops, ImageFilter

from halftone_samples.lighting import BILINEAR, Studio, ease
from halftone_samples.textures import noise


def expose(studio: Studio, photo: Image.Image, grain: float) -> Image.Image:
    """Add bloom around the lights, the lens's softness, the film's tone curve and the sensor's
    noise.
    """
    w, h = photo.size
    bright = (
        photo.reduce(8)
        .point([max(0, v - 170) for v in range(256)] * 3)
        .filter(ImageFilter.GaussianBlur(w / 250))
    )
    photo = ImageChops.screen(photo, bright.resize((w, h), BILINEAR))
    photo = photo.filter(ImageFilter.Kernel((3, 3), (1, 2, 1, 2, 10, 2, 1, 2, 1)))
    return print_film(studio, photo, grain)


def print_film(studio: Studio, photo: Image.Image, grain: float) -> Image.Image:
    warm = studio.warmth * 0.25
    photo = photo.point([grade(v / 255, tint) for tint in (warm, 0.0, -warm) for v in range(256)])
    return add_grain(studio.rng, photo, grain)


def grade(v: float, tint: float) -> int:
    lifted = 0.018 + 1.04 * v
    return round(
        255 * min(1.0, max(0.0, lifted + 0.22 * (ease(lifted, 0, 1) - lifted) + tint * v * (1 - v)))
    )


def add_grain(rng: Random, photo: Image.Image, strength: float) -> Image.Image:
    """Sensor noise: fine in brightness, coarser and weaker in colour."""
    w, h = photo.size
    fine = Image.frombytes("L", (w, h), rng.randbytes(w * h))
    fine = fine.filter(ImageFilter.Kernel((3, 3), (1, 2, 1, 2, 4, 2, 1, 2, 1)))
    green = fine.point([round(128 + (v - 127.5) * strength) for v in range(256)])
    tint = [round(128 + (v - 127.5) * strength * 0.3) for v in range(256)]
    speckle = noise(rng, (w, h), w / 3, h / 3).point(tint)
    red, blue = (
        ImageChops.add(green, ImageChops.offset(speckle, by), 1, -128) for by in (0, w // 2)
    )
    return ImageChops.add(photo, Image.merge("RGB", (red, green, blue)), 1, -128)
