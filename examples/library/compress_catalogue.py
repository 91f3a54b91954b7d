"""Compress the images of a catalogue and say what failed.

    .venv/bin/python examples/library/compress_catalogue.py products.csv output.csv

The service is at HALFTONE_URL (http://127.0.0.1:8000), the API key in HALFTONE_API_KEY.
"""

import sys
from collections import Counter

import halftone


def main(source: str, output: str) -> int:
    with halftone.Client() as client:
        try:
            request = client.upload(source, mode="quality", quality=60)
        except halftone.Refused as refused:
            print(refused)
            for row in refused.errors:
                print(f"  line {row.line}, {row.column}: {row.message}")
            return 2
        status = request.wait(progress=show)
        request.download(output)
        failures = Counter(image.error.code for image in request.images() if image.error)
    print(f"{status.processed_images} images, {status.bytes_saved:,} bytes saved")
    for code, count in failures.most_common():
        print(f"{count} × {code}: {halftone.ERROR_CODES[code].remedy}")
    return 0 if status.outcome is halftone.Outcome.SUCCEEDED else 1


def show(status: halftone.RequestStatus) -> None:
    print(f"{status.progress:.0f} %", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
