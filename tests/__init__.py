import pytest

# So that what fails in there is told with its values, as in a test.
pytest.register_assert_rewrite("tests.support")
