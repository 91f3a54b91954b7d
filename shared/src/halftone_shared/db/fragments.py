"""Parts of statements that several modules share, each written once."""

from halftone_shared.db.tables import COUNTERS, ENDED_PRODUCTS

# Joined to `requests AS r`: the sums over its shards that are not full yet, as `open`. A running
# request's counters are those of the request itself (its full shards) plus these.
OPEN_SHARDS = f"""
    LEFT JOIN LATERAL (
        SELECT {", ".join(f"sum({name}) AS {name}" for name in COUNTERS)},
               sum_counts(errors) FILTER (WHERE errors <> '{{}}') AS errors,
               max(updated_at) AS updated_at
        FROM request_shards
        WHERE r.open_shards > 0 AND request_id = r.id AND {ENDED_PRODUCTS} < total
    ) AS open ON true
"""  # noqa: S608 - the parts are constants


def counted(name: str) -> str:
    """A counter of `requests AS r` with what its open shards hold; needs OPEN_SHARDS."""
    return f"(r.{name} + coalesce(open.{name}, 0))"
