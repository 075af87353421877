"""Damage at random: valid headers, images and sidecars with bytes flipped, cut, inserted, repeated.

    python -m bad_inputs.fuzz SECONDS [SEED]

reads damaged files for so long and prints how many there were and what became of them. Any error that is not one of
ours, and any reading that allocates more than `MAX_MB`, ends it with the seed that makes it again.
"""

from __future__ import annotations

import gzip
import json
import logging
import random
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from pathlib import Path

from trees import Nifti

from bids_app.inputs.acceptance import content_flags, rejection
from bids_app.inputs.content import check_content
from bids_app.inputs.errors import HeaderError
from bids_app.inputs.headers import read_header
from bids_app.inputs.metadata import read_json_object
from bids_app.inputs.participants import ages, participant_rows
from bids_app.inputs.reference import choose_reference
from bids_app.inputs.series import Series

#: Bound of one reading: the whole image is 9 kB; a damaged header that promises more must not be believed.
MAX_MB = 24
SMALL = Nifti((20, 22, 20), dtype="int16")
METADATA = {
    "Modality": "MR", "EchoTime": 0.00293, "ImageType": ["ORIGINAL", "PRIMARY", "M"], "SeriesNumber": 3,
    "SeriesDescription": "t1_mprage_sag", "ContrastBolusIngredient": "none", "BodyPartExamined": "BRAIN", "X": [1, {}],
}  # fmt: skip
PARTICIPANTS = "participant_id\tage\tsex\nsub-01\t34\tF\nsub-02\t89+\tn/a\n"


def seeds() -> dict[str, bytes]:
    """The valid files that are damaged, by name."""
    one, two = SMALL.image().to_bytes(), Nifti(SMALL.shape, dtype="float32", version=2).image().to_bytes()
    return {
        "one.nii": one,
        "two.nii": two,
        "one.nii.gz": gzip.compress(one, mtime=0),
        "two.nii.gz": gzip.compress(two, mtime=0),
        "inner.nii.gz": one,  # damaged first, then compressed: the damage is not told by the checksum
        "side.json": json.dumps(METADATA, indent=1).encode(),
        "participants.tsv": PARTICIPANTS.encode(),
    }


def damaged(content: bytes, chance: random.Random) -> bytes:
    """A copy with one to eight damages, most of them where the header is."""
    raw = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
        at = chance.randrange(min(len(raw), 560) if chance.random() < 0.8 else len(raw)) if raw else 0
        kind = chance.randrange(6)
        if kind == 0 and raw:
            raw[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and raw:
            raw[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            size = chance.choice((2, 4, 8))
            raw[at : at + size] = chance.randbytes(size)
        elif kind == 3:
            del raw[at : at + chance.choice((1, 2, 4, 100))]
        elif kind == 4:
            raw[at:at] = chance.choice((chance.randbytes(4), bytes(16), bytes(raw[at : at + 64])))
        elif chance.random() < 0.3:
            del raw[at:]
    return bytes(raw)


def read_one(path: Path) -> str:
    """Read a damaged file as a run would; in one word what became of it."""
    if path.name.endswith(".json"):
        content, problem = read_json_object(path)
        flags = content_flags(content)
        series = [Series(path, "a", (), "T1w", "anat", ".nii", content), Series(path, "b", (), "T2w", "anat", ".nii")]
        choose_reference(series, "mr-rate")
        assert isinstance(series[0].contrast_agent, bool)
        return "broken" if problem else "refused" if flags.modality or flags.localizer else "read"
    if path.name == "participants.tsv":
        return "read" if ages(participant_rows(path.parent)) else "broken"
    series_ = Series(path, path.name, (), "T1w", "anat", ".nii")
    try:
        header = read_header(path)
    except HeaderError as error:
        _check_message(str(error))
        return "header refused"
    reason = rejection(Series(path, path.name, (), "T1w", "anat", ".nii", header=header))
    if reason is not None:
        return "set aside"
    _, problem = check_content(series_)
    if problem is not None:
        _check_message(problem)
    return "content refused" if problem else "read"


def _check_message(message: str) -> None:
    assert message.isprintable(), message
    assert 15 < len(message) < 400, message


def fuzz(seconds: float, seed: int = 0, folder: Path | None = None) -> Counter[str]:
    """Read damaged files for so long.

    Raises
    ------
    AssertionError
        With the seed of a file that raised something, or took more memory than it may.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return _fuzz(Path(place), seconds, seed)


def _fuzz(place: Path, seconds: float, seed: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # as the command does
    valid = list(seeds().items())
    end = time.monotonic() + seconds
    number = 0
    tracemalloc.start()
    try:
        while time.monotonic() < end:
            chance = random.Random(f"{seed} {number}")
            name, content = valid[number % len(valid)]
            content = damaged(content, chance)
            path = place / name
            path.write_bytes(gzip.compress(content, 1, mtime=0) if name == "inner.nii.gz" else content)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                became = read_one(path)
            except Exception as error:
                raise AssertionError(f"seed {seed}, file {number} ({name}): {type(error).__name__}: {error}") from error
            taken = (tracemalloc.get_traced_memory()[1] - before) / 2**20
            assert taken < MAX_MB, f"seed {seed}, file {number} ({name}): {taken:.0f} MB"
            counts[f"{name.split('.', 1)[1]}: {became}"] += 1
            counts["files"] += 1
            counts["largest kB"] = max(counts["largest kB"], round(taken * 1024))
            number += 1
    finally:
        tracemalloc.stop()
    return counts


if __name__ == "__main__":
    found = fuzz(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    for what, count in sorted(found.items()):
        print(f"{count:9d}  {what}")
