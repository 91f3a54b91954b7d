"""The codec compared with other libraries on the same photographs: `python -m benchmarks codec` and
`… codec-png`.

Each library has its own processes, with the codec processes' allocator. Libraries take turns, round
by round, so that disturbances of the machine affect all alike. Measured are images per CPU-second,
and the size and quality of the results.
"""

import io
import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.figures import Figure, at_least, at_most
from benchmarks.graphics import cutouts
from benchmarks.photos import FOLDER, LARGE, originals, photos
from halftone_shared.model.options import ImageOptions
from halftone_workers.codec import requantising
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.pipeline import compress
from halftone_workers.codec_processes.handle import codec_environment

ROUNDS, PHOTOS, QUALITY = 6, 12, 50
Codec = Callable[[bytes], bytes]


def _ours(data: bytes) -> bytes:
    return compress(data, ImageOptions(quality=QUALITY), CodecLimits()).data or data


def _ours_by_pillow(data: bytes) -> bytes:
    requantising.accelerator = None
    return _ours(data)


def _pillow(data: bytes) -> bytes:
    return _saved(Image.open(io.BytesIO(data)), "JPEG", quality=QUALITY)


def _pillow_optimised(data: bytes) -> bytes:
    return _saved(Image.open(io.BytesIO(data)), "JPEG", quality=QUALITY, optimize=True)


def _libvips(data: bytes) -> bytes:
    return _vips(data, optimize_coding=False)


def _libvips_optimised(data: bytes) -> bytes:
    return _vips(data, optimize_coding=True)


def _vips(data: bytes, **how: Any) -> bytes:
    import pyvips

    image = pyvips.Image.new_from_buffer(data, "", access="sequential")
    saved: bytes = image.jpegsave_buffer(Q=QUALITY, **how)
    return saved


def _simplejpeg(data: bytes) -> bytes:
    import simplejpeg

    encoded: bytes = simplejpeg.encode_jpeg(
        simplejpeg.decode_jpeg(data), quality=QUALITY, colorsubsampling="420"
    )
    return encoded


def _pillow_png(data: bytes) -> bytes:
    return _saved(Image.open(io.BytesIO(data)).quantize(256), "PNG", optimize=True)


def _saved(image: Image.Image, name: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **how)
    return buffer.getvalue()


CODECS: dict[str, Codec] = {
    "Pillow": _pillow,
    "Pillow, optimised": _pillow_optimised,
    "libvips": _libvips,
    "libvips, optimised": _libvips_optimised,
    "simplejpeg": _simplejpeg,
    "halftone by Pillow alone": _ours_by_pillow,
    "halftone": _ours,
}
PNG_CODECS: dict[str, Codec] = {"Pillow, quantize and optimize": _pillow_png, "halftone": _ours}
_SHARP = """
const sharp = require('sharp'), fs = require('fs');
const lines = require('readline').createInterface({input: process.stdin});
sharp.concurrency(1); sharp.cache(false);
lines.on('line', async (line) => {
  const [folder, ...files] = JSON.parse(line), before = process.cpuUsage();
  for (const [at, file] of files.entries())
    const jpeg = await sharp(fs.readFileSync(file)).jpeg({quality: QUALITY}).toBuffer();
    fs.writeFileSync(`${folder}/${at}`, jpeg);
  const used = process.cpuUsage(before);
  console.log((used.user + used.system) / 1e6);
});
"""


class _Library:
    """A library in its own process: `run` compresses the files once and returns the CPU seconds and
    the results.
    """

    def __init__(self, name: str) -> None:
        command = [sys.executable, "-m", "benchmarks.codec", name]
        self._process = subprocess.Popen(
            command,
            env=codec_environment() | {"PYTHONPATH": "."},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(self, files: Sequence[Path]) -> tuple[float, list[bytes]]:
        assert self._process.stdin
        assert self._process.stdout
        pickle.dump(list(files), self._process.stdin)
        self._process.stdin.flush()
        answer: tuple[float, list[bytes]] = pickle.load(self._process.stdout)  # noqa: S301 - our own child's
        return answer

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


class _Sharp:
    """sharp, in Node, if npm can install it."""

    def __init__(self) -> None:
        self._folder = FOLDER / "npm"
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / "node_modules" / "sharp").exists():
            subprocess.run(["npm", "install", "--silent", "sharp"], cwd=self._folder, check=True)
        (self._folder / "out").mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            ["node", "-e", _SHARP.replace("QUALITY", str(QUALITY))],
            cwd=self._folder,
            env=os.environ | codec_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, files: Sequence[Path]) -> tuple[float, list[bytes]]:
        assert self._process.stdin
        assert self._process.stdout
        out = (self._folder / "out").resolve()
        self._process.stdin.write(
            json.dumps([str(out), *(str(path.resolve()) for path in files)]) + "\n"
        )
        self._process.stdin.flush()
        seconds = float(self._process.stdout.readline())
        return seconds, [(out / str(at)).read_bytes() for at in range(len(files))]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def jpegs() -> list[Figure]:
    """JPEG of 1500 × 1500 to quality 50: images a CPU-second, bytes, PSNR against the photograph
    and against its JPEG.
    """
    files = photos(LARGE)[:PHOTOS]
    libraries: dict[str, Callable[[], _Library | _Sharp]] = {
        name: partial(_Library, name) for name in CODECS
    }
    if shutil.which("npm"):
        libraries["sharp"] = _Sharp
    speed, results = _rounds(libraries, files)
    found = {name: _quality(data, originals(LARGE)[:PHOTOS]) for name, data in results.items()}
    to_source = {name: _quality(data, files)[0] for name, data in results.items()}
    figures = [
        figure
        for name in speed
        for figure in (
            Figure(name, speed[name], "images/CPU-s"),
            Figure("", _mean_kilobytes(results[name]), "kB"),
            Figure("", found[name][0], "dB PSNR to the photograph"),
            Figure("", to_source[name], "dB PSNR to the JPEG"),
            Figure("", found[name][1], "SSIM"),
        )
    ]
    pillow, vips = speed["Pillow, optimised"], speed["libvips, optimised"]
    bytes_ratio = _mean_kilobytes(results["halftone"]) / _mean_kilobytes(
        results["Pillow, optimised"]
    )
    return [
        *figures,
        at_least("halftone ÷ Pillow, optimised", speed["halftone"] / pillow, "×", 1.5),
        at_least("halftone ÷ libvips, optimised", speed["halftone"] / vips, "×", 2),
        at_most("its bytes ÷ Pillow's", bytes_ratio, "×", 1.03),
        at_least(
            "its PSNR − Pillow's", found["halftone"][0] - found["Pillow, optimised"][0], "dB", 0
        ),
        at_least("… to the JPEG", to_source["halftone"] - to_source["Pillow, optimised"], "dB", 0),
        at_least(
            "without the accelerator ÷ Pillow, optimised",
            speed["halftone by Pillow alone"] / pillow,
            "×",
            1,
        ),
    ]


def pngs() -> list[Figure]:
    """PNG at quality 50: photographs and cut-outs, compared with Pillow's quantize and optimize."""
    figures = []
    for kind, files in (("photographs", originals(LARGE)[:6]), ("cut-outs", cutouts()[:4])):
        speed, results = _rounds(
            {name: partial(_Library, name) for name in PNG_CODECS}, files, rounds=1
        )
        found = {name: _quality(data, files) for name, data in results.items()}
        ours, theirs = "halftone", "Pillow, quantize and optimize"
        for name in (theirs, ours):
            figures += [
                Figure(f"{kind}: {name}", _mean_kilobytes(results[name]), "kB"),
                Figure("", found[name][1], "SSIM"),
                Figure("", speed[name], "images/CPU-s"),
            ]
        share = _mean_kilobytes(results[ours]) / _mean_kilobytes(results[theirs])
        figures += [
            at_most(f"{kind}: bytes ÷ Pillow's", share, "×", 1),
            at_least(f"{kind}: SSIM − Pillow's", found[ours][1] - found[theirs][1], "", 0),
        ]
    return figures


def _rounds(
    libraries: "Mapping[str, Callable[[], _Library | _Sharp]]",
    files: Sequence[Path],
    rounds: int = ROUNDS,
) -> tuple[dict[str, float], dict[str, list[bytes]]]:
    """Images a CPU-second (of the median round) and the results, by library.

    Each library gets a new process in each round, because the speed of a process depends on where
    its memory happens to be.
    """
    seconds: dict[str, list[float]] = {name: [] for name in libraries}
    results: dict[str, list[bytes]] = {}
    for _ in range(rounds):
        for name, start in libraries.items():
            library = start()
            library.run(files)  # the first one warms up
            used, results[name] = library.run(files)
            seconds[name].append(used)
            library.close()
    return {name: len(files) / statistics.median(used) for name, used in seconds.items()}, results


def _mean_kilobytes(results: Sequence[bytes]) -> float:
    return statistics.mean(len(data) for data in results) / 1000


def _quality(results: Sequence[bytes], sources: Sequence[Path]) -> tuple[float, float]:
    """PSNR in dB over all channels, and SSIM of the luma in windows of 8 × 8, each the mean over
    the images.
    """
    pairs = [
        (_pixels(io.BytesIO(data)), _pixels(path))
        for data, path in zip(results, sources, strict=True)
    ]
    psnr = [10 * np.log10(255**2 / np.mean((one - other) ** 2)) for one, other in pairs]
    luma = np.array([0.299, 0.587, 0.114])
    return float(np.mean(psnr)), float(
        np.mean([_ssim(one @ luma, other @ luma) for one, other in pairs])
    )


def _pixels(file: Any) -> Any:
    """The pixels on a white background."""
    image = Image.open(file).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"), float)


def _ssim(one: Any, other: Any) -> float:
    def means(values: Any) -> Any:
        height, width = (side // 8 * 8 for side in values.shape)
        return values[:height, :width].reshape(height // 8, 8, width // 8, 8).mean(axis=(1, 3))

    mean_one, mean_other = means(one), means(other)
    variance_one, variance_other = means(one**2) - mean_one**2, means(other**2) - mean_other**2
    covariance = means(one * other) - mean_one * mean_other
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean_one * mean_other + c1) * (2 * covariance + c2)) / (
        (mean_one**2 + mean_other**2 + c1) * (variance_one + variance_other + c2)
    )
    return float(similarity.mean())


def main() -> None:
    codec = (CODECS | PNG_CODECS)[sys.argv[1]]
    while True:
        try:
            files: list[Path] = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent's
        except EOFError:
            return
        images = [path.read_bytes() for path in files]
        before = time.process_time()
        results = [codec(image) for image in images]
        pickle.dump((time.process_time() - before, results), sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
