"""Copies the web page's third-party files out of npm packages, as the manifest lists them.

The files are committed, so that neither a build nor an installation needs npm. To upgrade a
package, change its version in the manifest and run `python scripts/vendor_page_files.py`: it
downloads each package with `npm pack`, copies its files and writes their checksums. A test compares
files and checksums.
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MANIFESTS = (
    ROOT / "api/src/halftone_api/pages/static/vendor/manifest.json",
    ROOT / "tests/browser/vendor/manifest.json",
)


def main() -> None:
    for manifest in MANIFESTS:
        packages: list[dict[str, Any]] = json.loads(manifest.read_text())
        for package in packages:
            renew(package, manifest.parent)
        manifest.write_text(json.dumps(packages, indent=2) + "\n")


def renew(package: dict[str, Any], folder: Path) -> None:
    """Copy the package's files into the folder, and note licence and checksums in `package`."""
    name = f"{package['name']}@{package['version']}"
    with tempfile.TemporaryDirectory() as temporary:
        packed = subprocess.check_output(
            ["npm", "pack", "--silent", name],  # noqa: S607 - npm is wherever it is installed
            cwd=temporary,
            text=True,
        ).strip()
        with tarfile.open(Path(temporary) / packed) as archive:
            package["licence"] = _licence(archive)
            for file in package["files"]:
                content = _read(archive, file["source"])
                (folder / file["name"]).write_bytes(content)
                file["sha256"] = hashlib.sha256(content).hexdigest()
    sys.stdout.write(f"{name}: {len(package['files'])} files\n")


def _licence(archive: tarfile.TarFile) -> str:
    """The licence from package.json, else the first line of the licence's text."""
    named = json.loads(_read(archive, "package.json")).get("license")
    return str(named or _read(archive, "LICENSE").decode().strip().splitlines()[0])


def _read(archive: tarfile.TarFile, path: str) -> bytes:
    member = archive.extractfile(f"package/{path}")
    assert member is not None, path  # noqa: S101 - a folder of that name
    return member.read()


if __name__ == "__main__":
    main()
