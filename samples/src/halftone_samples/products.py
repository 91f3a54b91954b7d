"""The products, and the bodies that each consists of."""

import cmath
import math
from collections.abc import Callable
from dataclasses import replace
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from halftone_samples.bodies import Profile, bend, lay_card, look_inside, plate, turn
from halftone_samples.lighting import Material, Part, Size, Studio
from halftone_samples.textures import curve, leather, linen, paper

GLAZES = (
    ("#1f4450", "#2f6b78", "#5fa3a8"),
    ("#b9ad98", "#e3dac8", "#f4eee2"),
    ("#8a3f24", "#b8603c", "#d68b63"),
    ("#56674f", "#87977b", "#aebb9f"),
    ("#1d2440", "#2f3c6b", "#56689c"),
    ("#191a1c", "#2b2d30", "#45484c"),
    ("#b27a74", "#d9a69d", "#ecc8bf"),
    ("#a9741f", "#d19c3c", "#e6bf6e"),
)
INKS = (
    ("#20242a", "#c8452f", "#f4efe4"),
    ("#f2ead8", "#d6a84c", "#1f3a34"),
    ("#2a2320", "#7f8f6a", "#efe7d6"),
    ("#f6f3ec", "#e8b9a4", "#34455c"),
    ("#3a2a20", "#c78a4a", "#e9dcc3"),
    ("#f7f1e3", "#f2b134", "#0e5a6b"),
    ("#2b1b2f", "#e4572e", "#f0c9c0"),
    ("#fdf6e9", "#9ad1c2", "#7a2e3a"),
)
NAMES = ("NORD", "LUMA", "HALDEN", "MAREN", "OKTO", "SOLEN", "BIRK", "FJELL", "ATELIER", "TONE")
STEEL = Material(("#b4b6b8", "#dcdddd"), "brushed", 0.05, 0.85, 0.2, metal=True)
BRASS = Material(("#d6a158", "#f2d094"), "brushed", 0.05, 0.85, 0.16, metal=True)
CLAY = Material(("#a98f76", "#cdb79d", "#e2d2bc"), "paper", 0.3, 0.03, 0.8)
OAK = Material(("#5d3d22", "#a97c4c", "#d6ae7a"), "wood", 0.06, 0.04, 0.5)
RUBBER = Material(("#161718", "#242628"), "paper", 0.08, 0.04, 0.35)
VASES = (
    ((0, 13), (3, 15), (20, 25), (32, 27), (45, 20), (54, 9), (60, 8), (66, 10)),
    ((0, 16), (4, 20), (16, 24), (28, 20), (38, 8), (62, 5.5), (68, 6.5)),
    ((0, 14), (3, 16), (30, 19), (55, 20), (64, 16), (66, 15)),
    ((0, 12), (3, 16), (14, 22), (26, 15), (38, 17), (50, 12), (58, 7), (64, 8)),
)
FRUIT = ((-0.17, -0.14), (0.14, -0.16), (-0.02, -0.02), (-0.2, 0.06), (0.19, 0.05), (0.0, 0.17))


def lettering(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=max(4, size))


def print_label(rng: Random, size: Size, below: str) -> Image.Image:
    """A printed label as a texture: ink is the darkest colour, the accent the middle one, paper the
    lightest.
    """
    art = Image.blend(Image.new("L", size, 255), paper(rng, size), 0.05)
    draw, (w, h), name = ImageDraw.Draw(art), size, rng.choice(NAMES)
    amount = f"No. {rng.randrange(2, 60)}   -   {rng.choice((120, 250, 330, 500))} ml"
    big, small = min(w * 0.5 / len(name), h * 0.24), min(w * 0.03, h * 0.09)
    for y, text, height in ((0.36, name, big), (0.56, below, small), (0.8, amount, small)):
        draw.text((w / 2, h * y), text, font=lettering(height), fill=12, anchor="mm")
    for y, left in ((0.05, 0.0), (0.675, 0.36), (0.925, 0.0)):
        draw.rectangle((w * left, h * y, w * (1 - left), h * (y + 0.015)), fill=128)
    return art


def band(studio: Studio, shape: Profile, low: float, high: float, below: str) -> Part:
    """A label stuck around a turned body."""
    size = (round(3 * max(shape.radii) * studio.unit), round((high - low) * studio.unit))
    around = Profile.through((low, shape.radius(low) + 0.002), (high, shape.radius(high) + 0.002))
    stock = Material(studio.rng.choice(INKS), "paper", 0.05, 0.04, 0.5)
    return turn(
        studio, around, stock, print_label(studio.rng, size, below), hollow=around.radii[-1]
    )


def top_with(
    studio: Studio, low: float, high: float, radius: float, material: Material
) -> list[Part]:
    """A lid."""
    side = Profile.through(
        (low, radius - 0.004),
        (low + 0.008, radius),
        (high - 0.015, radius),
        (high, radius - 0.016),
        round_by=2,
    )
    return [turn(studio, side, material), plate(studio, (0, high), radius - 0.014, material, 0.03)]


def glazed(rng: Random) -> Material:
    return Material(rng.choice(GLAZES), "glaze", 0.12, 0.05, rng.choice((0.03, 0.06, 0.45)))


def build_mug(studio: Studio) -> list[Part]:
    rng = studio.rng
    skin, wide, high, side = (
        glazed(rng),
        rng.uniform(0.28, 0.34),
        rng.uniform(0.56, 0.74),
        rng.choice((-1, 1)),
    )
    foot, mouth = rng.uniform(0.8, 1.0) * wide, wide - 0.032
    shape = Profile.through(
        (0, foot * 0.88), (0.03, foot), (high - 0.015, wide), (high, wide - 0.02), round_by=2
    )
    drinks = (
        ("#1c0f08", "#3a2114"),
        ("#8a5a34", "#c79a6b"),
        ("#6d7a3a", "#a3ad6a"),
        ("#b9481c", "#d8773a"),
    )
    drink = Material(rng.choice(drinks), shine=0.05, rough=0.04)
    ring = [math.pi * (i / 24 - 0.5) for i in range(25)]
    handle = [
        (side * (wide * 0.9 + 0.21 * math.cos(t)), high * (0.52 + 0.3 * math.sin(t))) for t in ring
    ]
    parts = [
        bend(studio, handle, 0.036, skin),
        look_inside(studio, high, mouth + 0.003, skin, 0.09, drink),
    ]
    parts.append(turn(studio, shape, skin, hollow=mouth))
    if rng.random() < 0.4:
        dip = rng.uniform(0.2, 0.45) * high
        bare = Profile.through(
            (0.002, foot * 0.88), (0.03, foot + 0.002), (dip, shape.radius(dip) + 0.002), round_by=2
        )
        parts.append(turn(studio, bare, CLAY, hollow=bare.radii[-1]))
    return parts


def build_vase(studio: Studio) -> list[Part]:
    rng, skin = studio.rng, glazed(studio.rng)
    shape = Profile.through(*((h / 100, r / 100) for h, r in rng.choice(VASES)), round_by=7)
    high, mouth = shape.top, shape.radii[-1] - 0.015
    parts = [
        look_inside(studio, high, mouth + 0.003, skin, 0.3, RUBBER),
        turn(studio, shape, skin, hollow=mouth),
    ]
    bark = Material(("#4a3a26", "#8d7450"), "brushed", 0.2, 0.03, 0.7)
    berry = Material(
        rng.choice((("#7c1f1c", "#b8453a"), ("#c9b795", "#efe4cc"), ("#3d5a42", "#7f9c78")))
    )
    berries = [turn(studio, Profile.ball(r), berry)[0] for r in (0.013, 0.018, 0.022)]
    for _ in range(rng.choice((0, 3, 5))):
        lean, bow, tall = rng.uniform(-0.3, 0.3), rng.uniform(-0.12, 0.12), rng.uniform(0.25, 0.4)
        path = [
            (lean * t + bow * math.sin(2.5 * t), high - 0.01 + tall * t)
            for t in (i / 20 for i in range(21))
        ]
        parts.append(bend(studio, path, 0.005, bark))
        for x, y in path[7:]:
            left = studio.x + (x + rng.uniform(-0.05, 0.01)) * studio.unit
            above = studio.y - (y + rng.uniform(-0.01, 0.05)) * studio.unit
            parts.append((rng.choice(berries), (round(left), round(above))))
    return parts


def build_bottle(studio: Studio) -> list[Part]:
    rng, wide, rise = studio.rng, studio.rng.uniform(0.16, 0.21), studio.rng.uniform(0.5, 0.62)
    tints = (("#4a1d06", "#7d3a10"), ("#1c4a2c", "#3c7a4c"), ("#1f3f66", "#4373a3"))
    glass = Material(rng.choice(tints), bump=0.01, shine=0.05, rough=0.03, clear=0.75)
    skin = rng.choice((glass, glass, Material(rng.choice(GLAZES), "paper", 0.03, 0.04, 0.45)))
    shoulder = ((rise, wide), (rise + 0.07, wide * 0.85), (rise + 0.15, 0.07), (rise + 0.24, 0.06))
    shape = Profile.through((0, wide * 0.9), (0.02, wide), *shoulder, round_by=6)
    label = band(studio, shape, rng.uniform(0.08, 0.16), rise - 0.08, "body wash  /  fig & cedar")
    cap = rng.choice((RUBBER, BRASS, OAK, STEEL))
    return [
        turn(studio, shape, skin),
        label,
        *top_with(studio, rise + 0.19, rise + 0.33, 0.075, cap),
    ]


def build_ball(studio: Studio) -> list[Part]:
    rng, r = studio.rng, studio.rng.uniform(0.36, 0.42)
    side = round(3 * r * studio.unit)
    art = curve(leather(rng, (side, side)), lambda v: 0.35 + 0.65 * v)
    draw, wide = ImageDraw.Draw(art), max(3, side // 80)
    for x in (0.24, 0.5, 0.76):
        draw.line((side * x, 0, side * x, side), fill=0, width=wide)
    draw.line((0, side * 0.52, side, side * 0.52), fill=0, width=wide)
    hides = (
        ("#1c1512", "#a8501c", "#d97b35"),
        ("#f0e6d0", "#8a3a2a", "#b3543f"),
        ("#d8c9a8", "#23364f", "#3f5876"),
        ("#2a1c12", "#b99468", "#dcc09a"),
    )
    hide = Material(rng.choice(hides), "leather", 0.4, 0.05, 0.35)
    return [turn(studio, Profile.ball(r), hide, art.filter(ImageFilter.BoxBlur(1)))]


def build_book(studio: Studio) -> list[Part]:
    rng, w, h, turned = (
        studio.rng,
        studio.rng.uniform(0.6, 0.75),
        studio.rng.uniform(0.85, 1.0),
        studio.rng.uniform(-18, 18),
    )
    art = Image.new("L", (round(w * 900), round(h * 900)), 240)
    draw = ImageDraw.Draw(art)
    for _ in range(rng.randint(3, 6)):
        r = rng.uniform(50, 150)
        x, y = rng.uniform(70 + r, w * 900 - r - 30), rng.uniform(h * 330 + r, h * 900 - r - 40)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=rng.choice((128, 128, 20, 185)))
    draw.text((w * 110, h * 80), rng.choice(NAMES), font=lettering(w * 150), fill=5)
    draw.text((w * 110, h * 210), "a field guide to quiet things", font=lettering(w * 48), fill=20)
    draw.line((48, 0, 48, h * 900), fill=175, width=9)
    cloth = Material(rng.choice(INKS), "linen", 0.15, 0.03, 0.6)
    art = Image.blend(art.filter(ImageFilter.BoxBlur(1)), linen(rng, art.size), 0.12)
    pages = Material(("#a89a80", "#efe6d2"), "brushed", 0.3, 0.02, 0.9)
    front, (x, y) = lay_card(studio, (0, 0), (w, h), turned, cloth, art)
    leaves, (left, top) = lay_card(studio, (0, 0), (w - 0.01, h - 0.01), turned, pages, None)
    across = complex(0.012, 0.01) * studio.unit * cmath.exp(-1j * math.radians(turned))
    right, down = round(across.real), round(across.imag)
    return [
        (front, (x + 2 * right, y + 2 * down)),
        (leaves, (left + right, top + down)),
        (front, (x, y)),
    ]


def build_candle(studio: Studio) -> list[Part]:
    rng, wide, high = studio.rng, studio.rng.uniform(0.25, 0.31), studio.rng.uniform(0.5, 0.64)
    jar = rng.choice((Material(("#5a2b12", "#8a4a20"), clear=0.6, rough=0.03), glazed(rng), CLAY))
    shape = Profile.through(
        (0, wide * 0.92), (0.02, wide), (high - 0.01, wide), (high, wide - 0.01), round_by=1
    )
    wick = [(0.004 * math.sin(i), high - 0.075 + i * 0.006) for i in range(13)]
    tongue = ((0, 0.002), (0.02, 0.016), (0.04, 0.019), (0.08, 0.01), (0.13, 0.001))
    flame = Profile.through(*((high + h, r) for h, r in tongue), round_by=9)
    fire, at = turn(studio, flame, Material(("#ffa050", "#ffe8c8"), shine=0.0, glow=4.0))
    wax = Material(("#e8dcc0", "#f6efdd"), bump=0.04, glow=0.3)
    return [
        look_inside(studio, high, wide - 0.015, jar, 0.075, wax),
        bend(studio, wick, 0.005, RUBBER),
        turn(studio, shape, jar, hollow=wide - 0.018),
        band(studio, shape, high * 0.2, high * 0.72, "scented candle  /  soy wax"),
        (fire.filter(ImageFilter.GaussianBlur(studio.unit / 250)), at),
    ]


def build_bowl(studio: Studio) -> list[Part]:
    rng, skin, wide, high = (
        studio.rng,
        glazed(studio.rng),
        studio.rng.uniform(0.42, 0.48),
        studio.rng.uniform(0.24, 0.34),
    )
    foot = ((0, wide * 0.42), (0.03, wide * 0.42), (0.05, wide * 0.55))
    shape = Profile.through(
        *foot, (high * 0.5, wide * 0.84), (high - 0.01, wide), (high, wide - 0.015), round_by=5
    )
    peels = (
        ("#b8480c", "#e8861c"),
        ("#c9a012", "#f0cf3a"),
        ("#7d1518", "#c9482c"),
        ("#4d7a1e", "#94b548"),
    )
    peel = Material(rng.choice(peels), "paper", 0.25, 0.05, 0.3)
    pile = [turn(studio, Profile.ball(r), peel) for r in (0.108, 0.122)]
    wall = turn(studio, shape, skin, hollow=wide - 0.03)
    parts = [wall, look_inside(studio, high, wide - 0.027, skin, 0.14, skin)]
    for i, (x, z) in enumerate(FRUIT):
        fruit, (left, top) = pile[i % 2]
        down = round((studio.tilt * z - high + 0.1) * studio.unit)
        parts.append((fruit, (left + round(x * studio.unit), top + down)))
    front = wall[0].copy()
    front.paste(
        (0, 0, 0, 0), (0, 0, front.width, round(studio.y - high * studio.unit) - wall[1][1])
    )
    return [*parts, (front, wall[1])]


def build_lamp(studio: Studio) -> list[Part]:
    rng, foot, high, wide = (
        studio.rng,
        studio.rng.uniform(0.13, 0.2),
        studio.rng.uniform(0.3, 0.42),
        studio.rng.uniform(0.3, 0.36),
    )
    belly = foot * rng.uniform(0.8, 1.2)
    base = Profile.through(
        (0, foot * 0.8),
        (0.03, foot),
        (high * 0.5, belly),
        (high - 0.04, foot * 0.5),
        (high, 0.03),
        round_by=7,
    )
    low, top, narrow = high + 0.1, high + 0.5, wide * rng.uniform(0.55, 0.9)
    cloth = Material(("#a8793c", "#e0bd80", "#fff0cc"), "linen", 0.12, 0.02, 0.9, glow=0.6)
    size = (round(3 * wide * studio.unit), round(0.4 * studio.unit))
    bulb = curve(ImageChops.invert(Image.radial_gradient("L")), lambda v: 0.3 + 0.75 * v).resize(
        size
    )
    return [
        turn(studio, base, rng.choice((glazed(rng), OAK, glazed(rng)))),
        bend(studio, [(0, high - 0.02), (0, high + 0.05), (0, low + 0.1)], 0.014, BRASS),
        look_inside(studio, top, narrow, replace(cloth, glow=0.9), 0.2, cloth),
        turn(
            studio,
            Profile.through((low, wide), (top, narrow), round_by=0),
            cloth,
            Image.blend(bulb, linen(rng, size), 0.25),
            narrow - 0.006,
        ),
    ]


def build_watch(studio: Studio) -> list[Part]:
    rng, metal, r = studio.rng, studio.rng.choice((STEEL, BRASS)), 0.24
    hide = Material(rng.choice(GLAZES), "leather", 0.3, 0.05, 0.4)
    parts = [bend(studio, [(0, -0.9), (0, 0), (0, 0.9)], 0.105, hide)]
    lugs = ([(x, 0.27), (x * 1.06, 0.1), (x * 1.06, -0.1), (x, -0.27)] for x in (-0.128, 0.128))
    parts += (bend(studio, path, 0.022, metal) for path in lugs)
    parts.append(bend(studio, [(0.2, 0), (0.25, 0), (0.285, 0)], 0.03, metal))
    parts += [plate(studio, (0, 0), r, metal, 0.12), plate(studio, (0, 0), r * 0.9, metal, 0.05)]
    face = Material(rng.choice(INKS), bump=0.01, shine=0.05, rough=0.1)
    parts.append(
        plate(studio, (0, 0), r * 0.86, face, 0.02, draw_dial(rng, round(r * 3.4 * studio.unit)))
    )
    for length, width, a in (
        (0.11, 0.007, rng.uniform(3, 6)),
        (0.165, 0.005, rng.uniform(0, 3)),
        (0.18, 0.002, 3.6),
    ):
        x, y = math.sin(a), math.cos(a)
        parts.append(
            bend(studio, [(-0.03 * x, -0.03 * y), (0, 0), (length * x, length * y)], width, metal)
        )
    return [*parts, plate(studio, (0, 0), 0.013, metal, 0.5)]


def draw_dial(rng: Random, side: int) -> Image.Image:
    art = Image.new("L", (side, side), 240)
    draw, c = ImageDraw.Draw(art), side / 2
    for i in range(60):
        a, long = i * math.pi / 30, 0.04 if i % 5 else 0.13
        ends = [
            (c + c * reach * math.sin(a), c - c * reach * math.cos(a))
            for reach in (0.92, 0.92 - long)
        ]
        draw.line([*ends[0], *ends[1]], fill=10, width=max(2, round(side * long / 9)))
    draw.text(
        (c, side * 0.33), rng.choice(NAMES), font=lettering(side * 0.055), fill=10, anchor="mm"
    )
    draw.text((c, side * 0.68), "AUTOMATIC", font=lettering(side * 0.03), fill=128, anchor="mm")
    return art.filter(ImageFilter.BoxBlur(1))


def build_tin(studio: Studio) -> list[Part]:
    rng, wide, high = studio.rng, studio.rng.uniform(0.26, 0.36), studio.rng.uniform(0.3, 0.7)
    metal = rng.choice((STEEL, STEEL, BRASS))
    shape = Profile.through(
        (0, wide), (0.012, wide + 0.008), (0.024, wide), (high, wide), round_by=1
    )
    label = band(studio, shape, 0.03, high - 0.075, "loose leaf tea  /  first flush")
    lid = top_with(studio, high - 0.07, high, wide + 0.01, metal)
    return [
        turn(studio, shape, metal),
        label,
        *lid,
        plate(studio, (0, high + 0.002), wide * 0.84, metal, 0.04),
    ]


def build_jar(studio: Studio) -> list[Part]:
    rng, wide, high = studio.rng, studio.rng.uniform(0.3, 0.37), studio.rng.uniform(0.32, 0.42)
    tints = (("#5a2b12", "#8a4a20"), ("#9fb3ad", "#d9e4e0"), ("#d8d2c6", "#f4f0e8"))
    glass = Material(rng.choice(tints), rough=0.05, clear=0.5)
    shape = Profile.through(
        (0, wide * 0.85), (0.05, wide), (high - 0.05, wide), (high, wide * 0.85), round_by=6
    )
    label = band(studio, shape, 0.09, high - 0.09, "night cream  /  oat & rose")
    lid = top_with(
        studio,
        high - 0.01,
        high + rng.uniform(0.12, 0.18),
        wide * 0.94,
        rng.choice((BRASS, OAK, RUBBER, STEEL)),
    )
    return [turn(studio, shape, glass), label, *lid]


BUILDERS: dict[str, Callable[[Studio], list[Part]]] = {
    build.__name__.removeprefix("build_"): build
    for build in (
        *(build_mug, build_bottle, build_vase, build_ball, build_book, build_candle),
        *(build_bowl, build_lamp, build_watch, build_tin, build_jar),
    )
}
PRODUCTS: tuple[str, ...] = tuple(BUILDERS)
LYING = {"book", "watch"}  # photographed from above
