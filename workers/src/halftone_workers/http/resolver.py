"""Looks up the addresses of a host on the event loop.

c-ares queries the machine's name servers and reads /etc/hosts. A name server that does not answer
costs a socket and a timer. With getaddrinfo it blocks one of only 16 threads for 20 s or longer.
"""

import asyncio
import socket

import aiodns
import pycares.errno

from halftone_workers.errors import HostNotFound

# Each name server gets this many queries; the time to answer doubles with each.
QUERY_SECONDS, TRIES = 2.0, 2
# The limit for a whole lookup.
LOOK_UP_SECONDS = 10.0
# c-ares keeps an answer for its TTL, up to an hour. Name servers of containers say a day, although
# a container that is started again may have another address.
CACHE_SECONDS = 60.0
_NO_SUCH_NAME = frozenset({pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENODATA})
_NO_NAME = frozenset(
    {pycares.errno.ARES_EBADNAME, pycares.errno.ARES_EBADQUERY, pycares.errno.ARES_EBADSTR}
)


class _Channel(aiodns.DNSResolver):
    def forget(self) -> None:
        """Empty the cache, soon. Queries under way go on."""
        self._channel.reinit()


class Resolver:
    """Opens nothing before the first lookup. Answers are cached for `cache_seconds` at most.
    `options` are those of aiodns.DNSResolver.
    """

    def __init__(self, *, cache_seconds: float = CACHE_SECONDS, **options: object) -> None:
        self._options = {"timeout": QUERY_SECONDS, "tries": TRIES} | options
        self._cache_seconds = cache_seconds
        self._forget_at = 0.0
        self._channel: _Channel | None = None

    async def look_up(self, host: str, port: int) -> list[str]:
        """Every address of a host, IPv4 and IPv6, each once, in the order of preference.

        Numeric addresses are read in every notation that the system knows. Raises HostNotFound.
        """
        try:
            answers = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
            return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in answers))
        except (socket.gaierror, UnicodeError):
            return await self._ask(host)

    async def _ask(self, host: str) -> list[str]:
        channel = self._channel_of_now()
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                answer = await channel.getaddrinfo(
                    host, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM
                )
        except TimeoutError:
            raise HostNotFound(f"{host}: no name server answers.", temporary=True) from None
        except aiodns.error.DNSError as error:
            raise _not_found(host, error) from None
        return list(dict.fromkeys(node.addr[0].decode("ascii") for node in answer.nodes))

    def _channel_of_now(self) -> _Channel:
        now = asyncio.get_running_loop().time()
        if self._channel is None:
            self._channel = _Channel(**self._options)  # type: ignore[arg-type]
        elif now < self._forget_at:
            return self._channel
        else:
            self._channel.forget()
        self._forget_at = now + self._cache_seconds
        return self._channel

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()


def _not_found(host: str, error: aiodns.error.DNSError) -> HostNotFound:
    code = error.args[0]
    if code in _NO_NAME:
        return HostNotFound(f"{host} is no host name.", temporary=False)
    if code in _NO_SUCH_NAME:
        return HostNotFound(f"{host} cannot be resolved: there is no such name.", temporary=False)
    return HostNotFound(f"{host} cannot be resolved now: {error.args[1]}.", temporary=True)
