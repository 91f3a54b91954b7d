"""The service of the tests in this folder."""

import pytest

from tests.support.halftone import Service


@pytest.fixture
def service(embedded_service: Service) -> Service:
    """A running halftone on the embedded default. The command and the library know only its API,
    which is the same with RabbitMQ: the tests of the API run with both.
    """
    return embedded_service
