"""The rate limit, shared by all API processes: GCRA, a leaky bucket stored as one timestamp. Each
call runs one statement.

`free_at` is when the caller's bucket will be empty. Each call moves it by one interval. A call is
refused if the bucket would hold more calls than the limit allows. `free_at` is capped accordingly:
a later value means that the database's clock was set back.
"""

from sqlalchemy import Connection, text

from halftone_shared.model.rate_limit import RateLimit

_FREE_AT = "least(known.free_at, clock_timestamp() + make_interval(secs => :period))"
# clock_timestamp(), not now(): a call that waited for a row lock needs the time after the wait.
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
    """Count a call and return 0 if it is allowed. Otherwise do not count it, and return the seconds
    until the next call is allowed.
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
    """Delete callers whose bucket is empty: they need no row."""
    connection.execute(text("DELETE FROM rate_limits WHERE free_at < now()"))
