"""What a demo head is made of: tissues with their signal in each contrast, and simple shapes in template space.

Coordinates are millimetres, RAS+, in MNI152NLin2009aSym. The shapes were placed by eye on an average head. Later
shapes cover earlier ones, as paint does. Signals are relative to white matter in T1w, roughly what spin-echo and
gradient-echo sequences show at 3 tesla; they are for pictures and registration, not for relaxometry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Contrast = Literal["T1w", "ceT1w", "T2w", "FLAIR"]
Point = tuple[float, float, float]

CONTRASTS: tuple[Contrast, ...] = ("T1w", "ceT1w", "T2w", "FLAIR")

#: Signal of each tissue in T1w, T1w with contrast agent, T2w and FLAIR.
SIGNAL: dict[str, tuple[float, float, float, float]] = {
    "air": (0.01, 0.01, 0.01, 0.01),
    "skin": (0.50, 0.60, 0.38, 0.42),
    "fat": (1.20, 1.25, 0.80, 0.62),
    "muscle": (0.46, 0.56, 0.22, 0.30),
    "bone": (0.05, 0.05, 0.04, 0.04),
    "marrow": (0.62, 0.68, 0.34, 0.32),
    "mucosa": (0.50, 1.25, 1.05, 0.85),
    "csf": (0.17, 0.17, 1.60, 0.10),
    "gm": (0.66, 0.69, 0.82, 0.84),
    "wm": (1.00, 1.02, 0.54, 0.60),
    "cord": (0.85, 0.87, 0.62, 0.68),
    "blood": (0.22, 1.55, 0.08, 0.12),
    "vitreous": (0.18, 0.18, 1.65, 0.10),
    "lens": (0.42, 0.42, 0.25, 0.35),
    "oedema": (0.70, 0.70, 1.15, 1.25),
    "enhancing": (0.62, 1.65, 1.05, 1.10),
}


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid; `both` adds its mirror image on the other side of the midline."""

    tissue: str
    centre: Point
    radii: Point
    both: bool = False


@dataclass(frozen=True)
class Rod:
    """A round rod from `start` to `end` whose radius changes linearly from `radius` to `end_radius`."""

    tissue: str
    start: Point
    end: Point
    radius: float
    end_radius: float
    both: bool = False


Shape = Ellipsoid | Rod

#: Soft tissue that joins the scalp; all of it is blended into one smooth skin surface.
OUTLINE: tuple[Shape, ...] = (
    Ellipsoid("skin", (0, 16, -80), (76, 62, 64)),  # face
    Ellipsoid("skin", (0, -44, -64), (78, 70, 52)),  # nape, mastoids
    Ellipsoid("skin", (0, 48, -66), (42, 34, 38)),  # midface
    Ellipsoid("skin", (0, 36, -116), (42, 48, 32)),  # jaw and chin
    Ellipsoid("skin", (44, 44, -60), (22, 26, 18), both=True),  # cheek bones
    Ellipsoid("skin", (0, 54, -20), (54, 25, 12)),  # brow
    Rod("skin", (0, -38, -55), (0, -42, -240), 68, 64),  # neck
)
NOSE: tuple[Shape, ...] = (
    Rod("skin", (0, 74, -28), (0, 90, -80), 7, 12),
    Ellipsoid("skin", (10, 82, -84), (7, 9, 7), both=True),
)
#: Small features of the skin surface, added once it is blended.
FEATURES: tuple[Shape, ...] = (
    *NOSE,
    Ellipsoid("skin", (33, 55, -38), (16, 15, 13), both=True),  # lids
    Ellipsoid("skin", (0, 68, -98), (24, 21, 6)),  # lips
    Ellipsoid("skin", (0, 68, -109), (22, 20, 6)),
    Ellipsoid("skin", (0, 66, -132), (20, 19, 13)),  # chin
)
EARS: tuple[Shape, ...] = (
    Ellipsoid("skin", (84, -28, -36), (4, 15, 27), both=True),
    Ellipsoid("skin", (79, -18, -42), (6, 7, 12), both=True),
)
#: Eyeballs, whose mask is part of the truth.
EYES: tuple[Shape, ...] = (Ellipsoid("vitreous", (33, 54, -38), (12, 12, 12), both=True),)

#: Between the skin and the brain, in the order of painting; none of it reaches the surface.
FACE: tuple[Shape, ...] = (
    Rod("fat", (52, 30, -40), (56, 26, -80), 9, 6, both=True),  # temporal and buccal fat
    Rod("muscle", (58, 12, -45), (50, 12, -115), 11, 9, both=True),  # masseter
    Rod("bone", (50, -8, -62), (46, 2, -112), 6, 6, both=True),  # mandible: ramus and body
    Rod("bone", (46, 2, -112), (10, 60, -128), 7, 7, both=True),
    Rod("marrow", (48, -2, -80), (46, 2, -112), 3.5, 3.5, both=True),
    Rod("marrow", (46, 2, -112), (12, 58, -128), 4, 4, both=True),
    Ellipsoid("bone", (0, 38, -88), (30, 34, 6)),  # hard palate
    Ellipsoid("air", (0, 34, -98), (29, 36, 10)),  # mouth
    Ellipsoid("muscle", (0, 32, -110), (26, 33, 18)),  # tongue
    Rod("fat", (0, 10, -112), (0, 45, -116), 4, 3),  # septum of the tongue
    Rod("bone", (27, 36, -100), (8, 62, -100), 6, 6, both=True),  # teeth
    Ellipsoid("bone", (32, 44, -66), (15, 19, 18), both=True),  # maxillary sinuses
    Ellipsoid("air", (32, 44, -66), (13, 17, 16), both=True),
    Ellipsoid("mucosa", (0, 42, -62), (15, 38, 22)),  # nasal cavity with turbinates
    Ellipsoid("air", (6, 46, -63), (4.5, 36, 19), both=True),
    Ellipsoid("mucosa", (7, 44, -74), (3, 24, 5), both=True),
    Ellipsoid("mucosa", (6, 40, -62), (3, 20, 4.5), both=True),
    Ellipsoid("bone", (0, 12, -40), (17, 20, 15)),  # sphenoid bone and sinus
    Ellipsoid("air", (6, 12, -39), (6, 13, 9), both=True),
    Ellipsoid("marrow", (0, -12, -42), (9, 7, 13)),  # clivus
    Ellipsoid("bone", (9, 72, -18), (11, 8, 13), both=True),  # frontal sinuses
    Ellipsoid("air", (8, 71, -18), (8, 5, 10), both=True),
    Rod("mucosa", (0, -5, -62), (0, -6, -240), 10.5, 10),  # pharynx
    Rod("air", (0, -4, -60), (0, -5, -240), 8, 8),
    Ellipsoid("bone", (54, -34, -50), (13, 14, 16), both=True),  # mastoid
    Ellipsoid("fat", (31, 38, -38), (18, 26, 18), both=True),  # orbit
    Rod("muscle", (33, 64, -26), (17, 14, -30), 2.5, 1.5, both=True),  # muscles of the eye
    Rod("muscle", (33, 64, -50), (17, 14, -34), 2.5, 1.5, both=True),
    Rod("muscle", (45, 60, -38), (19, 14, -32), 2.5, 1.5, both=True),
    Rod("muscle", (20, 60, -38), (15, 14, -32), 2.5, 1.5, both=True),
    Rod("wm", (32, 44, -37), (12, 10, -28), 2.2, 2.2, both=True),  # optic nerve
    Ellipsoid("muscle", (33, 54, -38), (13, 13, 13), both=True),  # sclera
    *EYES,
    Ellipsoid("lens", (33.5, 62, -38), (4.5, 2.2, 4.5), both=True),
    Ellipsoid("air", (0, 40, -38), (10, 20, 9)),  # ethmoid cells
    Rod("bone", (0, 22, -36), (0, 60, -36), 1.5, 1.5),
    Rod("bone", (0, -50, -66), (0, -56, -240), 19, 17),  # vertebral column
    Rod("marrow", (0, -34, -92), (0, -34, -104), 9, 9),
    Rod("marrow", (0, -35, -112), (0, -35, -122), 9, 9),
    Rod("marrow", (0, -36, -130), (0, -36, -140), 9, 9),
    Rod("marrow", (0, -76, -86), (0, -82, -92), 5, 5),
    Rod("marrow", (0, -80, -106), (0, -86, -112), 5, 5),
    Rod("csf", (0, -48, -66), (0, -56, -240), 11, 9),  # spinal canal
    Rod("cord", (0, -46, -66), (0, -55, -240), 7.5, 5.5),
    Rod("blood", (28, -12, -66), (30, -8, -240), 3, 3.5, both=True),  # internal carotid artery
    Rod("blood", (42, -22, -62), (40, -16, -240), 4.5, 5.5, both=True),  # internal jugular vein
)
#: Where air enters.
OPENINGS: tuple[Shape, ...] = (
    Rod("air", (6, 92, -94), (6, 72, -76), 2.5, 4, both=True),  # nostrils
    Rod("air", (86, -22, -42), (52, -22, -42), 3, 3, both=True),  # ear canal
    Ellipsoid("air", (0, 82, -103.5), (20, 12, 1.2)),  # between the lips
)
#: Venous sinuses between the brain and the skull; the brain covers what of them it touches.
VESSELS: tuple[Shape, ...] = (
    Rod("blood", (4, -106, -14), (50, -72, -26), 4.5, 4.5, both=True),  # transverse sinus
    Rod("blood", (50, -72, -26), (42, -36, -56), 4.5, 4.5, both=True),  # sigmoid sinus
    Rod("blood", (11, -4, -24), (12, 6, -28), 3.5, 3, both=True),  # carotid siphon
    Rod("blood", (0, -26, -20), (0, -30, -52), 2, 2),  # basilar artery
)
#: A small focal lesion in the left frontal white matter.
LESION: tuple[Shape, ...] = (
    Ellipsoid("oedema", (-27, 22, 26), (9, 11, 8)),
    Ellipsoid("enhancing", (-27, 22, 26), (4.5, 5, 4.5)),
)
#: Points of the template that can be found again in every series (truth of a registration).
LANDMARKS: dict[str, Point] = {
    "anterior commissure": (0.0, 2.0, -4.0),
    "posterior commissure": (0.0, -25.0, -2.0),
    "frontal pole": (0.0, 66.0, 0.0),
    "occipital pole": (0.0, -100.0, 0.0),
    "vertex": (0.0, -20.0, 76.0),
    "left temporal pole": (-40.0, 18.0, -34.0),
    "right temporal pole": (40.0, 18.0, -34.0),
    "left eye": (-33.0, 54.0, -38.0),
    "right eye": (33.0, 54.0, -38.0),
}
