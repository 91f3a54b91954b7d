"""Finds the request that a call is about, if its caller may see it."""

from starlette.requests import Request

from halftone_api.endpoints.authentication import find_caller
from halftone_api.endpoints.parameters import REQUEST_ID
from halftone_api.errors import request_not_found
from halftone_api.services import services
from halftone_shared.db.requests import get_status
from halftone_shared.model.request_status import RequestStatus


def find_request(request: Request) -> RequestStatus:
    """The request in the path. Raises Problem: 401 without a key; 404 if it does not exist or
    belongs to another owner.
    """
    owner = find_caller(request).sees_only
    request_id = REQUEST_ID.of(request)
    with services(request).engine.connect() as connection:
        row = get_status(connection, request_id, owner=owner)
    if row is None:
        raise request_not_found(str(request_id))
    return row
