"""ICC profiles: checks embedded ones, and builds profiles for colours that are declared otherwise.

PNG declares colours in gAMA, cHRM and cICP chunks, AVIF in an nclx box. An equivalent profile is
then treated like an embedded one: it is kept, or the pixels are converted to sRGB.
"""

import struct
from collections.abc import Callable
from functools import lru_cache

# Printing profiles have up to 3 MB. A larger profile is used to convert the pixels, but not kept.
MAX_PROFILE_BYTES = 4 * 1024**2
_CLASSES = frozenset({b"scnr", b"mntr", b"prtr", b"spac"})

Point = tuple[float, float]
Primaries = tuple[Point, Point, Point, Point]
_D65, _D50 = (0.3127, 0.3290), (0.9642, 1.0, 0.8249)
SRGB_PRIMARIES: Primaries = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65)
# By code point of ITU-T H.273, table 2: red, green, blue, white.
_PRIMARIES: dict[int, Primaries] = {
    1: SRGB_PRIMARIES,
    2: SRGB_PRIMARIES,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316)),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
# ITU-T H.273, table 3.
_BT709_TRANSFERS, _SRGB_TRANSFERS, _PQ, _HLG = frozenset({1, 6, 14, 15}), frozenset({2, 13}), 16, 18
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
# The luminance that maps to white: ITU-R BT.2408 sets diffuse white to 203 of PQ's 10,000 cd/m².
_WHITE_IN_PQ = 203 / 10_000
_TABLE_LENGTH = 1024

_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_BT709_CURVE = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)


def usable_profile(icc: object, mode: str) -> bytes | None:
    """A valid profile for images of this Pillow mode, without trailing bytes.

    None for an invalid or unsuitable profile, which viewers ignore.
    """
    if not isinstance(icc, bytes) or len(icc) < 132 or icc[36:40] != b"acsp":
        return None
    size = int.from_bytes(icc[:4])
    if not 132 <= size <= len(icc) or icc[12:16] not in _CLASSES:
        return None
    if icc[16:20] not in _spaces(mode):
        return None
    count = int.from_bytes(icc[128:132])
    if 132 + 12 * count > size:
        return None
    for at in range(132, 132 + 12 * count, 12):
        start, length = struct.unpack_from(">II", icc, at + 4)
        if start + length > size:
            return None
    return icc[:size]


def _spaces(mode: str) -> tuple[bytes, ...]:
    """The profile colour spaces that fit this mode. Gray images may have a colour profile."""
    if mode in ("CMYK", "LAB"):
        return (b"CMYK",) if mode == "CMYK" else (b"Lab ",)
    is_gray = mode in ("1", "L", "LA", "La", "I", "F") or mode.startswith("I;16")
    return (b"GRAY", b"RGB ") if is_gray else (b"RGB ",)


@lru_cache(maxsize=64)
def profile_of_gamma(gamma: float, primaries: Primaries | None, *, gray: bool) -> bytes:
    """The profile of a PNG with gAMA. `gamma`: the display exponent, usually 2.2."""
    curve = _parametric(0, (gamma,))
    return _profile(curve, None if gray else primaries or SRGB_PRIMARIES)


@lru_cache(maxsize=64)
def profile_of_code_points(
    primaries: int, transfer: int, *, gray: bool, is_video: bool
) -> bytes | None:
    """The profile of colours declared by code points (cICP, nclx); None for sRGB and unknown codes.

    `is_video`: for AVIF. Browsers show its BT.709 transfer like sRGB.
    """
    if is_video and transfer in _BT709_TRANSFERS:
        transfer = 13
    known = _PRIMARIES.get(primaries)
    if known is None or (transfer in _SRGB_TRANSFERS and (gray or known is SRGB_PRIMARIES)):
        return None
    curve = _curve(transfer)
    return None if curve is None else _profile(curve, None if gray else known)


def is_bright(transfer: int) -> bool:
    """Whether colours may be brighter than white (HDR: PQ and HLG)."""
    return transfer in (_PQ, _HLG)


def _curve(transfer: int) -> bytes | None:
    if transfer in _SRGB_TRANSFERS:
        return _parametric(3, _SRGB_CURVE)
    if transfer in _BT709_TRANSFERS:
        return _parametric(3, _BT709_CURVE)
    if transfer in _GAMMAS:
        return _parametric(0, (_GAMMAS[transfer],))
    if transfer == _PQ:
        return _table(lambda value: _pq_light(value) / _WHITE_IN_PQ)
    if transfer == _HLG:
        return _table(lambda value: _hlg_light(value) / _hlg_light(0.75))
    return None


def _pq_light(value: float) -> float:
    """Linear light of 0–1, where 1 is 10,000 cd/m² (SMPTE ST 2084)."""
    power = value ** (1 / 78.84375)
    above = max(power - 0.8359375, 0.0)
    return float((above / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125))


def _hlg_light(value: float) -> float:
    """Linear display light of 0–1 (ITU-R BT.2100, system gamma 1.2)."""
    if value <= 0.5:
        scene = value * value / 3
    else:
        scene = (2.718281828459045 ** ((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return float(scene**1.2)


def _table(light: Callable[[float], float]) -> bytes:
    values = [
        round(65535 * min(light(index / (_TABLE_LENGTH - 1)), 1.0))
        for index in range(_TABLE_LENGTH)
    ]
    return b"curv\0\0\0\0" + struct.pack(f">I{_TABLE_LENGTH}H", _TABLE_LENGTH, *values)


def _parametric(kind: int, numbers: tuple[float, ...]) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + _fixed(*numbers)


def _fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def _xyz(*numbers: float) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*numbers)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return (
        b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded
    )


def _profile(curve: bytes, primaries: Primaries | None) -> bytes:
    """Build a display profile, ICC version 4.3. Without primaries, it is for gray."""
    tags = {b"desc": _text("halftone"), b"cprt": _text("CC0"), b"wtpt": _xyz(*_D50)}
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        for name, column in zip((b"r", b"g", b"b"), _columns(primaries), strict=True):
            tags[name + b"XYZ"] = _xyz(*column)
        tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    table, contents, offset = b"", b"", 132 + 12 * len(tags)
    places: dict[bytes, int] = {}
    for kind, value in tags.items():
        if value not in places:
            places[value] = offset + len(contents)
            contents += value + bytes(-len(value) % 4)
        table += kind + struct.pack(">II", places[value], len(value))
    space = b"GRAY" if primaries is None else b"RGB "
    size = offset + len(contents)
    head = struct.pack(">I4xI4s4s4s", size, 0x04300000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + _fixed(*_D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + contents


Matrix = tuple[tuple[float, ...], ...]
_BRADFORD: Matrix = (
    (0.8951, 0.2664, -0.1614),
    (-0.7502, 1.7135, 0.0367),
    (0.0389, -0.0685, 1.0296),
)


def _columns(primaries: Primaries) -> Matrix:
    """XYZ of red, green and blue under D50, from their chromaticities under their own white."""
    red, green, blue, white = (_xyz_of(point) for point in primaries)
    colours = _transposed((red, green, blue))
    shares = _applied(_inverse(colours), white)
    scaled = tuple(
        tuple(value * share for value, share in zip(row, shares, strict=True)) for row in colours
    )
    cones_from, cones_to = _applied(_BRADFORD, white), _applied(_BRADFORD, _D50)
    gains = tuple(
        tuple(cones_to[row] / cones_from[row] if row == column else 0.0 for column in range(3))
        for row in range(3)
    )
    adapted = _product(_inverse(_BRADFORD), _product(gains, _BRADFORD))
    return _transposed(_product(adapted, scaled))


def _xyz_of(point: Point) -> tuple[float, ...]:
    x, y = point
    return x / y, 1.0, (1 - x - y) / y


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _applied(matrix: Matrix, vector: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)


def _product(one: Matrix, other: Matrix) -> Matrix:
    return _transposed(tuple(_applied(one, column) for column in _transposed(other)))


def _inverse(matrix: Matrix) -> Matrix:
    """Invert a matrix by cofactors. Raises ZeroDivisionError for collinear primaries."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    cofactors = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    determinant = a * cofactors[0][0] + b * cofactors[1][0] + c * cofactors[2][0]
    return tuple(tuple(value / determinant for value in row) for row in cofactors)
