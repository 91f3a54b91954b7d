"""`python -m benchmarks quality`: bytes for the same visible quality, compared with other encoders.

It uses real photographs, rendered ones, cut-outs and drawings. Each encoder gives a curve of bytes
against SSIMULACRA2 and one against butteraugli's 3-norm, both scored against the lossless original.
Compared are the bytes at the scores of Pillow's quality 50. CPU time covers everything from the
shop's bytes to the result, the least of three runs. HALFTONE_BENCH_IMAGES=8 measures only that many
photographs.
"""

import io
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp, log
from pathlib import Path
from typing import Any

from PIL import Image

import halftone_jpeg
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.photos import graphics
from benchmarks.real_photos import Sample, photographs
from halftone_shared.model.image_formats import Format
from halftone_shared.model.options import Effort, ImageOptions, Mode
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.pipeline import compress

IMAGES = int(os.environ.get("HALFTONE_BENCH_IMAGES", "1000"))
QUALITY, ROUNDS = 50, 3
Encode = Callable[[bytes, float], bytes]


def _pillow(source: bytes, quality: float) -> bytes:
    with Image.open(io.BytesIO(source)) as image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=round(quality), optimize=True)
    return buffer.getvalue()


def _vips(source: bytes, quality: float, **how: Any) -> bytes:
    import pyvips

    image = pyvips.Image.new_from_buffer(source, "", access="sequential")
    saved: bytes = image.jpegsave_buffer(Q=round(quality), optimize_coding=True, **how)
    return saved


def _mozjpeg(source: bytes, quality: float) -> bytes:
    return _vips(
        source,
        quality,
        interlace=True,
        trellis_quant=True,
        overshoot_deringing=True,
        optimize_scans=True,
        quant_table=3,
    )


def _jpegli(source: bytes, quality: float) -> bytes:
    import ajpegli
    import numpy as np

    with Image.open(io.BytesIO(source)) as image:
        pixels = np.asarray(image.convert("RGB"))
    encoded: bytes = ajpegli.encode(pixels, quality=round(quality), subsampling="420")
    return encoded


def _ours(source: bytes, quality: float, *, effort: Effort, output: Format | None = None) -> bytes:
    options = ImageOptions(quality=round(quality), effort=effort, format=output)
    return compress(source, options, CodecLimits()).data or source


JPEG_ENCODERS: dict[str, tuple[Encode, Sequence[float]]] = {
    "Pillow, optimised": (_pillow, (35, QUALITY, 65)),
    "mozjpeg (libvips)": (_mozjpeg, (38, 50, 62)),
    "jpegli (ajpegli)": (_jpegli, (30, 42, 55)),
    **{f"halftone {each}": (partial(_ours, effort=each), (35, QUALITY, 65)) for each in Effort},
}


@dataclass(frozen=True)
class Point:
    """An encoded image: the logarithm of its bytes, and its scores (higher is better)."""

    log_bytes: float
    ssimulacra2: float
    butteraugli: float


def ssimulacra2(original: Image.Image, encoded: bytes) -> float:
    """Computed by halftone-jpeg: the same as the package ssimulacra2, in a tenth of the time."""
    shown = _on_white(Image.open(io.BytesIO(encoded)))
    score: float = halftone_jpeg.ssimulacra2(original.tobytes(), shown.tobytes(), *original.size)
    return score


def _on_white(image: Image.Image) -> Image.Image:
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image.convert("RGBA"))
    return ground.convert("RGB")


def butteraugli(original: Path, encoded: bytes) -> float:
    """The 3-norm from Debian's butteraugli_main (libjxl-devtools), negated."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(encoded)
        file.flush()
        command = ["butteraugli_main", str(original), file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return -float(said.split("3-norm:")[1])


def _curve(sample: Sample, encode: Encode, qualities: Sequence[float]) -> list[Point]:
    source, original = sample.jpeg.read_bytes(), _on_white(Image.open(sample.original))
    points = []
    for quality in qualities:
        encoded = encode(source, quality)
        points.append(
            Point(
                log(len(encoded)),
                ssimulacra2(original, encoded),
                butteraugli(sample.original, encoded),
            )
        )
    return points


def _log_bytes_at(curve: Sequence[Point], score: float, of: str) -> float:
    """Interpolates linearly between the points; beyond them it extends the outermost segment."""
    xs: list[float] = [getattr(point, of) for point in curve]
    above = min(max(bisect_left(xs, score), 1), len(xs) - 1)
    before, after = curve[above - 1], curve[above]
    share = (score - xs[above - 1]) / ((xs[above] - xs[above - 1]) or 1)
    return before.log_bytes + (after.log_bytes - before.log_bytes) * share


def _cpu_milliseconds(encode: Encode, source: bytes) -> float:
    least = float("inf")
    for _ in range(ROUNDS):
        before = time.process_time()
        encode(source, QUALITY)
        least = min(least, time.process_time() - before)
    return 1000 * least


def jpegs() -> list[Figure]:
    """JPEG to JPEG: bytes at the scores of Pillow's quality 50, and CPU time; medians."""
    samples = photographs()[:: max(1, len(photographs()) // IMAGES)]
    if not shutil.which("butteraugli_main"):
        raise SystemExit("This section needs butteraugli_main: apt-get install libjxl-devtools")
    curves = {
        name: [_curve(sample, encode, qualities) for sample in samples]
        for name, (encode, qualities) in JPEG_ENCODERS.items()
    }
    figures = [Figure("photographs", len(samples), "")]
    for name, (encode, _) in JPEG_ENCODERS.items():
        cpu = [_cpu_milliseconds(encode, sample.jpeg.read_bytes()) for sample in samples]
        figures += [
            _ratio(name, curves, "ssimulacra2"),
            _ratio("", curves, "butteraugli", name),
            Figure("", statistics.median(cpu), "ms of CPU"),
        ]
    apart = [
        ours[1].ssimulacra2 - pillows[1].ssimulacra2
        for ours, pillows in zip(
            curves["halftone balanced"], curves["Pillow, optimised"], strict=True
        )
    ]
    score = at_least("score at quality 50 − Pillow's", statistics.median(apart), "", -1)
    return [*figures, score]


_GOALS = {
    ("halftone balanced", "ssimulacra2"): 0.75,
    ("halftone balanced", "butteraugli"): 0.80,
    ("halftone fast", "ssimulacra2"): 0.90,
}


def _ratio(
    label: str, curves: Mapping[str, Sequence[Sequence[Point]]], metric: str, of: str = ""
) -> Figure:
    name = of or label
    ratios = []
    for reference, curve in zip(curves["Pillow, optimised"], curves[name], strict=True):
        score = getattr(reference[1], metric)
        ratios.append(exp(_log_bytes_at(curve, score, metric) - reference[1].log_bytes))
    value, unit = statistics.median(ratios), f"× Pillow's bytes at equal {metric}"
    goal = _GOALS.get((name, metric))
    return Figure(label, value, unit) if goal is None else at_most(label, value, unit, goal)


def pngs() -> list[Figure]:
    """PNG at quality 50 compared with the JPEG of quality 50: score, bytes, CPU time; each
    graphic.
    """
    figures = []
    for path in graphics():
        source, original = path.read_bytes(), _on_white(Image.open(path))
        before = time.process_time()
        encoded = compress(source, ImageOptions(), CodecLimits()).data or source
        cpu = time.process_time() - before
        buffer = io.BytesIO()
        original.save(buffer, "JPEG", quality=QUALITY)
        apart = ssimulacra2(original, encoded) - ssimulacra2(original, buffer.getvalue())
        figures += [
            at_least(f"{path.stem}: score − the JPEG's", apart, "", -3),
            Figure("", len(encoded) / 1000, "kB"),
            Figure("", 1000 * cpu, "ms of CPU"),
        ]
    return figures


def visual() -> list[Figure]:
    """`mode=visual`: how close it gets to its target, over photographs, formats and targets."""
    apart = []
    for sample in photographs()[:: max(1, len(photographs()) // IMAGES)]:
        with Image.open(sample.jpeg) as image:
            shown = _on_white(image)
        for output in (None, Format.WEBP):
            for target in (50, 70, 85):
                options = ImageOptions(mode=Mode.VISUAL, target=target, format=output)
                data = compress(sample.jpeg.read_bytes(), options, CodecLimits()).data
                if data is not None:
                    apart.append(abs(ssimulacra2(shown, data) - target))
    share = sum(each <= 2 for each in apart) / len(apart)
    return [
        Figure("results", len(apart), ""),
        Figure("median distance to the target", statistics.median(apart), ""),
        at_least("within 2 points", share, "of all", 0.9),
    ]


def quality() -> list[Figure]:
    """JPEG, then PNG, then mode=visual."""
    return [*jpegs(), *pngs(), *visual()]
