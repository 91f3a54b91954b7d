"""The services that routes use, built once in create_app."""

from dataclasses import dataclass

from sqlalchemy import Engine
from starlette.requests import Request

from halftone_api.callback_batches import CallbackBatches
from halftone_api.settings import ApiSettings
from halftone_api.status_watch import StatusWatch
from halftone_api.upload.intake_turns import IntakeTurns
from halftone_api.upload.space import UploadSpace
from halftone_shared.model.image_names import ImageUrls
from halftone_shared.model.request_status import RequestStatus
from halftone_shared.model.secret_box import SecretBox
from halftone_shared.model.status_object import StatusObject, status_object
from halftone_shared.service.storage_check import StorageCheck
from halftone_shared.storage import ImageStore


@dataclass(frozen=True)
class Services:
    """`watch_engine` has separate connections for /readyz and /metrics, which therefore answer even
    when calls wait for a connection. Likewise `intake_engine` has those that store uploads, so that
    no other call waits for an upload.
    """

    settings: ApiSettings
    engine: Engine
    watch_engine: Engine
    intake_engine: Engine
    store: ImageStore
    secret_box: SecretBox
    storage_check: StorageCheck
    status_watch: StatusWatch
    intake_turns: IntakeTurns
    upload_space: UploadSpace
    callbacks: CallbackBatches

    @property
    def image_urls(self) -> ImageUrls:
        return ImageUrls(self.settings.public_url, self.settings.image_base_url)

    def status_object(self, row: RequestStatus) -> StatusObject:
        """A request as clients see it, by this API's settings."""
        return status_object(row, self.settings.public_url, self.settings.retention_days)


def services(request: Request) -> Services:
    found = request.app.state.services
    assert isinstance(found, Services)  # noqa: S101 - set by create_app
    return found
