"""The scene around a body: table and wall, shadows, a window's light."""

import math
from random import Random

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

from halftone_samples.lighting import (
    AFFINE,
    BICUBIC,
    BILINEAR,
    Material,
    Point,
    Size,
    Studio,
    ease,
    light_up,
    tone,
)
from halftone_samples.textures import TEXTURES, cloud, curve, lean_by

GROUNDS: dict[str, tuple[Material, ...]] = {
    "wood": (
        Material(("#3a2213", "#7b5230", "#b98a58", "#dcb684"), "planks", 0.16, 0.04, 0.35),
        Material(("#1d120c", "#43291b", "#6d4830", "#92694a"), "planks", 0.16, 0.05, 0.4),
        Material(("#6e6152", "#b3a48e", "#d8ccb8", "#ece4d5"), "planks", 0.16, 0.04, 0.4),
    ),
    "linen": (
        Material(("#8f826d", "#cfc3ae", "#efe8da"), "linen", 0.22, 0.02, 0.9),
        Material(("#3f5263", "#6d8294", "#a0b2bf"), "linen", 0.22, 0.02, 0.9),
        Material(("#7c4a3d", "#b87f6c", "#d9ab99"), "linen", 0.22, 0.02, 0.9),
    ),
    "stone": (
        Material(("#141619", "#2f3337", "#555a5f"), "slate", 0.5, 0.05, 0.5),
        Material(("#77706a", "#a9a39b", "#c9c4bc"), "slate", 0.35, 0.04, 0.5),
        Material(("#5d6066", "#c9c7c3", "#f3f1ec"), "marble", 0.02, 0.05, 0.14),
    ),
    "sweep": tuple(
        Material(colours, "paper", 0.12, 0.03, 0.7)
        for colours in (
            ("#d9d6d0", "#f2f0ec"),
            ("#d9a79c", "#ecc4b9"),
            ("#8fa08c", "#b4c2ae"),
            ("#7f98ab", "#a9bfce"),
            ("#c79a5c", "#e3bd82"),
            ("#55585e", "#777b82"),
            ("#b3a6bd", "#d0c5d8"),
        )
    ),
}
WALLS = ("#cfc8bd", "#b9c0bd", "#8f9a94", "#c9b3a3", "#5d6670", "#7c6a5c", "#e4e0d8")


def lay_ground(studio: Studio, kind: str, material: Material) -> Image.Image:
    w, h = studio.size
    if studio.flat:
        return light_up(studio, material, spread(studio, material, studio.size))
    edge = round(studio.y - h * studio.rng.uniform(0.2, 0.34))
    if kind == "sweep":
        return hang_paper(studio, material, edge / h)
    ground = build_wall(studio, (w // 4, h // 4)).resize(studio.size, BILINEAR)
    falling = Image.linear_gradient("L").resize((w, h - edge))
    ground.paste(
        lay_table(studio, material, edge), (0, edge), curve(falling, lambda v: ease(v, 0, 0.03))
    )
    return ground


def spread(studio: Studio, material: Material, size: Size) -> Image.Image:
    texture = TEXTURES[material.texture](studio.rng, size)
    return Image.merge("RGB", (*lean_by(texture, material.bump), texture))


def hang_paper(studio: Studio, material: Material, edge: float) -> Image.Image:
    """A sweep: the table curves up into the wall, so the paper gradually turns to face the
    camera.
    """
    right, up, texture = spread(studio, material, studio.size).split()
    rise = curve(
        Image.linear_gradient("L"), lambda v: 0.5 - 0.4 * ease(edge + 0.25 - v, 0, 0.75)
    ).resize(studio.size)
    surface = Image.merge("RGB", (right, ImageChops.add(up, rise, 1, -128), texture))
    return light_up(studio, material, surface, up=True)


def lay_table(studio: Studio, material: Material, edge: int) -> Image.Image:
    """The table from its far edge to the front, in perspective, out of focus in front of and behind
    the body.
    """
    w, h = studio.size[0], studio.size[1] - edge
    tile = (w, round(min(w, h * 1.4)))
    vanish = -1.1 * h
    a, g, far = tile[0] / w, -1 / vanish, tile[1] * (vanish - h) / vanish / h
    matrix = (a, tile[0] / 2 * g, (tile[0] - a * w) / 2, 0.0, far, 0.0, 0.0, g)
    surface = spread(studio, material, tile).transform(
        (w, h), Image.Transform.PERSPECTIVE, matrix, BILINEAR
    )
    table = light_up(studio, material, surface, up=True)
    hazy = table.reduce(4).filter(ImageFilter.GaussianBlur(w / 700)).resize((w, h), BILINEAR)
    focus = (studio.y - edge) / h
    haze = curve(
        Image.linear_gradient("L"),
        lambda v: ease(focus - v, 0.08, 0.75 * focus) + 0.8 * ease(v - focus, 0.12, 0.5),
    )
    return Image.composite(hazy, table, haze.resize((w, h)))


def build_wall(studio: Studio, size: Size) -> Image.Image:
    """The background, far out of focus: plaster, or a room with its furniture and lights."""
    rng, (w, h) = studio.rng, size
    wall = Image.new("RGB", size, tuple(round(255 * tone(0.95 * c)) for c in studio.wall))
    if rng.random() < 0.5:
        mottle = curve(
            cloud(rng, size, 3, 3).filter(ImageFilter.GaussianBlur(w / 100)),
            lambda v: 0.4 + 0.2 * v,
        )
        return ImageChops.overlay(wall, Image.merge("RGB", [mottle] * 3))
    draw = ImageDraw.Draw(wall, "RGBA")
    for _ in range(9):
        x, y = rng.uniform(-0.2, 1) * w, rng.uniform(-0.3, 0.6) * h
        shade = ImageColor.getrgb(
            rng.choice(("#141210", "#faf6ec", "#785434", "#465846", "#c8beb0"))
        )
        box = (x, y, x + rng.uniform(0.05, 0.4) * w, y + rng.uniform(0.1, 0.7) * h)
        draw.rectangle(box, fill=(*shade[:3], rng.randrange(60, 190)))
    wall = wall.filter(ImageFilter.GaussianBlur(w / 22))
    draw = ImageDraw.Draw(wall, "RGBA")
    for _ in range(rng.choice((0, 6, 14))):
        x, y, r = rng.uniform(0, 1) * w, rng.uniform(0, 0.55) * h, rng.uniform(0.012, 0.04) * w
        lamp = (255, rng.randrange(190, 240), rng.randrange(120, 200), rng.randrange(50, 150))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=lamp)
    return wall.filter(ImageFilter.GaussianBlur(w / 160))


def cast_shadow(studio: Studio, body: Image.Image, shrink: int) -> Image.Image:
    """The shadow on the ground around the body: darkest at the contact, softer away from the
    lamp.
    """
    alpha = body.getchannel("A").reduce(shrink)
    u, y, (w, h) = studio.unit / shrink, studio.y / shrink, alpha.size
    kx, ky, kz = studio.key
    if studio.flat:
        layers = [
            (ImageChops.offset(alpha, round(-d * u * kx), round(d * u * ky)), d * 0.35)
            for d in (0.1, 0.025)
        ]
        long, foot = (layer.filter(ImageFilter.GaussianBlur(u * blur)) for layer, blur in layers)
    else:
        a, b = -kx / ky, max(0.1, studio.tilt * kz / ky)
        shadow = alpha.transform(
            (w, h), AFFINE, (1, a / b, -a / b * y, 0, 1 / b, y - y / b), BILINEAR
        )
        crisp, soft = (shadow.filter(ImageFilter.GaussianBlur(u * blur)) for blur in (0.018, 0.07))
        rise = Image.linear_gradient("L").resize((w, h))
        long = Image.composite(soft, crisp, curve(rise, lambda v: ease(y / h - v, -0.02, 0.14)))
        foot = ImageChops.multiply(
            alpha, curve(rise, lambda v: ease(v * h, y - 0.05 * u, y + 0.01 * u))
        )
        foot = ImageChops.offset(foot, 0, round(0.01 * u)).filter(
            ImageFilter.GaussianBlur(u * 0.022)
        )
    return ImageChops.lighter(curve(long, lambda v: 0.62 * v), curve(foot, lambda v: 0.85 * v))


def shine_window(studio: Studio, size: Size, bars: bool) -> Image.Image:
    """How much light reaches each pixel: the pool of a lamp, sometimes through a window's bars and
    leaves.
    """
    rng, (w, h) = studio.rng, size
    pool = ImageChops.invert(Image.radial_gradient("L")).resize((w * 2, h * 2), BICUBIC)
    left, top = round(w * (0.5 - 0.2 * studio.key[0])), round(h * 0.45)
    pool = curve(
        pool.crop((left, top, left + w, top + h)), lambda v: 0.6 + 0.4 * ease(v, 0.05, 0.8)
    )
    if not bars:
        return pool
    panes = Image.new("L", size, rng.randrange(120, 165))
    draw = ImageDraw.Draw(panes)
    skew, wide, high = (
        rng.uniform(-0.6, 0.6),
        rng.uniform(0.16, 0.24) * w,
        rng.uniform(0.2, 0.3) * h,
    )
    x0, y0 = rng.uniform(0.05, 0.35) * w, rng.uniform(-0.1, 0.1) * h
    for i in range(12):
        x, y, shift = (
            x0 + i % 3 * wide * 1.12 + skew * (i // 3) * high,
            y0 + i // 3 * high * 1.1,
            skew * high,
        )
        draw.polygon(
            [(x, y), (x + wide, y), (x + wide + shift, y + high), (x + shift, y + high)], fill=255
        )
    for _ in range(rng.choice((0, 24))):
        draw.polygon(leaf(rng, (rng.uniform(0, w), rng.uniform(0, 0.8 * h)), 0.09 * w), fill=135)
    return ImageChops.multiply(
        pool, panes.filter(ImageFilter.GaussianBlur(w / rng.uniform(45, 90)))
    )


def leaf(rng: Random, at: Point, length: float) -> list[Point]:
    turned, wide = rng.uniform(0, 6.3), rng.uniform(0.12, 0.25)
    outline = []
    for i in range(24):
        t = i / 12 * math.pi
        a, b = math.cos(t) * length / 2, math.sin(t) * length * wide * (1 - 0.3 * math.cos(t))
        outline.append(
            (
                at[0] + a * math.cos(turned) - b * math.sin(turned),
                at[1] + a * math.sin(turned) + b * math.cos(turned),
            )
        )
    return outline
