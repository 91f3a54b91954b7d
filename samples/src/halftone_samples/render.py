"""Composes a photograph in layers: ground, shadow, body, light and lens."""

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from PIL import Image, ImageChops, ImageFilter

from halftone_samples.lens import expose, print_film
from halftone_samples.lighting import (
    BICUBIC,
    BILINEAR,
    Material,
    Part,
    Size,
    Studio,
    Vec,
    ease,
    linear,
    mix,
    unit_vector,
)
from halftone_samples.products import BUILDERS, LYING
from halftone_samples.scene import GROUNDS, WALLS, cast_shadow, lay_ground, shine_window
from halftone_samples.textures import curve


def assemble(studio: Studio, parts: Sequence[Part]) -> Image.Image:
    """The parts, stacked in order; each darkens what is just behind it."""
    body = Image.new("RGBA", studio.size)
    fall = round(0.014 * studio.unit)
    for piece, (x, y) in parts:
        dim_behind(
            studio, body, piece, (x - round(fall * studio.key[0]), y + round(fall * studio.key[1]))
        )
        lay_over(body, piece, (x, y))
    return body


def lay_over(body: Image.Image, piece: Image.Image, at: tuple[int, int]) -> None:
    left, top = max(0, -at[0]), max(0, -at[1])
    if left < piece.width and top < piece.height:
        body.alpha_composite(piece, (max(0, at[0]), max(0, at[1])), (left, top))


def dim_behind(studio: Studio, body: Image.Image, piece: Image.Image, at: tuple[int, int]) -> None:
    """Cast a soft shade of the piece, away from the lamp, on the parts already drawn."""
    pad = round(0.05 * studio.unit / 4)
    small = piece.getchannel("A").reduce(4)
    halo = Image.new("L", (small.width + 2 * pad, small.height + 2 * pad))
    halo.paste(small, (pad, pad))
    halo = halo.filter(ImageFilter.GaussianBlur(pad / 2.2)).resize(
        (halo.width * 4, halo.height * 4), BILINEAR
    )
    x, y = at[0] - 4 * pad, at[1] - 4 * pad
    behind = body.getchannel("A").crop((x, y, x + halo.width, y + halo.height))
    shade = Image.new("RGBA", halo.size, (12, 9, 8, 0))
    shade.putalpha(ImageChops.multiply(behind, curve(halo, lambda v: 0.55 * v)))
    lay_over(body, shade, (x, y))


def open_studio(rng: Random, size: Size, flat: bool, floor: Material, wall: str) -> Studio:
    short = min(size)
    key = (
        rng.choice((-1, 1)) * rng.uniform(0.5, 0.85),
        rng.uniform(0.5, 0.8),
        0.75 if flat else rng.uniform(0.25, 0.6),
    )
    parts = [linear(c) for c in floor.colours]
    return Studio(
        rng=rng,
        size=size,
        unit=short * rng.uniform(0.66, 0.8),
        x=round(size[0] / 2 + short * rng.uniform(-0.07, 0.07)),
        y=size[1] / 2 + short * (rng.uniform(-0.03, 0.03) if flat else rng.uniform(0.28, 0.35)),
        tilt=rng.uniform(0.2, 0.36),
        key=unit_vector(key),
        warmth=rng.uniform(-0.03, 0.12),
        fill=rng.uniform(0.2, 0.36),
        floor=mix(parts[0], parts[-1], 0.55),
        wall=linear(wall),
        flat=flat,
    )


def stand_behind(studio: Studio, photo: Image.Image) -> None:
    """Another product, in the background and out of focus."""
    rng, (w, h) = studio.rng, (studio.size[0] // 5, studio.size[1] // 5)
    side = math.copysign(rng.uniform(0.3, 0.42), -studio.key[0])
    far = replace(
        studio,
        size=(w, h),
        unit=studio.unit * 0.15,
        x=round(w * (0.5 + side)),
        y=studio.y / 5 - 0.12 * h,
    )
    body = assemble(far, BUILDERS[rng.choice(("vase", "bottle", "candle", "mug"))](far))
    foot = cast_shadow(far, body, 1).filter(ImageFilter.GaussianBlur(w / 50))
    photo.paste((30, 25, 21), (0, 0), foot.resize(studio.size, BILINEAR))
    soft = (
        body.convert("RGBa")
        .filter(ImageFilter.GaussianBlur(w / 90))
        .resize(studio.size, BICUBIC)
        .convert("RGBA")
    )
    photo.paste(soft, (0, 0), soft)


def ground_body(studio: Studio, body: Image.Image) -> None:
    """The contact shadow at the foot of a standing body."""
    top = max(0, round(studio.y - 0.12 * studio.unit))
    alpha = body.getchannel("A").crop((0, top, body.width, body.height))
    foot = curve(
        Image.linear_gradient("L"), lambda v: 0.5 * ease(v * alpha.height / studio.unit, 0, 0.22)
    )
    shade = Image.new("RGBA", alpha.size, (14, 11, 9, 0))
    shade.putalpha(ImageChops.multiply(alpha, foot.resize(alpha.size)))
    lay_over(body, shade, (0, top))


def render_photo(product: str, seed: int, size: tuple[int, int] = (1500, 1500)) -> Image.Image:
    """An RGB photograph of a product; the same arguments give the same pixels."""
    rng = Random(f"{product}/{seed}/photo")  # noqa: S311 - a picture, not a secret
    kind = rng.choice(list(GROUNDS))
    floor = rng.choice(GROUNDS[kind])
    wall = floor.colours[-1] if kind == "sweep" else rng.choice(WALLS)
    studio = open_studio(rng, size, product in LYING, floor, wall)
    photo = lay_ground(studio, kind, floor)
    if not studio.flat and rng.random() < 0.35:
        stand_behind(studio, photo)
    body = assemble(studio, BUILDERS[product](studio))
    if not studio.flat:
        ground_body(studio, body)
    shade = ImageChops.invert(cast_shadow(studio, body, 5))
    photo = ImageChops.multiply(photo, tinted(shade.resize(size, BILINEAR), (0.94, 1.0, 1.03)))
    photo.paste(body, (0, 0), body)
    light = shine_window(studio, shade.size, bars=product != "lamp" and rng.random() < 0.42)
    photo = ImageChops.multiply(photo, tinted(light.resize(size, BILINEAR), (0.9, 1.0, 1.08)))
    return expose(studio, photo, 0.058)


def tinted(light: Image.Image, powers: Vec) -> Image.Image:
    return Image.merge(
        "RGB", [light.point([round(255 * (v / 255) ** p) for v in range(256)]) for p in powers]
    )


def render_cutout(product: str, seed: int, size: tuple[int, int] = (800, 800)) -> Image.Image:
    """The product alone, as RGBA on a transparent ground, with soft edges and a soft contact shadow
    in the alpha channel.
    """
    rng = Random(f"{product}/{seed}/cutout")  # noqa: S311 - a picture, not a secret
    studio = open_studio(rng, size, product in LYING, Material(("#cfccc6", "#f2f0ec")), "#e8e6e2")
    studio = replace(studio, x=size[0] // 2, unit=0.9 * studio.unit)
    body = assemble(studio, BUILDERS[product](studio))
    overhead = replace(studio, key=unit_vector((0.3 * studio.key[0], studio.key[1], studio.key[2])))
    cutout = Image.new("RGBA", size, (20, 17, 15, 0))
    cutout.putalpha(cast_shadow(overhead, body, 2).resize(size, BICUBIC))
    cutout.alpha_composite(body)
    finished = print_film(studio, cutout.convert("RGB"), 0.05)
    finished.putalpha(cutout.getchannel("A"))
    return finished
