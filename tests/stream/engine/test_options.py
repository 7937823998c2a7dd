"""What the worker makes of its settings."""

import pytest

from stream.engine.app import _options
from stream.settings import QuickBooks, Settings


@pytest.mark.parametrize("trusted", [True, False])
def test_whether_requestids_are_trusted_is_what_the_settings_say(trusted: bool) -> None:
    assert _options(Settings(quickbooks=QuickBooks(trust_requestids=trusted)), None, {}).trust_requestids is trusted
