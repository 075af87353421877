"""Is there a face left? A number for every image, found independently of how the image was defaced.

The template's brain is fitted to the brain mask (`face_frame`), and in the template's space a face is where faces are:
the skin's distance in front of the brain differs by about 5 mm (SD) from head to head. The image is looked at from the
front, in cells of 2.5 mm from the lower lids to the chin: a cell shows skin where the first tissue that is met lies
no deeper than 20 mm under the skin of an average head. The share of such cells among those in the field of view is the
number. The eyes are judged apart, by what is left in two spheres. (The brow is not judged: a head that leans by a few
degrees shows the lower forehead there, which defacing keeps.)

Neither the plane of `deface` nor its face mask is used: a leak is found however it came about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from .face_frame import FaceFrame, find_frame
from .images import Image, array_of, mask_of

VERSION = "1"

#: Depth of the skin seen from the front: y (mm, template space) at a height z (mm) for x = 0, 10 ... 50 mm to either
#: side. Medians of nine whole-head label maps (Billot et al. 2023), both sides together.
_SKIN_X = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0)
_SKIN_Y: dict[int, tuple[int, ...]] = {
    20: (80, 80, 78, 74, 69, 60),
    10: (82, 82, 80, 76, 72, 63),
    0: (84, 84, 80, 78, 72, 64),
    -10: (84, 84, 82, 79, 74, 66),
    -20: (84, 84, 84, 80, 75, 68),
    -30: (84, 84, 81, 78, 74, 68),  # brow
    -40: (82, 78, 72, 72, 70, 64),  # eyes
    -50: (80, 72, 66, 68, 67, 58),
    -60: (82, 76, 65, 64, 62, 56),
    -70: (86, 80, 68, 64, 62, 58),
    -80: (90, 84, 66, 64, 62, 58),  # tip of the nose
    -90: (89, 84, 67, 60, 58, 54),
    -100: (77, 69, 64, 57, 53, 46),  # mouth
    -110: (69, 68, 62, 54, 46, 39),
    -120: (67, 65, 58, 50, 41, 33),
    -130: (65, 62, 54, 45, 37, 24),  # chin
}
_BROW, _LIDS, _CHIN, _SIDE = -34.0, -46.0, -130.0, 45.0
_CELL = 2.5
_FRONT, _BACK = 30.0, 0.0  # what sticks out further in front of the skin is no face; y where looking ends
_DEEP = 20.0  # under the skin of an average head; what is cut off deeper shows nobody
#: Centre of the right eyeball on the same heads; the left one mirrors it. Single heads differ by up to 6 mm.
_EYE = (33.5, 56.5, -40.5)
_EYE_RADIUS = 9.0
_TURNS_DEG = (0, -3, 3, -6, 6, -9, 9, -12, 12, -15, 15)
_TURN_SD_DEG = 6.0

#: What may be left. On heads that are whole both are 1, on heads that are defaced with a good mask the skin is 0.00 to
#: 0.02 and the eyes 0.00 to 0.08 (demo heads and real ones); one eye that was forgotten is 0.5 of the eyes.
MAX_SKIN_LEFT = 0.05
MAX_EYES_LEFT = 0.25
_MIN_AREA_CM2 = 6.0  # a field of view that shows less than this of a face shows none


@dataclass(frozen=True)
class FaceView:
    """What an image shows of a face.

    Attributes
    ----------
    skin
        Share (0..1) of the cells in the field of view, from the lower lids to the chin, that show skin; `None` where it
        has none.
    eyes
        Share of the eyeballs' volume in the field of view that is not blank; `None` where it has none.
    area_cm2
        Area of face that the field of view covers, as seen from the front.
    """

    skin: float | None
    eyes: float | None
    area_cm2: float


@dataclass(frozen=True)
class FaceCheck:
    """The verdict: what is seen before and after defacing, whether the face is gone, and why it is thought so."""

    before: FaceView
    after: FaceView
    passed: bool
    reason: str
    frame: FaceFrame


def check_face(image: Image, brain_mask: Image, defaced: Image | None = None) -> FaceCheck:
    """Judge whether a face is left.

    Parameters
    ----------
    image
        Conformed; as scanned, or, where `defaced` is not given, the image to be judged.
    brain_mask
        On its grid.
    defaced
        The same image without its face, on the same grid; what was removed is 0, or what the file has nearest to 0.

    Raises
    ------
    ImageError
        The brain mask is empty or tiny.
    """
    frame = find_frame(brain_mask)
    scan = _Scan(image, _air_level(image, brain_mask, frame))
    frames = (frame, _turned_to_face(scan, frame))
    before = _worse([_view(scan, each) for each in frames])
    after = before
    if defaced is not None:
        left = _Scan(defaced, scan.air)
        after = _worse([_view(left, each) for each in frames])
    passed, reason = _verdict(before, after, frame)
    return FaceCheck(before, after, passed, reason, frame)


def face_picture(image: Image, check: FaceCheck, side_mm: float = 1.5) -> NDArray[np.uint8]:
    """The head's surface seen from the front, shaded by its slope (rows from the crown down, columns from its right).

    It shows a face wherever the image does: for the work folder alone.
    """
    x, z = np.arange(85, -86, -side_mm), np.arange(70, -151, -side_mm)
    y = np.arange(130, -60, -side_mm)[:, None]
    scan = _Scan(image, (0.0, 0.08 * float(np.percentile(array_of(image), 99))))
    depth = np.nan_to_num(_depth(scan, check.frame, x, y, z)[0], nan=-60.0).T
    down, across = np.gradient(depth, side_mm)
    light = (0.9 + 0.4 * down - 0.2 * across) / np.sqrt(1 + down**2 + across**2)
    shade: NDArray[np.uint8] = np.where(depth > -60, 30 + 200 * np.clip(light, 0, 1), 0).astype(np.uint8)
    return shade


class _Scan:
    """An image to be sampled: its voxels, what a removed voxel shows, what air shows and how far off tissue begins."""

    def __init__(self, image: Image, air: tuple[float, float]) -> None:
        self.array = array_of(image)
        self.to_index = np.linalg.inv(np.asarray(image.affine, dtype=float))
        self.air = air
        self.blank = 0.0 if (self.array == 0).any() else float(self.array.flat[np.abs(self.array).argmin()])

    def sample(self, frame: FaceFrame, points: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Nearest voxels' values at points of the template's space, and whether each is in the field of view."""
        index = np.rint(nib.affines.apply_affine(self.to_index @ np.linalg.inv(frame.matrix), points)).astype(np.int64)
        shape = np.array(self.array.shape)
        inside = ((index >= 0) & (index < shape)).all(axis=-1)
        index = np.clip(index, 0, shape - 1)
        return self.array[index[..., 0], index[..., 1], index[..., 2]], inside


def _worse(views: list[FaceView]) -> FaceView:
    """The most that is seen of a face: the mask's frame and the one turned to the face can each be the wrong one."""
    skins = [view.skin for view in views if view.skin is not None]
    eyes = [view.eyes for view in views if view.eyes is not None]
    return FaceView(max(skins, default=None), max(eyes, default=None), max(view.area_cm2 for view in views))


def _verdict(before: FaceView, after: FaceView, frame: FaceFrame) -> tuple[bool, str]:
    if frame.problem:
        return False, f"{frame.problem}, so that it cannot be told where the face is"
    if after.skin is None and after.eyes is None:
        return True, "the field of view has no face in it"
    left = []
    if (after.skin or 0) > MAX_SKIN_LEFT:
        left.append(f"{100 * (after.skin or 0):.0f} % of the face's skin")
    if (after.eyes or 0) > MAX_EYES_LEFT:
        left.append(f"{100 * (after.eyes or 0):.0f} % of the eyes")
    if left:
        return False, f"{' and '.join(left)} can still be seen"
    if (before.skin or 0) <= MAX_SKIN_LEFT and (before.eyes or 0) <= MAX_EYES_LEFT:
        return True, "the image showed no face before"
    return True, "the face is gone"


def _view(scan: _Scan, frame: FaceFrame) -> FaceView:
    """Look at an image from the front."""
    x, y, z, skin_y = _cells(_CELL, _LIDS)
    depth, inside = _depth(scan, frame, x, y, z)
    face = (y > skin_y[:, None] - _DEEP) & (y < skin_y[:, None] + 5)
    seen = (inside & face).sum(axis=1) >= 0.5 * face.sum(axis=1)
    shows = seen & (np.nan_to_num(depth, nan=-1e3) > skin_y - _DEEP)
    area = float(seen.sum()) * _CELL**2 / 100
    value, near = scan.sample(frame, _eyes())
    left = float((value != scan.blank)[near].mean()) if near.mean() > 0.15 else None
    return FaceView(
        round(float(shows.sum() / seen.sum()), 4) if area >= _MIN_AREA_CM2 else None,
        None if left is None else round(left, 4),
        round(area, 1),
    )


def _depth(
    scan: _Scan, frame: FaceFrame, x: NDArray[Any], y: NDArray[Any], z: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """y of the first tissue in each cell (x, z), NaN where there is none; the field of view, (x, y, z)."""
    from scipy.ndimage import uniform_filter

    value, inside = scan.sample(frame, np.stack(np.broadcast_arrays(x[:, None, None], y, z[None, None]), axis=-1))
    tissue = (value != scan.blank) & (np.abs(value - scan.air[0]) >= scan.air[1]) & inside
    # Most of a cube of three cells: a bright voxel of air is no tissue.
    tissue = uniform_filter(tissue.astype(np.float32), 3, mode="nearest") > 0.5
    return np.where(tissue.any(axis=1), y.ravel()[tissue.argmax(axis=1)], np.nan), inside


def _turned_to_face(scan: _Scan, frame: FaceFrame) -> FaceFrame:
    """Correct the frame's pitch by what the image shows, where that is a face.

    A mask that takes in what lies under the frontal lobes tilts the brain that is fitted to it, and the eyes would be
    looked for too low. So the frame is turned to where forehead, eyes, nose and chin lie at the depths of the average
    head (mean absolute difference, their median taken off), a large turn less readily.
    """
    x, y, z, skin_y = _cells(2 * _CELL, 20.0)
    best, turned = np.inf, frame
    for degrees in _TURNS_DEG:
        candidate = frame.pitched(degrees)
        depth, inside = _depth(scan, candidate, x, y, z)
        off, seen = depth - skin_y, inside.mean(axis=1) > 0.6
        below = seen & (z < _BROW)
        face = below & (off > -_DEEP)
        if face.sum() < max(10, 0.5 * below.sum()):
            if degrees == 0:
                return frame  # no face to be turned to
            continue
        away = np.nan_to_num(np.abs(off - np.nanmedian(off[seen]))[seen], nan=15.0)
        cost = float(np.minimum(away, 15.0).mean()) + 0.5 * (degrees / _TURN_SD_DEG) ** 2
        if cost < best:
            best, turned = cost, candidate
    return turned


def _air_level(image: Image, brain_mask: Image, frame: FaceFrame) -> tuple[float, float]:
    """What air shows in an image, and how far from it tissue begins.

    Air is what lies well outside the average head: in front of the face and above the crown. Where it is nearly as
    loud as tissue (the background of a T1 map, say), everything that is not blank counts as tissue: (0, 0).
    """
    scan = _Scan(image, (0.0, 0.0))
    bright = float(np.median(scan.array[mask_of(brain_mask)]))
    x, z = np.arange(-60, 61, 6.0), np.arange(-120, 141, 6.0)
    ahead = np.meshgrid(x, np.arange(115, 150, 6.0), z, indexing="ij")
    above = np.meshgrid(x, np.arange(-80, 90, 6.0), np.arange(112, 150, 6.0), indexing="ij")
    points = np.concatenate([np.stack(each, axis=-1).reshape(-1, 3) for each in (ahead, above)])
    value, inside = scan.sample(frame, points)
    value = value[inside & (value != scan.blank)]
    if len(value) < 50:  # the background was set to 0, or there is none
        return 0.0, 0.08 * abs(bright)
    middle = float(np.median(value))
    noise = 1.4826 * float(np.median(np.abs(value - middle)))
    contrast = abs(bright - middle)
    if 4 * noise > 0.5 * contrast:
        return 0.0, 0.0
    return middle, max(4 * noise, 0.05 * contrast)


def _cells(size: float, top: float) -> tuple[NDArray[Any], ...]:
    """x (n,) and z (k,) of cells down to the chin, y (m, 1) from the front, y of the average skin (n, k)."""
    from scipy.interpolate import RegularGridInterpolator

    x, z = np.arange(-_SIDE, _SIDE + 0.1, size), np.arange(top, _CHIN - 0.1, -size)
    heights, depths = np.array(list(_SKIN_Y))[::-1], np.array(list(_SKIN_Y.values()), dtype=float)[::-1]
    average = RegularGridInterpolator((heights, np.array(_SKIN_X)), depths)
    skin_y = average(np.stack(np.meshgrid(z, np.abs(x), indexing="ij"), axis=-1)).T
    return x, np.arange(depths.max() + _FRONT, _BACK, -size)[:, None], z, skin_y


def _eyes() -> NDArray[np.float64]:
    """Points in both eyeballs, 1.5 mm apart."""
    offsets = np.stack(np.meshgrid(*[np.arange(-_EYE_RADIUS, _EYE_RADIUS + 1, 1.5)] * 3), axis=-1).reshape(-1, 3)
    ball = offsets[(offsets**2).sum(axis=1) < _EYE_RADIUS**2]
    return np.concatenate([ball + np.array(_EYE) * (side, 1, 1) for side in (1, -1)])
