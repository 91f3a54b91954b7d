"""`python -m benchmarks quality`: bytes for the same visible quality, compared with other encoders.

It uses real photographs, and for PNG 12 rendered cut-outs, 6 drawings and 6 screenshots. Each
encoder gives a curve of bytes against SSIMULACRA2 and one against butteraugli's 3-norm, both scored
against the lossless original. Compared are the bytes at the scores of Pillow's quality 50. CPU time
covers everything from the shop's bytes to the result, the least of three runs.
HALFTONE_BENCH_IMAGES=8 measures only that many photographs. Measured points are kept in
.halftone/bench/points, so a run that was stopped continues there; a changed codec measures its own
points again.
"""

import hashlib
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from math import exp, log
from pathlib import Path
from typing import Any

from PIL import Image

import halftone_jpeg
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.graphics import cutouts, drawings
from benchmarks.photos import FOLDER
from benchmarks.real_photos import Sample, photographs
from halftone_shared.model.image_formats import Format
from halftone_shared.model.options import Effort, ImageOptions, Mode
from halftone_workers.codec import quality_scale
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.pipeline import compress
from halftone_workers.codec.steps.resize import scaled

IMAGES = int(os.environ.get("HALFTONE_BENCH_IMAGES", "1000"))
QUALITY, ROUNDS = 50, 3
HALF, _LIBVIPS = 0.5, "libvips' thumbnail"
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


_SHARP = """
const sharp = require('sharp'), [file, quality, mozjpeg] = process.argv.slice(1);
sharp(file).jpeg({quality: +quality, mozjpeg: mozjpeg === 'true'}).toBuffer()
  .then((data) => process.stdout.write(data));
"""


def _sharp(source: bytes, quality: float, *, mozjpeg: bool) -> bytes:
    """sharp in Node. Its CPU time includes Node's start, so it is not compared."""
    folder = FOLDER / "npm"
    if not (folder / "node_modules" / "sharp").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "sharp"], cwd=folder, check=True)
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(source)
        file.flush()
        command = ["node", "-e", _SHARP, file.name, str(round(quality)), str(mozjpeg).lower()]
        return subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout


def _by_command(source: bytes, quality: float, *, command: Sequence[str], suffix: str) -> bytes:
    """A command with the places {quality}, {source} and {result}."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "source.jpg", Path(folder) / f"result.{suffix}"
        given.write_bytes(source)
        places = {"quality": round(quality), "source": given, "result": made}
        filled = [word.format(**places) for word in command]
        subprocess.run(filled, check=True, capture_output=True)
        return made.read_bytes()


_CWEBP = ("cwebp", "-q", "{quality}", "{source}", "-o", "{result}")
# Quality 0-100 as quantisers 63-0; avifenc's default is one job.
_REFERENCE, _DEFAULTS = "Pillow, optimised", (20, 35, QUALITY, 65, 80)
# The place of the quality at which encoders are compared, and of those next to it, which have a
# butteraugli score: that takes ten times as long as SSIMULACRA2.
_CENTRE, _WITH_BUTTERAUGLI = 2, slice(1, 4)


def _avifenc(source: bytes, quality: float) -> bytes:
    quantiser = str(round(63 - 0.63 * quality))
    command = ("avifenc", "--min", quantiser, "--max", quantiser, "-j", "1", "{source}", "{result}")
    return _by_command(source, quality, command=command, suffix="avif")


JPEG_ENCODERS: dict[str, tuple[Encode, Sequence[float]]] = {
    _REFERENCE: (_pillow, _DEFAULTS),
    "mozjpeg (libvips)": (_mozjpeg, (24, 38, 50, 62, 78)),
    "jpegli (ajpegli)": (_jpegli, (16, 30, 42, 55, 75)),
    "sharp": (partial(_sharp, mozjpeg=False), _DEFAULTS),
    "sharp, mozjpeg": (partial(_sharp, mozjpeg=True), (24, 38, 50, 62, 78)),
    **{f"halftone {each}": (partial(_ours, effort=each), _DEFAULTS) for each in Effort},
}
# Each list begins with the library's own defaults, which the others are compared with.
MODERN_ENCODERS: dict[str, dict[str, tuple[Encode, Sequence[float]]]] = {
    "WebP": {
        "cwebp": (partial(_by_command, command=_CWEBP, suffix="webp"), (20, 40, 60, 75, 85)),
        **{
            f"halftone WebP {each}": (
                partial(_ours, effort=each, output=Format.WEBP),
                _DEFAULTS,
            )
            for each in Effort
        },
    },
    "AVIF": {
        "avifenc": (_avifenc, (28, 40, 50, 62, 74)),
        **{
            f"halftone AVIF {each}": (
                partial(_ours, effort=each, output=Format.AVIF),
                _DEFAULTS,
            )
            for each in Effort
        },
    },
}
_ALL_ENCODERS = JPEG_ENCODERS | MODERN_ENCODERS["WebP"] | MODERN_ENCODERS["AVIF"]


@dataclass(frozen=True)
class Point:
    """An encoded image: the logarithm of its bytes, and its scores (higher is better)."""

    log_bytes: float
    ssimulacra2: float
    cpu_milliseconds: float
    butteraugli: float = 0.0


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


def _kept(sample: Sample, name: str, quality: float, kind: str, measure: Callable[[], Any]) -> Any:
    """What `measure` returns, as JSON. It is measured once, and then read from its file."""
    folder = FOLDER / "points"
    path = folder / f"{_codec_version(name)}-{sample.name}-{name}-{quality}{kind}.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial_path = path.with_suffix(f".{os.getpid()}")
        partial_path.write_text(json.dumps(measure()))
        partial_path.rename(path)
    return json.loads(path.read_text())


def _point(sample: Sample, name: str, quality: float) -> Point:
    encode, qualities = _ALL_ENCODERS[name]

    def measure() -> dict[str, float]:
        source, original = sample.jpeg.read_bytes(), _on_white(Image.open(sample.original))
        encoded = encode(source, quality)
        is_timed = quality == qualities[_CENTRE]
        point = Point(
            log(len(encoded)),
            ssimulacra2(original, encoded),
            _cpu_milliseconds(encode, source, quality) if is_timed else 0.0,
        )
        return asdict(point)

    return Point(**_kept(sample, name, quality, "", measure))


def _with_butteraugli(sample: Sample, name: str, quality: float, point: Point) -> Point:
    encode, _ = _ALL_ENCODERS[name]

    def measure() -> float:
        return butteraugli(sample.original, encode(sample.jpeg.read_bytes(), quality))

    return replace(point, butteraugli=_kept(sample, name, quality, "-butteraugli", measure))


@cache
def _codec_version(name: str) -> str:
    """Changes with the codec's modules, parameters and native code; "peer" for other encoders."""
    if not name.startswith("halftone"):
        return "peer"
    own = sorted(Path(quality_scale.__file__).parent.glob("*.*"))
    own += sorted(Path(halftone_jpeg.__file__).parent.glob("_native*"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in own)).hexdigest()[:12]


def _curve(sample: Sample, name: str, has_butteraugli: bool) -> list[Point]:
    qualities = _ALL_ENCODERS[name][1]
    points = [_point(sample, name, quality) for quality in qualities]
    if has_butteraugli:
        points[_WITH_BUTTERAUGLI] = [
            _with_butteraugli(sample, name, quality, point)
            for quality, point in list(zip(qualities, points, strict=True))[_WITH_BUTTERAUGLI]
        ]
    return points


def _curves(
    samples: Sequence[Sample], names: Sequence[str], *, has_butteraugli: bool = False
) -> dict[str, list[list[Point]]]:
    """The curves of each encoder, one a sample, measured side by side."""
    with ProcessPoolExecutor() as pool:
        pending = {
            (sample.name, name): pool.submit(_curve, sample, name, has_butteraugli)
            for sample in samples
            for name in names
        }
        return {name: [pending[sample.name, name].result() for sample in samples] for name in names}


def _log_bytes_at(curve: Sequence[Point], score: float, of: str) -> float:
    """Interpolates linearly between the points; beyond them it extends the outermost segment."""
    if of == "butteraugli":
        curve = curve[_WITH_BUTTERAUGLI]
    xs: list[float] = [getattr(point, of) for point in curve]
    above = min(max(bisect_left(xs, score), 1), len(xs) - 1)
    before, after = curve[above - 1], curve[above]
    share = (score - xs[above - 1]) / ((xs[above] - xs[above - 1]) or 1)
    return before.log_bytes + (after.log_bytes - before.log_bytes) * share


def _cpu_seconds() -> float:
    """Of this process and of the commands that it ran."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _cpu_milliseconds(encode: Encode, source: bytes, quality: float) -> float:
    least = float("inf")
    for _ in range(ROUNDS):
        before = _cpu_seconds()
        encode(source, quality)
        least = min(least, _cpu_seconds() - before)
    return 1000 * least


def _chosen(every: int = 1) -> list[Sample]:
    samples = photographs()[::every]
    return samples[:: max(1, len(samples) // IMAGES)][:IMAGES]


def _need(command: str, package: str) -> None:
    """Raises SystemExit if the machine lacks a command of a Debian package."""
    if not shutil.which(command):
        raise SystemExit(f"This section needs {command}: apt-get install {package}")


def jpegs() -> list[Figure]:
    """JPEG to JPEG: bytes at the scores of Pillow's quality 50, and CPU time; medians."""
    _need("butteraugli_main", "libjxl-devtools")
    samples = _chosen()
    curves = _curves(samples, list(JPEG_ENCODERS), has_butteraugli=True)
    figures = [Figure("photographs", len(samples), "")]
    for name in JPEG_ENCODERS:
        cpu = [curve[_CENTRE].cpu_milliseconds for curve in curves[name]]
        figures += [_ratio(name, curves, "ssimulacra2"), _ratio("", curves, "butteraugli", name)]
        if not name.startswith("sharp") and all(cpu):
            figures.append(Figure("", statistics.median(cpu), "ms of CPU"))
    apart = [
        ours[_CENTRE].ssimulacra2 - pillows[_CENTRE].ssimulacra2
        for ours, pillows in zip(curves["halftone balanced"], curves[_REFERENCE], strict=True)
    ]
    score = at_least("score at quality 50 − Pillow's", statistics.median(apart), "", -1)
    return [*figures, score]


def modern() -> list[Figure]:
    """WebP and AVIF: bytes at the score of the library's own command at its defaults; medians.

    It uses every fourth photograph, since AVIF takes seconds for each.
    """
    _need("cwebp", "webp")
    _need("avifenc", "libavif-bin")
    samples = _chosen(every=4)
    figures = []
    for encoders in MODERN_ENCODERS.values():
        reference = next(iter(encoders))
        curves = _curves(samples, list(encoders))
        figures += [_ratio(name, curves, "ssimulacra2", reference=reference) for name in encoders]
    return figures


def scale() -> list[Figure]:
    """The quality scale: how far each format's score is from that of Pillow's JPEG of the same
    quality, over every second photograph.
    """
    samples = _chosen(every=2)
    formats = ["halftone balanced", "halftone WebP balanced", "halftone AVIF balanced"]
    curves = _curves(samples, [_REFERENCE, *formats])
    figures = [Figure("photographs", len(samples), "")]
    for name in formats:
        for at, quality in enumerate(_DEFAULTS):
            apart = [
                ours[at].ssimulacra2 - pillows[at].ssimulacra2
                for ours, pillows in zip(curves[name], curves[_REFERENCE], strict=True)
            ]
            share = sum(abs(each) <= 5 for each in apart) / len(apart)
            label = f"{name} at {quality}: within 5 points of Pillow's"
            goal_met = at_least(label, share, "of all", 0.9)
            figures += [
                goal_met if quality == QUALITY else Figure(label, share, "of all"),
                Figure("mean distance", statistics.mean(apart), "points"),
            ]
    return figures


_GOALS = {
    ("halftone balanced", "ssimulacra2"): 0.75,
    ("halftone balanced", "butteraugli"): 0.80,
    ("halftone fast", "ssimulacra2"): 0.90,
}


def _bytes_ratio(reference: Point, curve: Sequence[Point], metric: str) -> float:
    """The bytes of another encoder at the score of this point, divided by its own."""
    score = getattr(reference, metric)
    return exp(_log_bytes_at(curve, score, metric) - reference.log_bytes)


def shares_of_pillows_bytes() -> tuple[Sequence[float], dict[str, list[float]]]:
    """Pillow's qualities; for each encoder, its bytes at the SSIMULACRA2 scores of these, divided
    by Pillow's, as medians over photographs. WebP and AVIF: over every fourth.
    """
    shares = {}
    for names, every in ((JPEG_ENCODERS, 1), *((each, 4) for each in MODERN_ENCODERS.values())):
        curves = _curves(_chosen(every), [_REFERENCE, *names])
        for name in names:
            pairs = list(zip(curves[_REFERENCE], curves[name], strict=True))
            shares[name] = [
                statistics.median(
                    _bytes_ratio(pillows[at], curve, "ssimulacra2") for pillows, curve in pairs
                )
                for at in range(len(_DEFAULTS))
            ]
    return _DEFAULTS, shares


def _ratio(
    label: str,
    curves: Mapping[str, Sequence[Sequence[Point]]],
    metric: str,
    of: str = "",
    reference: str = _REFERENCE,
) -> Figure:
    name = of or label
    ratios = []
    for compared, curve in zip(curves[reference], curves[name], strict=True):
        ratios.append(_bytes_ratio(compared[_CENTRE], curve, metric))
    whose = "Pillow" if reference == _REFERENCE else reference
    value, unit = statistics.median(ratios), f"× {whose}'s bytes at equal {metric}"
    goal = _GOALS.get((name, metric))
    return Figure(label, value, unit) if goal is None else at_most(label, value, unit, goal)


@dataclass(frozen=True)
class _Graphic:
    """A PNG at quality 50. `apart`: its score minus that of the JPEG of quality 50. `share`: its
    bytes divided by those of Pillow's octree, optimised.
    """

    apart: float
    share: float
    cpu_milliseconds: float


def _graphic(path: Path) -> _Graphic:
    source, original = path.read_bytes(), _on_white(Image.open(path))
    before = time.process_time()
    encoded = compress(source, ImageOptions(), CodecLimits()).data or source
    cpu = time.process_time() - before
    jpeg, octree = io.BytesIO(), io.BytesIO()
    original.save(jpeg, "JPEG", quality=QUALITY)
    Image.open(path).quantize(256, Image.Quantize.FASTOCTREE).save(octree, "PNG", optimize=True)
    apart = ssimulacra2(original, encoded) - ssimulacra2(original, jpeg.getvalue())
    return _Graphic(apart, len(encoded) / octree.tell(), 1000 * cpu)


def pngs() -> list[Figure]:
    """PNG at quality 50 compared with the JPEG of quality 50: score, bytes, CPU time."""
    figures = []
    for kind, paths in (("cut-outs", cutouts()), ("drawings and screenshots", drawings())):
        found = [_graphic(path) for path in paths]
        near = sum(each.apart >= -3 for each in found)
        median = statistics.median
        figures += [
            Figure(kind, len(found), ""),
            at_least("score − the JPEG's, median", median(each.apart for each in found), "", -3),
            Figure("score at least the JPEG's − 3", near, "pictures"),
            Figure("bytes, median", median(each.share for each in found), "× Pillow's octree"),
            Figure("CPU, median", median(each.cpu_milliseconds for each in found), "ms"),
        ]
    return figures


def visual() -> list[Figure]:
    """`mode=visual`: how close it gets to its target, over photographs, formats and targets."""
    apart = []
    for sample in _chosen(every=4):
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


def _thumbnail(source: bytes, quality: float) -> bytes:
    import pyvips

    with Image.open(io.BytesIO(source)) as image:
        width, height = scaled(image.size, HALF)
    halved = pyvips.Image.thumbnail_buffer(source, width, height=height, size="force")
    saved: bytes = halved.jpegsave_buffer(Q=round(quality), optimize_coding=True)
    return saved


def _ours_halved(source: bytes, quality: float, *, effort: Effort) -> bytes:
    options = ImageOptions(mode=Mode.SCALE, scale=HALF, quality=round(quality), effort=effort)
    return compress(source, options, CodecLimits()).data or source


def halved() -> list[Figure]:
    """`mode=scale` at 0.5 beside libvips' thumbnail, at quality 50 and by CPU time; medians.

    The score compares with the lossless original, halved by Lanczos.
    """
    encoders: dict[str, Encode] = {
        _LIBVIPS: _thumbnail,
        **{f"halftone {each}": partial(_ours_halved, effort=each) for each in Effort},
    }
    found: dict[str, list[Point]] = {name: [] for name in encoders}
    for sample in _chosen(every=2):
        source = sample.jpeg.read_bytes()
        with Image.open(sample.original) as image:
            original = _on_white(image)
        original = original.resize(scaled(original.size, HALF), Image.Resampling.LANCZOS)
        for name, encode in encoders.items():
            data = encode(source, QUALITY)
            cpu = _cpu_milliseconds(encode, source, QUALITY)
            found[name].append(Point(log(len(data)), ssimulacra2(original, data), cpu))
    figures = []
    for name, points in found.items():
        pairs = list(zip(found[_LIBVIPS], points, strict=True))
        speed = statistics.median(
            vips.cpu_milliseconds / ours.cpu_milliseconds for vips, ours in pairs
        )
        share = statistics.median(exp(ours.log_bytes - vips.log_bytes) for vips, ours in pairs)
        label = f"halved: {name}"
        figures += [
            at_least(label, speed, "× libvips' speed", 1.5)
            if name == f"halftone {Effort.BALANCED}"
            else Figure(label, speed, "× libvips' speed"),
            Figure("", share, "× its bytes"),
            Figure("", statistics.median(each.ssimulacra2 for each in points), "score"),
        ]
    return figures


def quality() -> list[Figure]:
    """JPEG, WebP and AVIF, the quality scale, PNG, mode=visual, then mode=scale."""
    return [*jpegs(), *modern(), *scale(), *pngs(), *visual(), *halved()]
