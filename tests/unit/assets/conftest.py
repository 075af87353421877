"""What the tests of assets share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asset_server import Server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = Server()
    yield served
    served.server.shutdown()
    served.server.server_close()
