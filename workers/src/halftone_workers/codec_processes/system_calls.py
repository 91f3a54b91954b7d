"""A filter of system calls for the codec processes (seccomp, Linux): no network, no new program, no
file changed.

It lists forbidden calls, not allowed ones: each release of Python and of the decoders' libraries
may need other calls, while the harmful ones stay the same. A forbidden call fails with EPERM.
"""

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_ALLOW, _FAIL, _UNKNOWN = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
# Classic BPF: load a word of seccomp_data; jump if it is equal, at least, or has a bit; return.
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT, _ARGUMENT_BYTES = 0, 4, 16, 8
_CLONE_THREAD = 0x00010000
# open() flags that write, create or truncate. The file size limit (RLIMIT_FSIZE) does not cover
# mappings or /proc/PID/mem.
_OPEN_TO_CHANGE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Numbers from here on belong to another calling convention (x32).
_NUMBERS_END = 0x40000000


@dataclass(frozen=True)
class _Architecture:
    """System call numbers of an architecture, which `audit` identifies for the kernel.

    `opens` maps a call to the index of its flags argument. `unknown`: calls whose arguments a
    filter cannot read; libc works without them. `signal` and `limits` may only target this process.
    """

    audit: int
    clone: int
    opens: dict[int, int]
    signal: int
    limits: int
    unknown: tuple[int, ...]
    forbidden: str

    @property
    def forbidden_numbers(self) -> list[int]:
        return sorted(int(entry.partition("=")[2]) for entry in self.forbidden.split())


# From the kernel's tables (arch/x86/entry/syscalls/syscall_64.tbl and
# include/uapi/asm-generic/unistd.h).
_ARCHITECTURES = {
    "x86_64": _Architecture(
        audit=0xC000003E,
        clone=56,
        opens={2: 1, 257: 2},
        signal=234,
        limits=302,
        unknown=(435, 437),
        forbidden="""
            socket=41 connect=42 accept=43 bind=49 listen=50 accept4=288
            setpriority=141 fork=57 vfork=58 execve=59 execveat=322 ptrace=101 pidfd_open=434
            kill=62 tkill=200 rt_sigqueueinfo=129 rt_tgsigqueueinfo=297 pidfd_send_signal=424
            truncate=76 creat=85 open_by_handle_at=304 mknod=133 mknodat=259
            rename=82 renameat=264 renameat2=316 mkdir=83 mkdirat=258 rmdir=84
            link=86 linkat=265 unlink=87 unlinkat=263 symlink=88 symlinkat=266
            chmod=90 fchmod=91 fchmodat=268 fchmodat2=452 chown=92 fchown=93 lchown=94 fchownat=260
            utime=132 utimes=235 futimesat=261 utimensat=280
            setxattr=188 lsetxattr=189 fsetxattr=190
            removexattr=197 lremovexattr=198 fremovexattr=199
            mount=165 umount2=166 chroot=161 unshare=272 setns=308 keyctl=250 bpf=321
            process_vm_readv=310 process_vm_writev=311 perf_event_open=298 userfaultfd=323
            io_uring_setup=425
        """,
    ),
    "aarch64": _Architecture(
        audit=0xC00000B7,
        clone=220,
        opens={56: 2},
        signal=131,
        limits=261,
        unknown=(435, 437),
        forbidden="""
            socket=198 bind=200 listen=201 accept=202 connect=203 accept4=242
            setpriority=140 execve=221 execveat=281 ptrace=117 pidfd_open=434
            kill=129 tkill=130 rt_sigqueueinfo=138 rt_tgsigqueueinfo=240 pidfd_send_signal=424
            truncate=45 open_by_handle_at=265 mknodat=33
            renameat=38 renameat2=276 mkdirat=34 linkat=37 unlinkat=35 symlinkat=36
            fchmod=52 fchmodat=53 fchmodat2=452 fchown=55 fchownat=54 utimensat=88
            setxattr=5 lsetxattr=6 fsetxattr=7 removexattr=14 lremovexattr=15 fremovexattr=16
            mount=40 umount2=39 chroot=51 unshare=97 setns=268 keyctl=219 bpf=280
            process_vm_readv=270 process_vm_writev=271 perf_event_open=241 userfaultfd=282
            io_uring_setup=425
        """,
    ),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def forbid_system_calls() -> None:
    """Permanently forbid these calls to this process, which must have set no_new_privs. Does
    nothing on other architectures.
    """
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None:
        return
    instructions = _filter(architecture)
    program = _Program(len(instructions), b"".join(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)


def _filter(architecture: _Architecture) -> list[bytes]:
    """Build the BPF program. It allows new threads and forbids new processes. A filter cannot see
    the flags of clone3, so clone3 fails in a way that makes libc use clone instead.
    """
    numbers = architecture.forbidden_numbers
    return [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_IF_EQUAL, architecture.audit, then=1),
        _instruction(_RETURN, _FAIL),
        _instruction(_LOAD, _NUMBER_AT),
        *(
            instruction
            for number in architecture.unknown
            for instruction in (
                _instruction(_IF_EQUAL, number, otherwise=1),
                _instruction(_RETURN, _UNKNOWN),
            )
        ),
        *_by_argument(architecture.clone, 0, _IF_BIT, _CLONE_THREAD, then=_ALLOW, otherwise=_FAIL),
        *_by_argument(architecture.signal, 0, _IF_EQUAL, os.getpid(), then=_ALLOW, otherwise=_FAIL),
        *_by_argument(architecture.limits, 0, _IF_EQUAL, 0, then=_ALLOW, otherwise=_FAIL),
        *(
            instruction
            for number, flags_at in architecture.opens.items()
            for instruction in _by_argument(
                number, flags_at, _IF_BIT, _OPEN_TO_CHANGE, then=_FAIL, otherwise=_ALLOW
            )
        ),
        _instruction(_IF_AT_LEAST, _NUMBERS_END, then=len(numbers) + 1),
        *(
            _instruction(_IF_EQUAL, number, then=len(numbers) - at)
            for at, number in enumerate(numbers)
        ),
        _instruction(_RETURN, _ALLOW),
        _instruction(_RETURN, _FAIL),
    ]


def _by_argument(
    number: int, argument: int, test: int, value: int, *, then: int, otherwise: int
) -> list[bytes]:
    """Instructions that judge the call with this number by testing an argument."""
    return [
        _instruction(_IF_EQUAL, number, otherwise=4),
        _instruction(_LOAD, _ARGUMENTS_AT + _ARGUMENT_BYTES * argument),
        _instruction(test, value, otherwise=1),
        _instruction(_RETURN, then),
        _instruction(_RETURN, otherwise),
    ]


def _instruction(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """`then` and `otherwise`: how many instructions a jump passes over."""
    return struct.pack("=HBBI", code, then, otherwise, value)
