"""The folder of fetched things, the error, and a download that is whole or not there."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bids_app.exit_codes import CANNOT_CREATE, NO_INPUT, TRY_AGAIN, USAGE

#: Told the bytes that have come and how many there will be (None: the server does not say).
Progress = Callable[[int, int | None], None]


_TIMEOUT_S = 60
_CHUNK = 1 << 20
_FEWEST_DIGITS = 8


class AssetError(Exception):
    """Weights or a template that is not there or cannot be fetched; `message` is for a user, `code` the exit code."""

    def __init__(self, message: str, code: int = NO_INPUT) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def home(environment: Mapping[str, str]) -> Path:
    """The folder of fetched weights and templates; it may not exist yet.

    `BIDS_APP_HOME`, else the user's data folder (XDG base directory specification).
    """
    if given := environment.get("BIDS_APP_HOME"):
        return Path(given).absolute()
    data = environment.get("XDG_DATA_HOME") or str(Path(environment.get("HOME") or "/") / ".local" / "share")
    return Path(data) / "bids_app"


def user_home() -> Path | None:
    """The user's home folder; None where the user has none (a container run under any uid)."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def ignore_progress(_done: int, _total: int | None) -> None:
    """Say nothing."""


def download(
    url: str, target: Path, *, checksum: str, size: int | None = None, progress: Progress = ignore_progress
) -> None:
    """Download a file and verify it; `target` is removed again when anything is wrong with it.

    Parameters
    ----------
    checksum
        Algorithm and hexadecimal digest: `md5:...` or `sha256:...`; of the digest at least the first eight digits.
    size
        Bytes, where known.

    Raises
    ------
    AssetError
        Code 75: no network, half a file, or another checksum; 66: there is no such file; 64: not an address.
    """
    algorithm, _, expected = checksum.partition(":")
    if len(expected) < _FEWEST_DIGITS:
        raise ValueError(f"a checksum of {len(expected)} digits checks nothing")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    done = 0
    try:
        with _open(url) as response, target.open("wb") as file:
            length = response.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else size
            while chunk := _read(response, url):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                progress(done, total)
        # a connection that closes early reads as the end of the file
        wanted = size if size is not None else total
        if wanted is not None and done != wanted:
            raise AssetError(f"{url}: {done} of {wanted} bytes came; try again", TRY_AGAIN)
        if not digest.hexdigest().startswith(expected.lower()):
            raise AssetError(
                f"{url}: the {algorithm} checksum is {digest.hexdigest()}, {expected.lower()} was expected: "
                "damaged on its way or not the file that it should be; try again",
                TRY_AGAIN,
            )
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise AssetError(f"{target}: cannot be written ({error.strerror or error})", CANNOT_CREATE) from error
        raise


def download_json(url: str) -> Any:
    """The content of a JSON document. Raises AssetError as `download` does."""
    with _open(url) as response:
        content = b"".join(iter(lambda: _read(response, url), b""))
    try:
        return json.loads(content)
    except ValueError as error:
        raise AssetError(f"{url}: not the answer of an archive ({error}); try again", TRY_AGAIN) from error


def _open(url: str) -> Any:
    try:
        return urllib.request.urlopen(
            urllib.request.Request(url, headers={"User-Agent": "bids_app"}), timeout=_TIMEOUT_S
        )
    except ValueError as error:
        raise AssetError(f"{url}: not an address to download from", USAGE) from error
    except urllib.error.HTTPError as error:
        code = NO_INPUT if error.code in (404, 410) else TRY_AGAIN
        raise AssetError(f"{url}: the server answers {error.code} {error.reason}", code) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise AssetError(f"{url}: cannot be reached ({reason}); is there a network? Try again", TRY_AGAIN) from error


def _read(response: Any, url: str) -> bytes:
    try:
        return bytes(response.read(_CHUNK))
    except (OSError, http.client.HTTPException) as error:
        raise AssetError(f"{url}: the download broke off ({error}); try again", TRY_AGAIN) from error
