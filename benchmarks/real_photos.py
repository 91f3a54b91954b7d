"""Real photographs, downloaded when a benchmark first needs them and never committed.

They come from Debian's wallpaper packages and scikit-image's data. Each is scaled down until the
losses of its own compression no longer show, then saved as PNG (the reference for scores) and as
the JPEG that a shop would serve.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from PIL import Image

from benchmarks.photos import FOLDER

PACKAGES = (
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
)
# All images at these paths are photographs, except those named in _DRAWN.
_PHOTOGRAPHS = (
    "lomiri-wallpapers-16.04/**/*.jpg",
    "lomiri-wallpapers-20.04/**/Kleiber*.jpg",
    "mate-backgrounds/**/nature/*.jpg",
    "plasma-workspace-wallpapers/**/2560x1600.jpg",
)
_DRAWN = ("analogpattern", "umang", "Autumn")
# These were never JPEGs, so they keep their size.
_SCIKIT_IMAGE = ("astronaut", "chelsea", "coffee", "motorcycle_left")
# Sources are scaled down to at most this many pixels a side, and at least by this factor.
_SIDE, _LARGEST_SCALE, SHOP_QUALITY = 1500, 0.6, 92


@dataclass(frozen=True)
class Sample:
    """A lossless picture, and the JPEG of it that a shop would serve."""

    name: str
    original: Path
    jpeg: Path


def photographs() -> list[Sample]:
    """At least 24, of at most 1500 pixels a side, sorted by name."""
    import skimage

    data = Path(skimage.__file__).parent / "data"
    small = (data / f"{name}.png" for name in _SCIKIT_IMAGE)
    folder = FOLDER / "photographs"
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for source in chain(_found(), small):
        name = _name_of(source)
        sample = Sample(name, folder / f"{name}.png", folder / f"{name}.jpg")
        if not sample.jpeg.exists():
            scaled = _scaled_down(source)
            scaled.save(sample.original, compress_level=1)
            scaled.save(sample.jpeg, quality=SHOP_QUALITY)
        samples.append(sample)
    return sorted(samples, key=lambda sample: sample.name)


def _found() -> Iterator[Path]:
    for pattern in _PHOTOGRAPHS:
        for path in sorted(unpacked().glob(pattern)):
            if not _name_of(path).startswith(_DRAWN):
                yield path


def _name_of(path: Path) -> str:
    """The picture's name. Plasma names files by their size, so there it is the folder's name."""
    name = path.parents[2].name if path.parents[1].name == "contents" else path.stem
    return name.split("_by")[0]


def unpacked() -> Path:
    """The folder of the unpacked packages."""
    folder = FOLDER / "packages"
    for package in PACKAGES:
        if not (folder / package).exists():
            _unpack(package, folder / package)
    return folder


def _unpack(package: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        # apt's sandbox user has no write permission here.
        command = ["apt-get", "-o", "APT::Sandbox::User=root", "download", package]
        subprocess.run(command, cwd=temporary, check=True, stdout=subprocess.DEVNULL)
        archive = next(Path(temporary).glob("*.deb"))
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        subprocess.run(["dpkg-deb", "-x", archive, partial], check=True)
        partial.rename(target)


def _scaled_down(path: Path) -> Image.Image:
    with Image.open(path) as image:
        largest = 1 if path.stem in _SCIKIT_IMAGE else _LARGEST_SCALE
        scale = min(_SIDE / max(image.size), largest)
        size = round(image.width * scale), round(image.height * scale)
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
