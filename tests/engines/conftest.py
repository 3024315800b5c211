import signal

import pytest


@pytest.fixture
def interruptible():
    """An interruption is heard, also where a shell started the tests in its background and so ignores it for them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
