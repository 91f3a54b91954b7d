"""Check that no line of any Markdown file is longer than 100 characters; `--fix` wraps paragraphs.

Tables, code blocks and single words that are too long (links) are not wrapped. A line of a code
block that is too long is still reported.
"""

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

WIDTH = 100
_FENCE = re.compile(r"\s*(```|~~~)")
_ITEM = re.compile(r"( *)([-*+]|\d+\.) +")
# A line that begins like this is not part of the paragraph before it.
_OWN_LINE = re.compile(r"\s*(#|\||>|<|!\[|\[[^]]+\]:|---)")
# Markdown would read a wrapped line that begins like this as a list, a heading or a quote.
_MISREAD_AT_START = re.compile(r" (?=([-*+#>=|]|\d+[.)])( |$))")
_CODE = re.compile(r"`[^`]{1,60}`")
_GLUE = "\0"


def main() -> None:
    fix = "--fix" in sys.argv[1:]
    too_long = [message for path in _markdown_files() for message in _lines_of(path, fix)]
    print("\n".join(too_long) or f"Markdown lines end at {WIDTH} characters.")
    sys.exit(bool(too_long))


def _markdown_files() -> list[Path]:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.splitlines()
    return [Path(name) for name in names if Path(name).exists()]


def _lines_of(path: Path, fix: bool) -> list[str]:
    """Wrap the file if requested, and report the lines that are still too long."""
    text = path.read_text()
    if fix:
        wrapped = "".join(f"{line}\n" for line in wrap(text.splitlines()))
        if wrapped != text:
            path.write_text(wrapped)
            text = wrapped
    return [
        f"{path}:{number}: {len(line)} characters"
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > WIDTH
        and not line.lstrip().startswith(("|", "!["))
        and " " in line.strip()[:WIDTH]
    ]


def wrap(lines: list[str]) -> Iterator[str]:
    """The same document, with every paragraph rewrapped that has a line over the limit."""
    for block, is_code in _blocks(lines):
        if not is_code and _is_paragraph(block) and any(len(line) > WIDTH for line in block):
            yield from _fill(block)
        else:
            yield from block


def _blocks(lines: list[str]) -> Iterator[tuple[list[str], bool]]:
    """Paragraphs and list items as blocks, every other line alone; each with whether it is in a
    code block.
    """
    block: list[str] = []
    fenced = False
    for line in lines:
        fence = _FENCE.match(line)
        alone = fenced or fence or not line.strip() or _OWN_LINE.match(line)
        if block and (alone or _ITEM.match(line) or not _is_paragraph(block)):
            yield block, False
            block = []
        if alone:
            yield [line], bool(fenced or fence)
        else:
            block.append(line)
        if fence:
            fenced = not fenced
    if block:
        yield block, False


def _is_paragraph(block: list[str]) -> bool:
    line = block[0]
    starts_code = line.startswith("    ") and not _ITEM.match(line)
    return bool(line.strip()) and not starts_code and not _OWN_LINE.match(line)


def _fill(block: list[str]) -> list[str]:
    item = _ITEM.match(block[0])
    first = item.group() if item else re.match(r" *", block[0]).group()  # type: ignore[union-attr]
    text = " ".join([block[0][len(first) :], *(line.strip() for line in block[1:])])
    text = _CODE.sub(lambda code: code.group().replace(" ", _GLUE), text)
    text = _MISREAD_AT_START.sub(_GLUE, text)
    filled = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_GLUE, " ") for line in filled]


if __name__ == "__main__":
    main()
