"""HD-BET's weights: finding and fetching them."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from bids_app.assets.fetching import AssetError, Progress, download, download_json, ignore_progress, user_home
from bids_app.exit_codes import CANNOT_CREATE, TRY_AGAIN, USAGE
from bids_app.steps.brain_mask.hd_bet import CHECKPOINT, HdBetError, check_weights

#: Where HD-BET 2.0.1 itself fetches its weights from (`HD_BET.paths`).
HD_BET_URL = "https://zenodo.org/records/14445620/files/release_v1.5.0.zip?download=1"

HD_BET_LICENSE = """\
The weights of HD-BET 2 come from https://zenodo.org/records/14445620, not with this software.
They are reported to be under CC BY-NC 4.0: with attribution, and not for commercial use. That report is second-hand;
what the page above says holds. HD-BET's code is under the Apache License 2.0.
Please cite: Isensee et al., Automated brain extraction of multisequence MRI using artificial neural networks,
Human Brain Mapping 40:4952-4964, 2019, doi:10.1002/hbm.24750."""

_FILES = ("dataset.json", "plans.json", CHECKPOINT)
_ARCHIVE = re.compile(r"(?P<host>https?://[^/]+)/records?/(?P<record>\d+)/files/(?P<name>[^?]+)")


def find_hd_bet_weights(given: Path | None, home: Path) -> Path | None:
    """The folder of HD-BET's weights: the given one as it is, else fetched here, else HD-BET's own; None: none."""
    if given is not None:
        return given
    candidates = [home / "hd-bet"]
    if (user := user_home()) is not None:
        candidates.append(user / "hd-bet_params" / "release_2.0.0")  # HD_BET.paths
    return next((folder for folder in candidates if (folder / CHECKPOINT).is_file()), None)


def fetch_hd_bet(
    home: Path,
    *,
    accept_license: bool,
    url: str = HD_BET_URL,
    sha256: str | None = None,
    progress: Progress = ignore_progress,
    say: Callable[[str], None] = lambda _message: None,
) -> Path:
    """Fetch HD-BET's weights into `home/hd-bet`; done at once when good ones are there already.

    The archive must have the given `sha256`, or the checksum and size which the record of the archive publishes. It is
    unpacked beside its place and renamed as a whole: several processes may do this at once, and one that is killed
    leaves nothing that looks finished.

    Parameters
    ----------
    accept_license
        The user has read `HD_BET_LICENSE` and agrees.
    progress
        Told bytes done and bytes in all while downloading.
    say
        Told messages for the user: the licence, and what the archive's record says of it.

    Raises
    ------
    AssetError
        Code 64: licence not accepted, or no checksum to verify by; 75: network trouble or a damaged archive; 73: `home`
        cannot be written to.
    """
    target = home / "hd-bet"
    if _is_good(target):
        return target
    if not accept_license:
        raise AssetError(f"{HD_BET_LICENSE}\nSay --accept-license to agree and fetch them.", USAGE)
    say(HD_BET_LICENSE)
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".hd-bet-", dir=home, ignore_cleanup_errors=True) as folder:
            _fetch(Path(folder), target, url, sha256, progress, say)
    except OSError as error:
        raise AssetError(
            f"{home}: cannot be written to ({error.strerror or error}); set BIDS_APP_HOME to a folder that can",
            CANNOT_CREATE,
        ) from error
    return target


def _fetch(
    folder: Path, target: Path, url: str, sha256: str | None, progress: Progress, say: Callable[[str], None]
) -> None:
    checksum, size = (f"sha256:{sha256}", None) if sha256 else _published(url, say)
    download(url, folder / "weights.zip", checksum=checksum, size=size, progress=progress)
    unpacked = folder / "hd-bet"
    _unpack(folder / "weights.zip", unpacked, url)
    try:
        check_weights(unpacked)
    except HdBetError as error:
        raise AssetError(f"{url}: holds no usable weights: {error}", TRY_AGAIN) from error
    if target.exists() and not _is_good(target):
        target.rename(folder / "broken")
    try:
        unpacked.rename(target)
    except OSError:  # another process was faster: a folder is never renamed onto one with content
        if not _is_good(target):
            raise


def _published(url: str, say: Callable[[str], None]) -> tuple[str, int | None]:
    """Checksum and size that the record of an archived file publishes."""
    address = _ARCHIVE.match(url)
    if address is None:
        raise AssetError(f"{url}: no archive that publishes checksums; give the file's sha256 too", USAGE)
    record_url = f"{address['host']}/api/records/{address['record']}"
    record = download_json(record_url)
    try:
        licence = record.get("metadata", {}).get("license")
        licence = licence.get("id") if isinstance(licence, dict) else licence
        entry = next(file for file in record["files"] if file["key"] == address["name"])
        checksum, size = str(entry["checksum"]), int(entry["size"])
    except (StopIteration, KeyError, TypeError, ValueError, AttributeError) as error:
        raise AssetError(
            f"{record_url}: does not say the checksum of {address['name']}; try again", TRY_AGAIN
        ) from error
    if licence:
        say(f"Licence by the record of the archive: {licence}")
    return checksum, size


def _unpack(archive: Path, folder: Path, url: str) -> None:
    """Copy the three files of a model out of an archive, under names of our own: no path of the archive is followed."""
    try:
        with zipfile.ZipFile(archive) as content:
            names = [name for name in content.namelist() if PurePosixPath(name).name == "dataset.json"]
            tops = [name.removesuffix("dataset.json") for name in sorted(names, key=len)]
            for name in _FILES:
                if not tops or tops[0] + name not in content.namelist():
                    raise AssetError(f"{url}: no {name} in it: not an archive of HD-BET 2's weights", TRY_AGAIN)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with content.open(tops[0] + name) as source, (folder / name).open("wb") as copy:
                    shutil.copyfileobj(source, copy)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise AssetError(f"{url}: not a whole zip archive ({error}); try again", TRY_AGAIN) from error


def _is_good(folder: Path) -> bool:
    try:
        check_weights(folder)
    except HdBetError:
        return False
    return True
