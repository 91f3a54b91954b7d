"""Textures of seeded noise: glaze, wood, linen, slate, marble, paper, leather, brushed metal."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from halftone_samples.lighting import BICUBIC, Material, Size, Studio, ease


def noise(rng: Random, size: Size, across: float, down: float) -> Image.Image:
    w, h = max(2, min(round(across), size[0])), max(2, min(round(down), size[1]))
    return Image.frombytes("L", (w, h), rng.randbytes(w * h)).resize(size, BICUBIC)


def cloud(rng: Random, size: Size, cells: float, octaves: int = 4) -> Image.Image:
    total = noise(rng, size, cells, cells * size[1] / size[0] + 1)
    for i in range(1, octaves):
        finer = cells * 3**i
        total = Image.blend(total, noise(rng, size, finer, finer * size[1] / size[0] + 1), 0.36)
    return total


def curve(image: Image.Image, shape: Callable[[float], float]) -> Image.Image:
    table = [round(255 * min(1.0, max(0.0, shape(i / 255)))) for i in range(256)]
    return image.point(table * len(image.getbands()))


def plain(rng: Random, size: Size) -> Image.Image:
    return cloud(rng, size, 3, 2)


def glaze(rng: Random, size: Size) -> Image.Image:
    pool = Image.blend(
        Image.blend(plain(rng, size), noise(rng, size, 2, 7), 0.5), Image.new("L", size, 150), 0.5
    )
    specks = noise(rng, size, size[0] / 4, size[1] / 4).filter(ImageFilter.BoxBlur(1))
    return ImageChops.multiply(pool, curve(specks, lambda v: 1 - 0.8 * ease(v, 0.8, 0.92)))


def wood(rng: Random, size: Size) -> Image.Image:
    w, h = size
    rings = Image.blend(noise(rng, size, 3, 14), noise(rng, size, 7, 60), 0.3)
    rings = Image.blend(rings, noise(rng, size, w / 60, h / 2), 0.08)
    rings = curve(rings, lambda v: 0.5 + 0.32 * math.sin(v * 44) + 0.15 * math.sin(v * 17))
    fibres = Image.blend(noise(rng, size, w / 50, h), noise(rng, size, w / 12, h / 2), 0.35)
    pores = curve(noise(rng, size, w / 22, h / 2), lambda v: 1 - 0.5 * ease(v, 0.8, 0.95))
    return ImageChops.multiply(Image.blend(rings, fibres, 0.5), pores)


def planks(rng: Random, size: Size) -> Image.Image:
    grain, boards = wood(rng, size), rng.randint(3, 6)
    edges = [round(i * size[1] / boards) for i in range(boards + 1)]
    seams = Image.new("L", size, 255)
    for top, bottom in pairwise(edges):
        board = ImageChops.offset(grain.crop((0, top, size[0], bottom)), rng.randrange(size[0]), 0)
        grain.paste(
            Image.blend(board, Image.new("L", board.size, rng.randrange(80, 176)), 0.35), (0, top)
        )
        ImageDraw.Draw(seams).line(
            (0, bottom, size[0], bottom), fill=25, width=max(2, size[1] // 300)
        )
    return ImageChops.multiply(grain, seams.filter(ImageFilter.BoxBlur(1)))


def linen(rng: Random, size: Size) -> Image.Image:
    w, h = size
    threads = Image.blend(noise(rng, size, w / 40, h / 4), noise(rng, size, w / 4, h / 40), 0.5)
    row = bytes((200, 70)) * (w // 12 + 1)
    weave = Image.frombytes("L", (len(row), 2 * (h // 12 + 1)), (row + row[::-1]) * (h // 12 + 1))
    return Image.blend(
        Image.blend(threads, weave.resize(size, BICUBIC), 0.4), cloud(rng, size, 4, 3), 0.25
    )


def slate(rng: Random, size: Size) -> Image.Image:
    return Image.blend(cloud(rng, size, 4, 5), noise(rng, size, size[0] / 30, size[1] / 6), 0.2)


def marble(rng: Random, size: Size) -> Image.Image:
    stone = curve(cloud(rng, size, 3, 3), lambda v: 0.55 + 0.45 * v)
    return ImageChops.multiply(
        stone, ImageChops.multiply(vein(rng, size, 2, 0.03), vein(rng, size, 3, 0.015))
    )


def vein(rng: Random, size: Size, cells: int, width: float) -> Image.Image:
    """Veins: dark where one noise field is near its middle grey, fading where a second one is
    light.
    """
    drift = Image.blend(noise(rng, size, cells, cells), noise(rng, size, 9, 9), 0.22)
    drift = Image.blend(drift, noise(rng, size, 40, 40), 0.06)
    dark = curve(drift, lambda v: ease(abs(v - 0.5), 0.0, width))
    return ImageChops.lighter(dark, curve(noise(rng, size, 5, 5), lambda v: 0.3 + v))


def paper(rng: Random, size: Size) -> Image.Image:
    return Image.blend(
        curve(plain(rng, size), lambda v: 0.35 + 0.3 * v),
        noise(rng, size, size[0] / 3, size[1] / 3),
        0.3,
    )


def leather(rng: Random, size: Size) -> Image.Image:
    cells = [noise(rng, size, size[0] / n, size[1] / n) for n in (6, 9)]
    creases = [curve(c, lambda v: 0.6 + 0.4 * ease(abs(v - 0.5), 0.0, 0.16)) for c in cells]
    return Image.blend(ImageChops.multiply(*creases), cloud(rng, size, 3, 3), 0.4)


def brushed(rng: Random, size: Size) -> Image.Image:
    return Image.blend(noise(rng, size, size[0] / 120, size[1]), Image.new("L", size, 150), 0.4)


TEXTURES: dict[str, Callable[[Random, Size], Image.Image]] = {
    f.__name__: f
    for f in (plain, glaze, wood, planks, linen, slate, marble, paper, leather, brushed)
}


def lean_by(height: Image.Image, bump: float) -> tuple[Image.Image, Image.Image]:
    """The slopes of a height map to the right and upwards, centred on 128."""
    right = ImageChops.subtract(height, ImageChops.offset(height, -1, 0), 1 / bump, 128)
    return right, ImageChops.subtract(ImageChops.offset(height, 0, -1), height, 1 / bump, 128)


def roughen(
    studio: Studio, leans: Sequence[Image.Image], material: Material, art: Image.Image | None
) -> Image.Image:
    """The surface map of a material on a large form with the given slopes."""
    size = leans[0].size
    texture = TEXTURES[material.texture](studio.rng, size)
    # On a slowly turning form, the 256 steps would show as bands in a reflection; a little noise
    # hides them.
    dither = Image.frombytes("L", size, studio.rng.randbytes(size[0] * size[1])).point(
        [127 + v // 86 for v in range(256)]
    )
    right, up = (
        ImageChops.add(ImageChops.add(form, fine, 1, -128), dither, 1, -128)
        for form, fine in zip(leans, lean_by(texture, material.bump), strict=True)
    )
    return Image.merge("RGB", (right, up, art or texture))
