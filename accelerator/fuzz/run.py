"""`python accelerator/fuzz/run.py [INPUTS [SEED]]`: mutated JPEGs through the C code, under the
sanitizers of addresses and of undefined behaviour. Takes a C compiler and libjpeg's headers.
"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
SOURCES = [HERE / "harness.c", *(HERE.parent / "native").glob("*.c")]
FLAGS = ["-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"]
STRICT = ["-fno-sanitize-recover=all", "-ffp-contract=off"]


def _seeds() -> list[bytes]:
    noise = Image.merge("RGB", [Image.effect_noise((41, 37), sigma) for sigma in (20, 60, 90)])
    smooth = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
    hows: list[dict[str, object]] = [
        {"quality": 92},
        {"quality": 100},
        {"quality": 30, "progressive": True},
        {"quality": 92, "progressive": True},
        {"quality": 85, "restart_marker_blocks": 2},
        {"quality": 92, "subsampling": 0},
    ]
    seeds = []
    cut_out = Image.new("RGB", (80, 72), "white")
    cut_out.paste(noise.resize((24, 24)), (20, 30))
    for image in (
        noise,
        smooth,
        cut_out,
        noise.convert("L"),
        noise.resize((1, 1)),
        smooth.resize((7, 90)),
    ):
        for how in hows:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", **how)
            seeds.append(buffer.getvalue())
    return seeds


def main() -> int:
    """Build the harness, make its seeds and run it. Its exit code is 0 if nothing was found."""
    inputs, seed = (sys.argv[1:] + ["120000", "1"][len(sys.argv) - 1 :])[:2]
    with tempfile.TemporaryDirectory() as folder:
        harness = Path(folder) / "harness"
        include = f"-I{HERE.parent / 'native'}"
        compiler = os.environ.get("CC", "cc")
        command = [compiler, *FLAGS, *STRICT, include, *SOURCES, "-o", harness, "-ljpeg", "-lm"]
        subprocess.run(command, check=True)
        files = []
        for number, data in enumerate(_seeds()):
            files.append(Path(folder) / f"{number}.jpg")
            files[-1].write_bytes(data)
        return subprocess.run([harness, inputs, seed, *files], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
