"""The photographs of the benchmarks: rendered once, kept under .halftone/bench."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from halftone_samples import PRODUCTS, render_cutout, render_photo

FOLDER = Path(".halftone/bench")
LARGE, SMALL = (1500, 1500), (240, 240)
SEEDS = (1, 2)


def photos(size: tuple[int, int]) -> list[Path]:
    """Paths of JPEGs of this size, 4:2:0, quality 92, as a shop serves them."""
    folder = FOLDER / f"{size[0]}x{size[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(product, seed) for product in PRODUCTS for seed in SEEDS]
    with ProcessPoolExecutor() as pool:
        return list(pool.map(partial(_photo, folder, size), wanted))


def originals(size: tuple[int, int]) -> list[Path]:
    """The same photographs as lossless originals."""
    photos(size)
    with ProcessPoolExecutor() as pool:
        return list(
            pool.map(
                partial(_original, size),
                [(product, seed) for product in PRODUCTS for seed in SEEDS],
            )
        )


def graphics() -> list[Path]:
    """PNGs as shops have them: products cut out of their background, and a drawing with
    lettering.
    """
    folder = FOLDER / "graphics"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{product}.png" for product in PRODUCTS[:4]]
    for product, path in zip(PRODUCTS, files, strict=False):
        if not path.exists():
            render_cutout(product, 1, (900, 900)).save(path, compress_level=1)
    drawing = folder / "drawing.png"
    _drawing().save(drawing, compress_level=1)
    return [*files, drawing]


def _drawing() -> Image.Image:
    """A banner: a gradient, shapes with soft edges, lettering."""
    banner = Image.merge(
        "RGB",
        [
            Image.linear_gradient("L").resize((1200, 600)).point(lambda v, k=k: 255 - v // k)
            for k in (2, 3, 5)
        ],
    )
    draw = ImageDraw.Draw(banner)
    for at, colour in enumerate(("#d33", "#fa0", "#283", "#06c")):
        draw.ellipse(
            (100 + 260 * at, 180, 320 + 260 * at, 400), fill=colour, outline="white", width=9
        )
        draw.text(
            (140 + 260 * at, 440), f"No. {at + 1}", fill="black", font=ImageFont.load_default(48)
        )
    return banner.resize((800, 400), Image.Resampling.LANCZOS)


def _original(size: tuple[int, int], wanted: tuple[str, int]) -> Path:
    product, seed = wanted
    path = FOLDER / f"{size[0]}x{size[1]}" / f"{product}-{seed}.png"
    if not path.exists():
        render_photo(product, seed, size).save(path, compress_level=1)
    return path


def _photo(folder: Path, size: tuple[int, int], wanted: tuple[str, int]) -> Path:
    product, seed = wanted
    path = folder / f"{product}-{seed}.jpg"
    if not path.exists():
        render_photo(product, seed, size).save(path, quality=92)
    return path
