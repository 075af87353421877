"""The file of a group's landmarks for Nyul's normalisation: learnt by the group level, applied by a later run.

JSON: the percents at which a brain's intensities are taken, and for each contrast the standard scale (0 to 100) and
how many series it is the mean of. It tells nothing of a single participant and can be given to others.

Nyul & Udupa 1999 (doi:10.1002/(SICI)1522-2594(199912)42:6<1072::AID-MRM11>3.0.CO;2-M); Nyul, Udupa & Zhang 2000
(doi:10.1109/42.836373).
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_app.exit_codes import NO_INPUT, USAGE
from bids_app.outputs.writer import json_bytes
from bids_app.steps.intensity import NYUL_PERCENTS

FORMAT = 1


class LandmarksError(Exception):
    """A file of landmarks that cannot be used; `code` is the exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Standard:
    """The standard scale of one contrast: intensities at `NYUL_PERCENTS`, and the number of series behind them."""

    landmarks: tuple[float, ...]
    series: int


def contrast_label(contrast: str, contrast_agent: bool) -> str:
    """What a contrast is called: a contrast agent makes another one of it."""
    return f"{contrast} with contrast agent" if contrast_agent else contrast


def landmarks_bytes(standards: Mapping[str, Standard]) -> bytes:
    """The content of the file."""
    return json_bytes(
        {
            "format": FORMAT,
            "method": "nyul",
            "percents": list(NYUL_PERCENTS),
            "standards": {
                contrast: {"landmarks": list(one.landmarks), "series": one.series}
                for contrast, one in sorted(standards.items())
            },
        }
    )


def read_landmarks(path: Path) -> dict[str, tuple[float, ...]]:
    """The standard scale of each contrast in a file.

    Raises
    ------
    LandmarksError
        The file is not there (66), or is none of landmarks at our percents that rise (64).
    """
    said = f"--nyul-landmarks {path}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LandmarksError(f"{said}: {error.strerror}", NO_INPUT) from error
    except ValueError as error:
        raise LandmarksError(f"{said} is no JSON: give the group_nyul.json of a group level") from error
    try:
        if content["format"] != FORMAT or tuple(map(float, content["percents"])) != NYUL_PERCENTS:
            raise LandmarksError(f"{said}: landmarks at other percents, or of another version; learn them again")
        found = {str(name): tuple(map(float, one["landmarks"])) for name, one in content["standards"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LandmarksError(f"{said}: it holds no landmarks; give the group_nyul.json of a group level") from error
    for name, scale in found.items():
        if len(scale) != len(NYUL_PERCENTS) or not _rises(scale):
            raise LandmarksError(f"{said}: the landmarks of {name} are not {len(NYUL_PERCENTS)} numbers that rise")
    return found


def _rises(scale: Sequence[float]) -> bool:
    rises = all(low <= high for low, high in itertools.pairwise(scale)) and scale[0] < scale[-1]
    return rises and all(map(math.isfinite, scale))
