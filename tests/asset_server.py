"""An archive on this machine, from which tests fetch weights and templates."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path


class Server:
    """An archive on this machine: what it answers for a path, and what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.break_off_after: int | None = None
        self.asked: list[str] = []
        served = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                served.asked.append(path)
                content = served.files.get(path)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: served.break_off_after] if path.endswith(("zip", "gz")) else content)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


def nothing_but(home: Path) -> list[str]:
    """The names of what lies in a home that may not be there."""
    return sorted(path.name for path in home.iterdir()) if home.exists() else []
