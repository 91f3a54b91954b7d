"""Parts of statements that several modules share."""

from halftone_shared.db.tables import COUNTERS, ENDED_PRODUCTS

# Joined to `requests AS r`: sums over its shards that are not full yet, as `open`. A running
# request's totals are its own counters (the full shards) plus these.
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
    """A counter of `requests AS r`, open shards included; needs OPEN_SHARDS."""
    return f"(r.{name} + coalesce(open.{name}, 0))"
