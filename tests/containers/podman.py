"""Runs a program with the configuration of podman that a machine without systemd needs."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "containers"
CONFIGURATION = {"CONTAINERS_CONF": str(SCRIPTS / "containers.conf")}


def run(*command: str, folder: Path = ROOT, **environment: str) -> str:
    """The program's standard output. Prints it and raises CalledProcessError when the program
    fails.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | CONFIGURATION | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
        done.check_returncode()
    return done.stdout
