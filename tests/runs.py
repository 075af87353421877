"""Helpers of the end-to-end tests: run the command, load its files, compare with known truth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Run:
    """A finished run: where from, where to, and what it said."""

    source: Path
    output: Path
    code: int
    text: str

    def image(self, name: str) -> Any:
        """A file of the output by its name, wherever it lies."""
        (path,) = self.output.glob(f"sub-*/**/{name}")
        return nib.load(path)

    def sidecar(self, name: str) -> dict[str, Any]:
        """A sidecar of the output by its name."""
        (path,) = self.output.glob(f"sub-*/**/{name}")
        return json.loads(path.read_text())


def bids_app(source: Path, output: Path, *words: str, level: str = "participant") -> Run:
    """Run the command as a user would."""
    environment = {**os.environ, "BIDS_APP_HOME": str(output.parent / "no-home"), "HOME": str(output.parent)}
    environment.pop("BIDS_APP_HD_BET_WEIGHTS", None)
    environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    done = subprocess.run(
        [sys.executable, "-m", "bids_app", str(source), str(output), level, *words],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    return Run(source, output, done.returncode, done.stdout + done.stderr)


def series_table(path: Path) -> list[dict[str, str]]:
    """The rows of a series table."""
    header, *rows = [line.split("\t") for line in path.read_text().splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


def dice(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Dice overlap of two masks."""
    one, other = one > 0, other > 0
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def points_of(image: Any, inside: NDArray[Any], count: int = 5000) -> NDArray[np.float64]:
    """World coordinates (RAS+ mm, n x 3) of some voxels of a mask."""
    indices = np.argwhere(inside)
    chosen = indices[np.random.default_rng(0).choice(len(indices), min(count, len(indices)), replace=False)]
    return nib.affines.apply_affine(image.affine, chosen)


def itk_matrix(path: Path) -> NDArray[np.float64]:
    """A linear ITK transform file as a 4x4 matrix in RAS+ mm, from fixed to moving."""
    import SimpleITK as sitk

    transform = sitk.ReadTransform(str(path))
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float)
    flip = np.array([-1, -1, 1.0])
    moved = np.array([transform.TransformPoint((corner * flip).tolist()) for corner in corners]) * flip
    matrix = np.eye(4)
    matrix[:3, :3] = (moved[1:] - moved[0]).T
    matrix[:3, 3] = moved[0]
    return matrix


def linear_at(image: Any, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Trilinear interpolation of an image at world points, 0 outside: written anew, to check the product's own."""
    from scipy.ndimage import map_coordinates

    indices = nib.affines.apply_affine(np.linalg.inv(image.affine), points)
    array = np.asarray(image.dataobj, dtype=np.float64)
    return map_coordinates(array, indices.T, order=1, mode="constant", cval=0.0)
