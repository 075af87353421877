"""Datasets for tests, built from dictionaries of paths and contents."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

DESCRIPTION = {"Name": "a test", "BIDSVersion": "1.10.0"}


@dataclass(frozen=True)
class Nifti:
    """A small image of seeded noise; the default is as large as a head, in coarse voxels."""

    shape: tuple[int, ...] = (20, 22, 20)
    spacing: tuple[float, float, float] = (8.0, 8.0, 8.0)
    orientation: str = "RAS"
    dtype: str = "uint8"
    affine: Any = None
    fill: float | None = None
    header: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1

    def image(self) -> Any:
        """The image in memory."""
        if self.fill is None:
            data = np.random.default_rng(0).integers(0, 200, self.shape).astype(self.dtype)
        else:
            data = np.full(self.shape, self.fill, dtype=self.dtype)
        affine = self.affine if self.affine is not None else oriented(self.orientation, self.spacing)
        image = (nib.Nifti1Image if self.version == 1 else nib.Nifti2Image)(data, affine, dtype=self.dtype)
        for key, value in self.header.items():
            image.header[key] = value
        return image

    def write(self, path: Path) -> None:
        """Write it to a file, compressed if its name says so."""
        nib.save(self.image(), path)


def oriented(orientation: str, spacing: Sequence[float]) -> Any:
    """The affine of a grid whose axes point where a code such as "PSR" says."""
    ornt = nib.orientations.axcodes2ornt(orientation)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(ornt):
        affine[int(world), axis] = sign * spacing[axis]
    return affine


def turned_affine(spacing: Sequence[float], degrees: float) -> Any:
    """The affine of a RAS grid turned about the left-right and then about the front-back axis."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return affine @ np.diag([*spacing, 1])


@dataclass(frozen=True)
class Link:
    """A symbolic link; broken unless its target is there."""

    target: str


def write_tree(root: Path, files: Mapping[str, Any], described: bool = True) -> Path:
    """Write files under `root`, with a dataset_description.json unless `described` is False.

    A mapping or list becomes JSON, `Nifti` an image, None a folder, text and bytes what they are.
    """
    root.mkdir(parents=True, exist_ok=True)
    if described:
        files = {"dataset_description.json": DESCRIPTION, **files}
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        elif isinstance(content, Nifti):
            content.write(path)
        elif isinstance(content, Link):
            path.symlink_to(content.target)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            path.write_text(json.dumps(content), encoding="utf-8")
    return root


def packed(content: bytes) -> bytes:
    """Content in gzip, the same bytes whenever it is made: names of tests are made of them."""
    return gzip.compress(content, mtime=0)
