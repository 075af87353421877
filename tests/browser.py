"""A headless Chromium for tests of pages, driven over its DevTools protocol through two pipes: no further library."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")


def find_chromium() -> str | None:
    """The browser of this machine, or None."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page in a browser of its own; everything that it logs and asks the network for is kept.

    Attributes
    ----------
    errors
        Console errors, warnings and uncaught exceptions.
    requests
        Addresses that were asked for, but for the page itself and what is in it (`data:`, `blob:`).
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._in_read, self._to_browser = os.pipe()
        self._from_browser, self._out_write = os.pipe()
        command = (
            f'exec "$0" --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking '
            f'--disable-component-update --disable-sync --user-data-dir="$1" --remote-debugging-pipe '
            f"about:blank 3<&{self._in_read} 4>&{self._out_write}"
        )
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, program, str(folder / "profile")],
            pass_fds=(self._in_read, self._out_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(self._in_read)
        os.close(self._out_write)
        self._rest, self._number = b"", 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        self._session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.downloads = folder / "downloads"
        self.downloads.mkdir(exist_ok=True)
        self.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to_browser)
        os.close(self._from_browser)

    def open(self, path: Path) -> float:
        """Open a file and wait until it is loaded; the seconds that it took."""
        self._loaded = False
        began = time.monotonic()
        self.send("Page.navigate", url=path.resolve().as_uri())
        while not self._loaded:
            self._event()
        return time.monotonic() - began

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(result["exceptionDetails"])
        return result["result"].get("value")

    def press(self, key: str, code: int = 0) -> None:
        """Press and release a key, as a person would ("Tab", "ArrowRight", " ")."""
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key if len(key) > 1 else "Space",
                windowsVirtualKeyCode=code, **text,
            )  # fmt: skip

    def size(self, width: int, height: int) -> None:
        """The size of the window."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def media(self, kind: str = "", **features: str) -> None:
        """Print instead of screen, or a preference such as prefers_color_scheme="dark"."""
        listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.send("Emulation.setEmulatedMedia", media=kind, features=listed)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """What the window shows, or the whole page."""
        content = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(content["data"]))

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._event()
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer.get("result", {})

    def _event(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._from_browser, 1 << 20)
            if not part:
                raise AssertionError("the browser ended")
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        event: dict[str, Any] = json.loads(text)
        self._take(event.get("method", ""), event.get("params", {}))
        return event

    def _take(self, method: str, words: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(words["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and words["type"] in ("error", "warning", "assert"):
            self.errors.append(str(words["args"]))
        elif method == "Log.entryAdded" and words["entry"]["level"] in ("error", "warning"):
            self.errors.append(words["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            address = words["request"]["url"]
            if not address.startswith(("data:", "blob:")) and words.get("type") != "Document":
                self.requests.append(address)
