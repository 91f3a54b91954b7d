"""GIF input: checks its blocks against limits, and composes its frames as browsers do."""

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from PIL import Image

from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.sources.prepared import (
    Prepared,
    TimedFrame,
    check_pixels,
    corrupt,
    too_many_frames,
)

# Normal files have about 2 extensions a frame, and sub-blocks of 255 bytes: 200,000 in 50 MB.
MAX_GIF_EXTENSIONS = 10_000
MAX_GIF_SUB_BLOCKS = 1_000_000

GIF_IMAGE, GIF_EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B
_CONTROL, _APPLICATION = 0xF9, 0xFF
_TO_BACKGROUND, _TO_PREVIOUS = 2, 3
_CLEAR = (0, 0, 0, 0)
_BLOCK = re.compile(rb"[\x21\x2c\x3b]")


@dataclass(frozen=True)
class _Frame:
    """An image block: where it is in the file and on the canvas, and how it is shown."""

    start: int
    end: int
    box: tuple[int, int, int, int]
    milliseconds: int = 0
    disposal: int = 0
    clear_index: int | None = None


def prepare(data: bytes, limits: CodecLimits) -> Prepared:
    """Raises ImageRefused at the first limit that is exceeded."""
    screen: tuple[int, int] = struct.unpack_from("<HH", data.ljust(10, b"\0"), 6)
    frames: list[_Frame] = []
    xmp = b""
    for frame, content in _frames_and_xmp(data):
        if frame is None:
            xmp = content
            continue
        if len(frames) == limits.max_frames:
            raise too_many_frames(limits)
        check_pixels((frame.box[2], frame.box[3]), limits)
        frames.append(frame)
    # Browsers enlarge the screen to its first frame, and crop the other frames to the screen.
    if frames:
        screen = (max(screen[0], frames[0].box[2]), max(screen[1], frames[0].box[3]))
    check_pixels(screen, limits)
    covers = len(frames) == 1 and frames[0].box == (0, 0, *screen)
    return Prepared(
        data,
        xmp=xmp,
        canvas=screen,
        frames=partial(_composed, data, screen, frames) if frames and not covers else None,
        frame_count=max(len(frames), 1),
    )


def _frames_and_xmp(data: bytes) -> Iterator[tuple[_Frame | None, bytes]]:
    shown: tuple[int, int, int | None] = (0, 0, None)
    for kind, start, end in blocks(data):
        if kind == GIF_IMAGE and start + 10 <= len(data):
            left, top, wide, high = struct.unpack_from("<HHHH", data, start + 1)
            yield _Frame(start, end, (left, top, left + wide, top + high), *shown), b""
            shown = (0, 0, None)
        elif data[start + 1 : start + 2] == bytes([_CONTROL]):
            shown = _control(data[start + 3 : start + 7], before=shown)
        elif data[start + 3 : start + 14] == b"XMP DataXMP":
            yield None, data[start + 14 : end]


def _control(content: bytes, before: tuple[int, int, int | None]) -> tuple[int, int, int | None]:
    """Duration in milliseconds, disposal and transparent colour of the next frame."""
    if len(content) < 4:
        return before
    flags, hundredths, index = struct.unpack("<BHB", content)
    return hundredths * 10, flags >> 2 & 7, index if flags & 1 else None


def _composed(data: bytes, screen: tuple[int, int], frames: list[_Frame]) -> Iterator[TimedFrame]:
    """Yield the canvas as shown at each frame. Areas that no frame covers, or that a disposal
    clears, are transparent.
    """
    canvas = Image.new("RGBA", screen, _CLEAR)
    for frame in frames:
        before = canvas.copy() if frame.disposal == _TO_PREVIOUS else None
        _draw(canvas, data, frame)
        seen = canvas.copy()
        yield _without_needless_alpha(seen), frame.milliseconds
        if before is not None:
            canvas = before
        elif frame.disposal == _TO_BACKGROUND:
            canvas.paste(_CLEAR, _inside(frame.box, screen))


def _draw(canvas: Image.Image, data: bytes, frame: _Frame) -> None:
    left, top, right, bottom = frame.box
    if right == left or bottom == top:
        return
    with Image.open(io.BytesIO(_alone(data, frame)), formats=["GIF"]) as image:
        image.load()
        if frame.clear_index is not None:
            image.info["transparency"] = frame.clear_index
        part = image.convert("RGBA")
    part = part.crop((0, 0, *_cut(frame.box, canvas.size)))
    canvas.paste(part, (left, top), part.getchannel("A"))


def _alone(data: bytes, frame: _Frame) -> bytes:
    """A GIF with only this frame, at the frame's own size."""
    left, top, right, bottom = frame.box
    size = struct.pack("<HH", right - left, bottom - top)
    table = data[13 : head_bytes(data)]
    head = data[:6] + size + data[10:13] + table
    flags = data[frame.start + 9 : frame.start + 10]
    return head + b"," + bytes(4) + size + flags + data[frame.start + 10 : frame.end] + b";"


def _inside(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, top = min(box[0], size[0]), min(box[1], size[1])
    return left, top, min(box[2], size[0]), min(box[3], size[1])


def _cut(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the visible part of a frame, inside the canvas."""
    left, top, right, bottom = _inside(box, size)
    return max(right - left, 0), max(bottom - top, 0)


def _without_needless_alpha(image: Image.Image) -> Image.Image:
    lowest, _ = image.getchannel("A").getextrema()
    return image.convert("RGB") if lowest == 255 else image


def head_bytes(data: bytes) -> int:
    """The length of a GIF's signature, screen and colour table, before its first block."""
    return 13 + _colour_table_bytes(data, 10)


def blocks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, start and end of each image and extension of a GIF, up to its trailer or its end.

    Raises ImageRefused for more extensions or sub-blocks than the limits.
    """
    position, extensions = head_bytes(data), 0
    sub_blocks = _SubBlocks(data)
    while position < len(data) and data[position] != _TRAILER:
        start, kind = position, data[position]
        if kind == GIF_EXTENSION:
            extensions += 1
            if extensions > MAX_GIF_EXTENSIONS:
                raise corrupt(f"The GIF has more than {MAX_GIF_EXTENSIONS} extensions.")
            position = sub_blocks.end(start + 2)
        elif kind == GIF_IMAGE:
            position = sub_blocks.end(start + 11 + _colour_table_bytes(data, start + 9))
        else:
            # Skip bytes that are no block, as decoders do.
            found = _BLOCK.search(data, position)
            position = found.start() if found else len(data)
            continue
        yield kind, start, position


class _SubBlocks:
    """Chains of sub-blocks in a GIF, counted against the limit."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MAX_GIF_SUB_BLOCKS

    def end(self, position: int) -> int:
        """The end of the chain that starts here."""
        data, size = self._data, len(self._data)
        left = self._left
        while position < size and data[position]:
            position += data[position] + 1
            left -= 1
            if left < 0:
                raise corrupt(f"The GIF has more than {MAX_GIF_SUB_BLOCKS} sub-blocks.")
        self._left = left
        return position + 1


def _colour_table_bytes(data: bytes, flags_at: int) -> int:
    """The size in bytes of the colour table that the flags of a screen or frame declare."""
    flags = data[flags_at] if flags_at < len(data) else 0
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
