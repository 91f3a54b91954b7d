"""One API for all route tests, and one with keys. Each test's uploads are deleted after it."""

from collections.abc import Iterator

import pytest

from tests.support.api import Api, api_settings, forget_requests, running_api
from tests.support.postgres import TestPostgres


@pytest.fixture(scope="package")
def open_api(postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(
        api_settings(postgres.new_database(), tmp_path_factory.mktemp("storage"))
    ) as api:
        yield api


@pytest.fixture
def api(open_api: Api) -> Iterator[Api]:
    """An API without keys."""
    yield open_api
    forget_requests(open_api.engine)


@pytest.fixture(scope="package")
def guarded_api(open_api: Api) -> Iterator[Api]:
    with running_api(open_api.settings.model_copy(update={"auth": "keys"})) as api:
        yield api


@pytest.fixture
def guarded(guarded_api: Api) -> Iterator[Api]:
    """An API with keys."""
    yield guarded_api
    forget_requests(guarded_api.engine)
