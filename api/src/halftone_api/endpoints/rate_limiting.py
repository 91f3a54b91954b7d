"""How often a caller may upload: per owner, or per address if keys are off."""

import ipaddress
import math
from uuid import UUID

from starlette.requests import Request

from halftone_api.endpoints.authentication import find_caller
from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import services
from halftone_shared.db.upload_rates import seconds_to_wait
from halftone_shared.model.rate_limit import RateLimit

# A proxy's header may contain any text of any length; the index takes at most 2.7 kB.
MAX_NAME_CHARACTERS = 100
# A caller with one IPv6 address has a whole network of this prefix length.
_IPV6_NETWORK_BITS = 64


def limit_rate(request: Request, owner_id: UUID | None) -> None:
    """Count an upload of this caller. Raises Problem 429, with Retry-After, if there are too
    many.
    """
    limit = services(request).settings.upload_rate_limit
    if limit is not None:
        limit_calls(request, caller_of(request, owner_id), limit)


def limit_repeats(request: Request) -> None:
    """Count a retry or a replay of this caller. The limit is that of uploads, with a counter of its
    own. Raises Problem 429, with Retry-After, if there are too many.
    """
    limit = services(request).settings.upload_rate_limit
    if limit is not None:
        caller = caller_of(request, find_caller(request).owner_id)
        limit_calls(request, f"repeats of {caller}", limit)


def limit_calls(request: Request, caller: str, limit: RateLimit) -> None:
    """Count a call under this name. Raises Problem 429, with Retry-After, beyond the limit."""
    with services(request).engine.connect() as connection:
        wait = seconds_to_wait(connection, caller, limit)
    if wait:
        seconds = math.ceil(wait)
        raise Problem(
            ProblemCode.RATE_LIMITED,
            f"More than {limit.calls} calls in {limit.seconds} s. Try again in {seconds} s.",
            headers={"Retry-After": str(seconds)},
        )


def caller_of(request: Request, owner_id: UUID | None) -> str:
    """The name that calls are counted under: an owner, an IPv4 address (also if mapped to IPv6), or
    an IPv6 network.
    """
    if owner_id is not None:
        return f"owner {owner_id}"
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"address {host[:MAX_NAME_CHARACTERS]}"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return f"address {address.ipv4_mapped}"
        return f"address {ipaddress.ip_network((address, _IPV6_NETWORK_BITS), strict=False)}"
    return f"address {address}"
