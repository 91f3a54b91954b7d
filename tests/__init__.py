import pytest

# Failed asserts in tests.support show their values, as asserts in tests do.
pytest.register_assert_rewrite("tests.support")
