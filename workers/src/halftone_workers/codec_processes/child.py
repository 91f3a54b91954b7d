"""One codec process: reads jobs from its parent's socket and answers them until the socket closes.

It has no secrets, no connection except that socket, and cannot open one. Its memory is limited, it
cannot change files or start programs, and it ends with its parent. So an image that exploits a
decoder harms this process and one image only.
"""

import json
import resource
import signal
import socket
import sys
import traceback
from contextlib import suppress

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.presets import load_presets
from halftone_workers.codec.memory import is_out_of_memory
from halftone_workers.codec.pipeline import compress_outputs
from halftone_workers.codec_processes.landlock import python_folders, see_only
from halftone_workers.codec_processes.privileges import drop_privileges, end_first
from halftone_workers.codec_processes.protocol import (
    HEADER,
    Answer,
    AnswerHead,
    Job,
    answer_of,
    read_job,
    refusal,
)
from halftone_workers.codec_processes.system_calls import forbid_system_calls
from halftone_workers.errors import ImageRefused

# Address space of a codec process: an image of 50 MP as RGBA takes 200 MB, and a transformation
# holds a few copies.
MEMORY_BYTES = 2 * 1024**3
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    """`python -m halftone_workers.codec_processes.child FD MEMORY_BYTES`."""
    descriptor, memory_bytes = int(sys.argv[1]), int(sys.argv[2])
    load_presets()  # while their files can be read
    confine(memory_bytes)
    with socket.socket(fileno=descriptor) as connection:
        while (job := receive(connection)) is not None:
            head, data = answer(*job)
            send(connection, head, data)
            if head.get("last"):
                return


def answer(job_head: bytes, data: bytes) -> Answer:
    """Run one job. Returns the facts and the new bytes, or the error."""
    try:
        return answer_of(compress_outputs(*read_job(job_head, data)))
    except ImageRefused as refused:
        return refusal(refused.code, refused.message)
    except MemoryError:
        return _too_large()
    except Exception as error:  # noqa: BLE001 - a bug in our code or in an encoder costs one image
        if is_out_of_memory(error):
            return _too_large()
        with suppress(OSError):  # if standard error is a file, this process may not write to it
            traceback.print_exc()
        return refusal(
            ImageErrorCode.ENCODE_CRASHED,
            "The image could not be compressed, by a mistake in the codec.",
        )


def _too_large() -> Answer:
    """Refuse the image and end the process: only a new one has all of its memory again."""
    return refusal(
        ImageErrorCode.TOO_MANY_PIXELS,
        "The image takes more memory than one image may use"
        f" ({MEMORY_BYTES // 1024**2} MiB); offer it with fewer pixels or frames.",
        is_last=True,
    )


def confine(memory_bytes: int) -> None:
    """Permanently limit what this process can do. On Linux the limits are stricter."""
    # Ctrl-C in a terminal and SIGTERM from systemd reach every process of a service; the parent
    # decides when this one ends.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        end_first()
        folders = python_folders()
        drop_privileges(folders)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    if sys.platform == "linux":
        import ctypes

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        see_only(folders)
        forbid_system_calls()


def receive(connection: socket.socket) -> Job | None:
    """Read the next job. None if the other side has closed the socket."""
    header = _read(connection, HEADER.size)
    if header is None:
        return None
    json_bytes, data_bytes = HEADER.unpack(header)
    head, data = _read(connection, json_bytes), _read(connection, data_bytes)
    return None if head is None or data is None else (head, data)


def _read(connection: socket.socket, size: int) -> bytes | None:
    """Read this many bytes without copying them. None if the other side has closed the socket."""
    data = connection.recv(size, socket.MSG_WAITALL)
    return data if len(data) == size else None


def send(connection: socket.socket, head: AnswerHead, data: bytes) -> None:
    encoded = json.dumps(head).encode()
    connection.sendall(HEADER.pack(len(encoded), len(data)) + encoded + data)


if __name__ == "__main__":
    main()
