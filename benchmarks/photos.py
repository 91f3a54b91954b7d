"""The photographs of the benchmarks: rendered once, kept under .halftone/bench."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from halftone_samples import PRODUCTS, render_photo

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
