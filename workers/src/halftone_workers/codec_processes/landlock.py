"""Landlock (Linux 5.13 and later): limits a process to the files of Python and its libraries.

Landlock needs only three system calls, so no library is used. On a kernel without Landlock nothing
happens; the seccomp filter (system_calls.py) still applies.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1
_READ_FILES = 1 << 0 | 1 << 2 | 1 << 3  # execute (for libraries), read files, read directories
# What a ruleset of each version can forbid (linux/landlock.h): files, then network, then scopes.
_FILE_RIGHTS = {1: 1 << 13, 2: 1 << 14, 3: 1 << 15, 4: 1 << 15, 5: 1 << 16}
_NETWORK_RIGHTS, _SCOPES = 0b11, 0b11
_FIRST_WITH_NETWORK, _FIRST_WITH_SCOPES = 4, 6


def see_only(folders: Iterable[Path]) -> bool:
    """Permanently deny this process access to all other files. Returns False without Landlock.

    The process must have set no_new_privs.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)
    if version < 1:
        return False
    rights = _FILE_RIGHTS[min(version, max(_FILE_RIGHTS))] - 1
    network = _NETWORK_RIGHTS if version >= _FIRST_WITH_NETWORK else 0
    scopes = _SCOPES if version >= _FIRST_WITH_SCOPES else 0
    attributes = struct.pack("=QQQ", rights, network, scopes)
    size = 24 if scopes else 16 if network else 8
    ruleset = libc.syscall(_CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        return False
    try:
        for folder in folders:
            _allow(libc, ruleset, folder)
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def python_folders() -> list[Path]:
    """The folders of Python and its libraries, so that late imports still work."""
    libraries = [Path(name) for name in ("/usr/lib", "/usr/lib64", "/lib", "/lib64")]
    # Skip the first entry: the folder that the worker was started in.
    imported = [Path(entry) for entry in sys.path[1:] if entry]
    python = [Path(sys.prefix) / "lib", Path(sys.base_prefix) / "lib"]
    found = {folder.resolve() for folder in (*libraries, *python, *imported) if folder.exists()}
    return sorted(folder for folder in found if folder != Path("/"))


def _allow(libc: ctypes.CDLL, ruleset: int, folder: Path) -> None:
    descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        # A rule for a file, such as a zipped library, must not include directory rights.
        rights = _READ_FILES if folder.is_dir() else 1 << 2
        rule = struct.pack("=Qi", rights, descriptor)
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)
