"""DenseNet121's ImageNet weights: fetched on request, checked by the hash that their name carries."""

from __future__ import annotations

import os
from pathlib import Path

from bids_app.assets.fetching import Progress, download, ignore_progress

#: torchvision's file; its name ends in the first eight digits of its SHA-256, which is how torch checks it, too.
NAME = "densenet121-a639ec97.pth"
_URL = f"https://download.pytorch.org/models/{NAME}"


def find_densenet(given: Path | None, home: Path) -> Path | None:
    """The weights that were named, else the fetched ones, else None."""
    if given is not None:
        return given
    return home / NAME if (home / NAME).is_file() else None


def fetch_densenet(home: Path, *, url: str = _URL, progress: Progress = ignore_progress) -> Path:
    """Fetch the weights (31 MB) unless they are there, and return their path.

    Raises
    ------
    AssetError
        No network, a broken download, or another file than the name promises.
    """
    target = home / NAME
    if not target.is_file():
        home.mkdir(parents=True, exist_ok=True)
        partial = home / f".partial-{os.getpid()}-{NAME}"
        download(url, partial, checksum=f"sha256:{NAME.removesuffix('.pth').rpartition('-')[2]}", progress=progress)
        partial.replace(target)
    return target
