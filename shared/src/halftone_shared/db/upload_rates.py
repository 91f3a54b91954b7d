"""The rate limit, shared by all API processes: GCRA, a leaky bucket that is a single time, in one
statement a call.

`free_at` is when the caller's bucket will be empty. Each call moves it on by one interval; a call
is refused when the bucket would be fuller than the limit's count of calls (burst). None is fuller
than that: where it seems to be, the database's clock was set back.
"""

from sqlalchemy import Connection, text

from halftone_shared.model.rate_limit import RateLimit

_FREE_AT = "least(known.free_at, clock_timestamp() + make_interval(secs => :period))"
# clock_timestamp, as a call that has waited for another's row lock must see the time after it.
_TAKE = text(
    f"""
    INSERT INTO rate_limits AS known (caller, free_at)
    VALUES (:caller, clock_timestamp() + make_interval(secs => :interval))
    ON CONFLICT (caller) DO UPDATE
    SET free_at = greatest({_FREE_AT}, clock_timestamp()) + make_interval(secs => :interval)
    WHERE greatest({_FREE_AT}, clock_timestamp()) + make_interval(secs => :interval)
          <= clock_timestamp() + make_interval(secs => :period)
    RETURNING caller
    """  # noqa: S608 - a constant
)
_WAIT = text(
    f"""
    SELECT extract(epoch FROM {_FREE_AT} - clock_timestamp())::float + :interval - :period
    FROM rate_limits AS known
    WHERE caller = :caller
    """  # noqa: S608 - a constant
)


def seconds_to_wait(connection: Connection, caller: str, limit: RateLimit) -> float:
    """Count a call of this caller: 0 when it may go on, and else, uncounted, in how many seconds
    the next one may.
    """
    parameters = {
        "caller": caller,
        "interval": limit.seconds / limit.calls,
        "period": float(limit.seconds),
    }
    if connection.execute(_TAKE, parameters).scalar() is not None:
        return 0.0
    return max(float(connection.execute(_WAIT, parameters).scalar() or 0.0), 0.001)


def forget_callers(connection: Connection) -> None:
    """Delete the callers whose bucket is empty: they are like new ones."""
    connection.execute(text("DELETE FROM rate_limits WHERE free_at < now()"))
