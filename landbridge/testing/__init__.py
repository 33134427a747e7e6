"""For tests of methods outside landbridge: the contract that every method keeps, and small data sets.

pytest is needed; nothing else of landbridge imports this package.
"""

import pytest

# before the import: its assertions then say what differs
pytest.register_assert_rewrite("landbridge.testing.methods")

from landbridge.testing.methods import MethodContract as MethodContract  # noqa: E402

__all__ = ["MethodContract"]
