"""Pictures that shops have as PNG: cut-outs, drawings and screenshots. Kept under .halftone/bench.

Cut-outs are rendered. Drawings come from Debian's wallpaper packages and scikit-image's data.
Screenshots are those of the README, scaled down until the losses of their WebP no longer show.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

from PIL import Image

from benchmarks.photos import FOLDER
from benchmarks.real_photos import unpacked
from halftone_samples import PRODUCTS, render_cutout

_CUTOUT_SIZE = (900, 900)
# The second cut-out of the first product has another seed.
_CUTOUTS = [*((name, 1) for name in PRODUCTS), (PRODUCTS[0], 2)]
_PLASMA, _MATE = "plasma-workspace-wallpapers/usr/share/wallpapers", "mate-backgrounds/usr/share"
_DRAWINGS = (
    f"{_PLASMA}/FlyingKonqui/contents/images/2560x1600.png",
    f"{_PLASMA}/Kay/contents/images/5120x2880.png",
    f"{_PLASMA}/Patak/contents/images/5120x2880.png",
    f"{_PLASMA}/Kokkini/contents/images/3840x2160.png",
    f"{_MATE}/backgrounds/mate/abstract/Gulp.png",
)
_PAGES = ("start", "request", "operations")
_LOOKS = ("light", "phone")
# Longest side of drawings and screenshots, and the largest factor for screenshots.
_SIDE, _LARGEST_SCALE = 900, 0.6


def cutouts() -> list[Path]:
    """12 products without background."""
    return _made({f"{name}-{seed}": partial(_cutout, name, seed) for name, seed in _CUTOUTS})


def drawings() -> list[Path]:
    """6 drawings and 6 screenshots."""
    import skimage

    logo = Path(skimage.__file__).parent / "data" / "logo.png"
    drawn = [logo, *(unpacked() / path for path in _DRAWINGS)]
    wanted = {f"drawing-{at}": partial(_scaled_down, path, 1) for at, path in enumerate(drawn, 1)}
    for page, look in product(_PAGES, _LOOKS):
        shot = Path("docs/pictures") / f"page-{page}-{look}.webp"
        wanted[shot.stem] = partial(_scaled_down, shot, _LARGEST_SCALE)
    return _made(wanted)


def _made(wanted: Mapping[str, Callable[[], Image.Image]]) -> list[Path]:
    """The PNG of each picture, without compression worth speaking of."""
    folder = FOLDER / "graphics"
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"{name}.png": make for name, make in wanted.items()}
    missing = {path: make for path, make in files.items() if not path.exists()}
    with ProcessPoolExecutor() as pool:
        list(pool.map(_save, missing, missing.values()))
    return list(files)


def _save(path: Path, make: Callable[[], Image.Image]) -> None:
    make().save(path, compress_level=1)


def _cutout(name: str, seed: int) -> Image.Image:
    return render_cutout(name, seed, _CUTOUT_SIZE)


def _scaled_down(path: Path, largest: float) -> Image.Image:
    with Image.open(path) as image:
        shown = image.convert("RGBA" if image.has_transparency_data else "RGB")
        scale = min(_SIDE / max(image.size), largest)
        size = round(image.width * scale), round(image.height * scale)
        return shown.resize(size, Image.Resampling.LANCZOS)
