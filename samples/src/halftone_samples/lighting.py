"""Light: materials, the studio and its lamps, and the look-up tables that turn a surface into lit
colour.

A surface is a map with three channels: its slope to the right, its slope upwards, and its texture.
A table is computed for one material under one studio's lamps and turns that map into colour.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from random import Random

from PIL import Image, ImageColor, ImageFilter

Size = tuple[int, int]
Vec = tuple[float, float, float]
Point = tuple[float, float]
Part = tuple[
    Image.Image, tuple[int, int]
]  # a lit RGBA piece of the body, and the position of its corner
Patch = tuple[tuple[int, int, int, int], tuple[float, ...]]
ROWS = 160  # rings in the profile of a turned body
BICUBIC, BILINEAR, LANCZOS = (
    Image.Resampling.BICUBIC,
    Image.Resampling.BILINEAR,
    Image.Resampling.LANCZOS,
)
AFFINE = Image.Transform.AFFINE


@dataclass(frozen=True)
class Material:
    """A surface's material: its colours, from the darkest of its texture to the lightest, and how
    it shines.
    """

    colours: tuple[str, ...]
    texture: str = "plain"
    bump: float = 0.02
    shine: float = 0.04
    rough: float = 0.3
    metal: bool = False
    clear: float = 0.0
    glow: float = 0.0


@dataclass(frozen=True)
class Studio:
    """The scene's geometry and light: the frame, the body's position in it, the camera's tilt and
    the lamps.
    """

    rng: Random
    size: Size
    unit: float  # pixels per unit of a product's own measure
    x: float
    y: float
    tilt: float  # how round a level circle looks: 0 from the side, 1 from above
    key: Vec  # towards the main lamp
    warmth: float
    fill: float
    floor: Vec
    wall: Vec
    flat: bool = False  # the body lies down and is photographed from above
    tables: dict[tuple[Material, bool], ImageFilter.Color3DLUT] = field(default_factory=dict)

    @cached_property
    def view(self) -> Vec:
        return (0.0, 0.0, 1.0) if self.flat else unit_vector((0.0, self.tilt, 1.0))

    @cached_property
    def lamps(self) -> tuple[tuple[Vec, Vec, float, float], ...]:
        """A window in front and a strip behind the other shoulder: direction, colour, half width,
        half height.
        """
        w = self.warmth
        window = unit_vector((self.key[0], 0.45 if self.flat else 0.0, self.key[2]))
        strip = unit_vector((-math.copysign(0.97, self.key[0]), 0.0, 0.1))
        warm, cool = (5.5 + 5 * w, 5.5, 5.5 - 7 * w), (2.4 - 2 * w, 2.4, 2.4 + 2 * w)
        return (window, warm, 0.5 if self.flat else 0.26, 0.75), (strip, cool, 0.14, 1.3)


def dot(a: Vec, b: Vec) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def scale(v: Vec, by: float) -> Vec:
    return (v[0] * by, v[1] * by, v[2] * by)


def mix(a: Vec, b: Vec, t: float) -> Vec:
    return (a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t)


def unit_vector(v: Vec) -> Vec:
    return scale(v, 1 / math.sqrt(dot(v, v)))


def ease(x: float, low: float, high: float) -> float:
    t = min(1.0, max(0.0, (x - low) / (high - low)))
    return t * t * (3 - 2 * t)


def linear(colour: str) -> Vec:
    r, g, b = ImageColor.getrgb(colour)[:3]
    return ((r / 255) ** 2.2, (g / 255) ** 2.2, (b / 255) ** 2.2)


def see(studio: Studio, d: Vec, rough: float) -> Vec:
    """The light from direction d, blurred according to the surface's roughness."""
    soft = 0.06 + rough
    seen = mix(
        scale(studio.floor, 0.75), scale(studio.wall, 0.85 + 0.3 * d[1]), ease(d[1], -soft, soft)
    )
    seen = scale(seen, 1 - 0.45 * ease(d[2], -0.2, 1))
    for towards, colour, width, height in studio.lamps:
        ahead = dot(d, towards)
        if ahead > 0.05:
            across = abs(d[0] * towards[2] - d[2] * towards[0]) / ahead
            along = abs(d[1] - ahead * towards[1]) / ahead
            lit = (1 - ease(across, width - soft, width + soft)) * (
                1 - ease(along, height - soft, height + soft)
            )
            seen = mix(seen, colour, lit / (1 + 6 * rough))
    return seen


def gather(studio: Studio, n: Vec) -> Vec:
    """The light that a matt surface with normal n receives from the room, the table and the
    lamps.
    """
    total = scale(mix(scale(studio.floor, 0.8), studio.wall, 0.5 + 0.5 * n[1]), studio.fill)
    (_, warm, _, _), (strip, cool, _, _) = studio.lamps
    for towards, colour, power in ((studio.key, warm, 0.33), (strip, cool, 0.13)):
        facing = power * max(0.0, (dot(n, towards) + 0.2) / 1.2) ** 1.2
        total = (
            total[0] + facing * colour[0],
            total[1] + facing * colour[1],
            total[2] + facing * colour[2],
        )
    return total


def lit_from(studio: Studio, material: Material, n: Vec) -> tuple[Vec, Vec]:
    """The diffuse and the specular light of a surface with normal n."""
    v = studio.view
    facing = max(0.0, dot(n, v))
    back = (2 * facing * n[0] - v[0], 2 * facing * n[1] - v[1], 2 * facing * n[2] - v[2])
    grazing = (1 - facing) ** 5 * max(0.0, 1 - 1.3 * material.rough) ** 2
    mirror = scale(
        see(studio, back, material.rough), material.shine + (1 - material.shine) * grazing
    )
    spread = scale(gather(studio, n), (0.2 if material.metal else 1.0) * (1 - material.clear))
    if material.clear:
        bent = unit_vector((-v[0] - 1.5 * n[0], -v[1] - 1.2 * (n[1] - facing * v[1]), -v[2]))
        spread = mix(spread, see(studio, bent, 0.25), 1.4 * material.clear * ease(facing, 0.0, 0.6))
    return mix(spread, (2.4, 1.9, 1.2), material.glow), mirror


def light_table(studio: Studio, material: Material, up: bool) -> ImageFilter.Color3DLUT:
    """The table from (slope right, slope up, texture) to colour; `up` is for surfaces that lie flat
    on the table.
    """
    steps = 31 if material.rough < 0.2 else 17  # only a polished surface shows a lamp's edges
    ramp = [linear(c) for c in material.colours]
    axis = [i * 2 / (steps - 1) - 1 for i in range(steps)]
    lights = [lit_from(studio, material, normal(a, b, up)) for b in axis for a in axis]
    table = [
        tone(albedo[i] * spread[i] + mirror[i] * (albedo[i] if material.metal else 1.0))
        for albedo in ramp
        for spread, mirror in lights
        for i in (0, 1, 2)
    ]
    return ImageFilter.Color3DLUT((steps, steps, len(ramp)), table)


def normal(a: float, b: float, up: bool) -> Vec:
    length = max(1.0, math.hypot(a, b))
    a, b = a / length, b / length
    c = math.sqrt(max(0.0, 1 - a * a - b * b))
    return (a, c, -b) if up else (a, b, c)


def tone(light: float) -> float:
    """Exposure: highlights roll off as on film instead of clipping."""
    return math.pow(1 - math.exp(-1.15 * max(0.0, light)), 1 / 2.2)


def light_up(
    studio: Studio, material: Material, surface: Image.Image, up: bool = False
) -> Image.Image:
    if (material, up) not in studio.tables:
        studio.tables[material, up] = light_table(studio, material, up)
    return surface.filter(studio.tables[material, up])
