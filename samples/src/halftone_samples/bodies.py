"""Renders the bodies of sample products: turned on a lathe, bent, flat or hollow.

The surface of a round body is painted flat (`unroll`), then wrapped around its profile (`wrap`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from halftone_samples.lighting import (
    BICUBIC,
    BILINEAR,
    LANCZOS,
    ROWS,
    Material,
    Part,
    Patch,
    Point,
    Size,
    Studio,
    ease,
    light_up,
)
from halftone_samples.textures import curve, lean_by, roughen


@dataclass(frozen=True)
class Profile:
    """The outline of a turned body: its radius at even steps of height."""

    bottom: float
    top: float
    radii: tuple[float, ...]

    @classmethod
    def through(cls, *points: Point, round_by: int = 4) -> "Profile":
        """An outline through (height, radius) points, with rounded corners."""
        bottom, top = points[0][0], points[-1][0]
        radii = []
        for h in (bottom + (top - bottom) * i / ROWS for i in range(ROWS + 1)):
            (h0, r0), (h1, r1) = next(
                (p, q) for p, q in pairwise(points) if h <= q[0] or q is points[-1]
            )
            radii.append(r0 + (r1 - r0) * (h - h0) / (h1 - h0))
        for _ in range(3):
            near = [min(round_by, i, ROWS - i) for i in range(ROWS + 1)]
            radii = [sum(radii[i - n : i + n + 1]) / (2 * n + 1) for i, n in enumerate(near)]
        return cls(bottom, top, tuple(radii))

    @classmethod
    def ball(cls, radius: float) -> "Profile":
        heights = [2 * i / ROWS - 1 for i in range(ROWS + 1)]
        return cls(0.0, 2 * radius, tuple(radius * math.sqrt(1 - h * h) for h in heights))

    def radius(self, h: float) -> float:
        at = (h - self.bottom) / (self.top - self.bottom) * ROWS
        if not 0 < at < ROWS:
            return self.radii[0 if at <= 0 else ROWS]
        i = int(at)
        return self.radii[i] + (self.radii[i + 1] - self.radii[i]) * (at - i)

    def slope(self, i: int) -> float:
        low, high = max(0, i - 1), min(ROWS, i + 1)
        return (self.radii[high] - self.radii[low]) / (
            (self.top - self.bottom) * (high - low) / ROWS
        )


def light_and_cut(
    studio: Studio, material: Material, surface: Image.Image, mask: Image.Image, up: bool = False
) -> Image.Image:
    """Light a surface, and make it transparent outside its mask."""
    lit = light_up(studio, material, surface, up)
    lit.putalpha(mask)
    return lit


def frame(
    studio: Studio, left: float, right: float, low: float, high: float
) -> tuple[tuple[int, int], Size, Point]:
    """The corner and the size, in pixels, of a part of the picture, and the position of the
    studio's mark in it.
    """
    u = studio.unit
    x0, y0 = math.floor(studio.x + left * u) - 2, math.floor(studio.y - high * u) - 2
    size = (math.ceil(studio.x + right * u) + 2 - x0, math.ceil(studio.y - low * u) + 2 - y0)
    return (x0, y0), size, (studio.x - x0, studio.y - y0)


def turn(
    studio: Studio,
    shape: Profile,
    material: Material,
    art: Image.Image | None = None,
    hollow: float = 0,
) -> Part:
    """A body turned on a lathe, placed at the studio's mark; `hollow` is the radius of its open
    mouth.
    """
    widest = max(shape.radii)
    reach = studio.tilt * widest
    corner, size, mark = frame(studio, -widest, widest, shape.bottom - reach, shape.top + reach)
    skin = unroll(studio, shape, material, art)
    patches = wrap(studio, shape, skin.size, size, mark)
    skin = skin.transform(size, Image.Transform.MESH, patches, BILINEAR)
    return light_and_cut(
        studio, material, skin, turned_mask(studio, shape, size, mark, hollow)
    ), corner


def unroll(
    studio: Studio, shape: Profile, material: Material, art: Image.Image | None
) -> Image.Image:
    """The surface map of a turned body's front half, unrolled: angle across, height down."""
    angles = [math.sin(math.pi * (i / 63 - 0.5)) for i in range(64)]
    slopes = [shape.slope(i) for i in range(ROWS, -1, -1)]
    lengths = [math.sqrt(1 + s * s) for s in slopes]
    right = bytes(round(127.5 + 127 * a / length) for length in lengths for a in angles)
    up = bytes(round(127.5 - 127 * s / length) for s, length in zip(slopes, lengths, strict=True))
    w, h = 3 * studio.unit * max(shape.radii), studio.unit * (shape.top - shape.bottom)
    size = art.size if art else (min(round(w) + 8, 1200), min(round(h) + 8, 1400))
    forms = Image.frombytes("L", (64, ROWS + 1), right), Image.frombytes("L", (1, ROWS + 1), up)
    return roughen(studio, [form.resize(size, BICUBIC) for form in forms], material, art)


def wrap(studio: Studio, shape: Profile, skin: Size, size: Size, mark: Point) -> list[Patch]:
    """The patches that bend an unrolled skin around its profile."""

    @cache
    def hit(x: float, y: int) -> Point:
        return meet(shape, x / studio.unit, (mark[1] - y) / studio.unit, studio.tilt)

    def find(x: int, y: int) -> Point:
        angle, h = hit(abs(x - mark[0]), y)
        across, down = (
            math.copysign(angle, x - mark[0]) / math.pi + 0.5,
            (shape.top - h) / (shape.top - shape.bottom),
        )
        return (2 + across * (skin[0] - 4), 2 + down * (skin[1] - 4))

    patches: list[Patch] = []
    bands = max(min(8, size[1] // 2), size[1] // 14)
    for y0, y1 in pairwise([round(size[1] * i / bands) for i in range(bands + 1)]):
        h = (mark[1] - (y0 + y1) / 2) / studio.unit
        r = studio.unit * max(shape.radius(h), shape.radius(h + studio.tilt * max(shape.radii)))
        xs = sorted(
            {
                0,
                size[0],
                *(round(mark[0] + r * math.sin(math.pi * (i / 20 - 0.5))) for i in range(21)),
            }
        )
        for (x0, a, b), (x1, d, c) in pairwise([(x, find(x, y0), find(x, y1)) for x in xs]):
            patches.append(((x0, y0, x1, y1), (*a, *b, *c, *d)))
    return patches


def meet(shape: Profile, x: float, y: float, tilt: float) -> Point:
    """Angle and height at which the camera's ray through (x, y) first meets the turned body."""

    def outside(z: float) -> float:
        return x * x + z * z - shape.radius(y + tilt * z) ** 2

    def within(z: float) -> bool:
        return shape.bottom <= y + tilt * z <= shape.top and outside(z) <= 0

    reach = max(shape.radii)
    depths = [reach * i / 12 for i in range(12, -13, -1)]
    near = next((z for z in depths if within(z)), None)
    if near is None:
        for h, r, way in ((shape.bottom, shape.radii[0], -1), (shape.top, shape.radii[-1], 1)):
            if abs(x) < r and way * (y - h) > tilt * math.sqrt(r * r - x * x):
                return math.asin(x / r), h
        near = min(depths, key=outside)
    else:
        ahead = near + reach / 12
        for _ in range(6):
            middle = (near + ahead) / 2
            near, ahead = (middle, ahead) if within(middle) else (near, middle)
    return math.atan2(x, abs(near)), min(shape.top, max(shape.bottom, y + tilt * near))


def turned_mask(
    studio: Studio, shape: Profile, size: Size, mark: Point, hollow: float
) -> Image.Image:
    """The silhouette of a turned body, without its open mouth of the radius `hollow`."""
    big = Image.new("L", (size[0] * 2, size[1] * 2))
    draw = ImageDraw.Draw(big)
    u, k, (x0, y0) = studio.unit * 2, studio.tilt, (mark[0] * 2, mark[1] * 2)
    side = []
    for i, r in enumerate(shape.radii):
        h, lean = (
            shape.bottom + (shape.top - shape.bottom) * i / ROWS,
            max(-1.0, min(1.0, shape.slope(i) * k)),
        )
        side.append((r * math.sqrt(1 - lean * lean) * u, y0 + (k * r * lean - h) * u))
    draw.polygon(
        [(x0 - x, y) for x, y in side] + [(x0 + x, y) for x, y in reversed(side)], fill=255
    )
    for h, r, ink in (
        (shape.bottom, shape.radii[0], 255),
        (shape.top, shape.radii[-1], 255),
        (shape.top, hollow, 0),
    ):
        draw.ellipse(
            (x0 - r * u, y0 - (h + k * r) * u, x0 + r * u, y0 - (h - k * r) * u),
            fill=ink if r else None,
        )
    return big.resize(size, LANCZOS)


def plate(
    studio: Studio,
    at: Point,
    radius: float,
    material: Material,
    edge: float = 0.06,
    art: Image.Image | None = None,
) -> Part:
    """A level disc whose rim is rounded over the last `edge` of its radius: a lid, a drink, a
    dial.
    """
    r = max(8, round(radius * studio.unit))
    height = 2 * r if studio.flat else max(2, round(2 * r * studio.tilt))
    spots = [(x / 32 - 1, 1 - y / 32) for y in range(65) for x in range(65)]
    amounts = [
        127 * ease(math.hypot(*p), 1 - edge, 1 + edge / 2) / max(1.0, math.hypot(*p)) for p in spots
    ]
    forms = [
        bytes(round(127.5 + a * p[i]) for a, p in zip(amounts, spots, strict=True)) for i in (0, 1)
    ]
    leans = [Image.frombytes("L", (65, 65), form).resize((2 * r, 2 * r), BICUBIC) for form in forms]
    surface = roughen(studio, leans, material, art and art.resize((2 * r, 2 * r), LANCZOS))
    surface = surface.resize((2 * r, height), BICUBIC)
    corner = (
        round(studio.x + at[0] * studio.unit) - r,
        round(studio.y - at[1] * studio.unit - height / 2),
    )
    return light_and_cut(studio, material, surface, oval(surface.size), up=not studio.flat), corner


def oval(size: Size) -> Image.Image:
    """A mask: the largest ellipse in a rectangle of this size, with smooth edges."""
    big = Image.new("L", (size[0] * 3, size[1] * 3))
    ImageDraw.Draw(big).ellipse((2, 2, size[0] * 3 - 3, size[1] * 3 - 3), fill=255)
    return big.resize(size, LANCZOS)


def look_inside(
    studio: Studio, h: float, radius: float, material: Material, depth: float, held: Material
) -> Part:
    """The view into the open mouth of a turned body: its far wall, and its content of the material
    `held`, `depth` below the rim.
    """
    r = max(2, round(radius * studio.unit))
    size = (2 * r, max(2, round(2 * r * studio.tilt)))
    down = Image.linear_gradient("L")
    leans = [down.transpose(Image.Transpose.ROTATE_270).resize(size), Image.new("L", size, 150)]
    wall = light_up(studio, material, roughen(studio, leans, material, None))
    shade = curve(down.resize(size), lambda v: 1 - 0.62 * ease(v, -0.1, 0.75))
    wall = ImageChops.multiply(wall, Image.merge("RGB", [shade] * 3))
    corner = (round(studio.x) - r, round(studio.y - h * studio.unit - size[1] / 2))
    drink, at = plate(studio, (0, h - depth), radius * 0.985, held, edge=0.04)
    wall.paste(drink, (at[0] - corner[0], at[1] - corner[1]), drink)
    wall.putalpha(oval(size))
    return wall, corner


def bend(studio: Studio, path: Sequence[Point], radius: float, material: Material) -> Part:
    """A round bar bent along a path: a handle, a stem, a wick."""
    (xs, ys), r, u = zip(*path, strict=True), radius, studio.unit
    corner, size, mark = frame(studio, min(xs) - r, max(xs) + r, min(ys) - r, max(ys) + r)
    points = [(mark[0] + x * u, mark[1] - y * u) for x, y in path]
    leans, mask = (
        Image.new("RGB", size, (128, 128, 128)),
        Image.new("L", (size[0] * 2, size[1] * 2)),
    )
    draw = ImageDraw.Draw(leans)
    sides = [
        side_of(points[max(0, i - 1)], points[min(len(points) - 1, i + 1)])
        for i in range(len(points))
    ]
    for strip in range(-7, 7):
        low, high = (strip - 0.2) / 6 * r * u, (strip + 1.2) / 6 * r * u
        lean = (strip + 0.5) / 7
        for (p, n), (q, m) in pairwise(zip(points, sides, strict=True)):
            colour = (round(127.5 + 126 * lean * n[0]), round(127.5 - 126 * lean * n[1]), 128)
            draw.polygon(
                [step(p, n, low), step(q, m, low), step(q, m, high), step(p, n, high)], fill=colour
            )
    wide = [(x * 2, y * 2) for x, y in points]
    ImageDraw.Draw(mask).line(wide, fill=255, width=max(2, round(4 * r * u)), joint="curve")
    right, up, _ = leans.filter(ImageFilter.GaussianBlur(r * u / 10)).split()
    return light_and_cut(
        studio, material, roughen(studio, [right, up], material, None), mask.resize(size, LANCZOS)
    ), corner


def side_of(a: Point, b: Point) -> Point:
    """The unit vector at right angles to the line from a to b."""
    length = math.hypot(b[0] - a[0], b[1] - a[1]) or 1.0
    return ((a[1] - b[1]) / length, (b[0] - a[0]) / length)


def step(p: Point, direction: Point, by: float) -> Point:
    return (p[0] + direction[0] * by, p[1] + direction[1] * by)


def lay_card(
    studio: Studio,
    at: Point,
    extent: Point,
    turned: float,
    material: Material,
    art: Image.Image | None,
) -> Part:
    """A flat object in front of the camera with worn, rounded edges: a cover, the pages of a
    book.
    """
    size = (round(extent[0] * studio.unit), round(extent[1] * studio.unit))
    worn = Image.new("L", size)
    worn.paste(200, (5, 5, size[0] - 5, size[1] - 5))
    forms = lean_by(worn.filter(ImageFilter.GaussianBlur(4)), 0.8)
    mask = Image.new("L", size)
    mask.paste(255, (2, 2, size[0] - 2, size[1] - 2))
    surface = roughen(studio, forms, material, art and art.resize(size, LANCZOS))
    card = light_and_cut(studio, material, surface, mask).rotate(turned, BICUBIC, expand=True)
    x, y = studio.x + at[0] * studio.unit, studio.y - at[1] * studio.unit
    return card, (round(x - card.width / 2), round(y - card.height / 2))
