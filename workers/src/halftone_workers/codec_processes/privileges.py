"""Drops a codec process's root privileges, and protects the memory of a worker."""

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

# The user and group `nobody`, which own nothing.
_NOBODY = 65534
_PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 4, 24
_LAST_CAPABILITY = 63
_CAPABILITY_VERSION = 0x20080522
# If the machine runs out of memory, the kernel kills codec processes first: each costs one image.
_OOM_SCORE = 800


def drop_privileges(needed: Iterable[Path]) -> None:
    """Change to the user `nobody` if this process runs as root, and drop all capabilities.

    `needed`: folders that must stay readable. If `nobody` cannot read them, such as a checkout in
    root's home, the process keeps running as root, without capabilities.
    """
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_LAST_CAPABILITY + 1):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    if all(_is_open_to_all(folder) for folder in needed):
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    head = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    libc.capset(head, bytes(24))


def end_first() -> None:
    """Let the kernel kill this process first when the machine runs out of memory."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))


def forbid_inspection() -> None:
    """Prevent other processes of this user from reading this one's memory, which holds secrets."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _is_open_to_all(folder: Path) -> bool:
    """Whether any user may read this folder and enter all of its parents."""
    wanted = stat.S_IXOTH | stat.S_IROTH
    if folder.stat().st_mode & wanted != wanted:
        return False
    return all(above.stat().st_mode & stat.S_IXOTH for above in folder.parents)
