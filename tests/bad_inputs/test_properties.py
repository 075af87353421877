"""What holds for any header and any dataset: errors are ours alone, nothing is lost, order does not matter."""

from __future__ import annotations

import math
import re
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bad_inputs.listing import shuffled_listings
from bad_inputs.rows import PACKED, WHOLE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import write_tree

from bids_app.inputs.content import check_content
from bids_app.inputs.dataset import Selection, open_dataset, walk
from bids_app.inputs.errors import HeaderError, InputError
from bids_app.inputs.headers import read_header
from bids_app.inputs.reference import choose_reference
from bids_app.inputs.series import Series, printable

QUICK = settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=3000, derandomize=False, print_blob=True)

# -- headers -----------------------------------------------------------------------------------------------------------

NUMBERS = st.floats(width=32) | st.sampled_from((0.0, 1.0, -1.0, 8.0, 1e-6, math.nan, math.inf))
SHORTS = st.integers(-(2**15), 2**15 - 1)
#: Fields of a NIfTI-1 header (offset, layout, how many, values): those that decide how it is read.
FIELDS = (
    (0, "i", 1, st.sampled_from((348, 540, 0, 349))),
    (40, "h", 8, st.one_of(st.integers(0, 8), st.integers(0, 300), SHORTS)),
    (70, "h", 1, st.sampled_from((0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1536, 1792, 2304, 99))),
    (72, "h", 1, SHORTS),
    (76, "f", 8, NUMBERS),
    (108, "f", 1, NUMBERS | st.sampled_from((352.0, 0.0, 1e9))),
    (112, "f", 2, NUMBERS),
    (123, "B", 1, st.integers(0, 255)),
    (252, "h", 2, st.integers(-1, 6)),
    (256, "f", 6, NUMBERS),
    (280, "f", 12, NUMBERS),
    (344, "B", 4, st.integers(0, 255)),
    (348, "B", 4, st.integers(0, 255)),
)  # fmt: skip


@st.composite
def header_files(draw: Callable[[Any], Any]) -> bytes:
    """An image whose header has some fields of random values, in either byte order."""
    order = draw(st.sampled_from("<<<>"))
    raw = bytearray(WHOLE)
    for offset, layout, count, values in draw(st.lists(st.sampled_from(FIELDS), max_size=4, unique_by=lambda f: f[0])):
        chosen = draw(st.lists(values, min_size=count, max_size=count))
        size = struct.calcsize(f"{order}{count}{layout}")
        raw[offset : offset + size] = struct.pack(f"{order}{count}{layout}", *chosen)
    return bytes(raw)


def _any_header(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.nii")
        path.write_bytes(content)
        try:
            header = read_header(path)
        except HeaderError as error:
            _told(error)
            return
        assert 3 <= len(header.shape) <= 4
        assert math.prod(header.shape) <= len(content)
        assert all(math.isfinite(edge) and edge > 0 for edge in (*header.spacing_mm, *header.fov_mm))
        assert len(set(header.orientation)) == 3
        _, problem = check_content(Series(path, path.name, (), "T1w", "anat", ".nii"))
        assert problem is None or problem.isprintable()


@QUICK
@given(header_files())
def test_any_header(content: bytes) -> None:
    _any_header(content)


@pytest.mark.slow
@LONG
@given(header_files())
def test_any_header_long(content: bytes) -> None:
    _any_header(content)


# -- datasets ----------------------------------------------------------------------------------------------------------

LABELS = st.sampled_from(("01", "02", "A", "a b", "ü", "x+y", "")) | st.text("abcXYZ019é-. ", max_size=4)
KEYS = st.sampled_from(("acq", "ce", "run", "echo", "part", "chunk", "inv", "rec", "desc", "ses", "foo", "sub"))
SUFFIXES = st.sampled_from(
    ("T1w", "T1w", "T2w", "FLAIR", "UNIT1", "swi", "T1map", "MP2RAGE", "dwi", "bold", "t1w", "x y")
)
ENDINGS = st.sampled_from((".nii.gz", ".nii.gz", ".nii", ".NII", ".mgz", ".nii.gz.part"))
FOLDERS = st.sampled_from(("anat", "anat", "anat", "dwi", "swi", "Anat", "anat/old", "func", ""))
CONTENTS = st.sampled_from((PACKED, PACKED, PACKED, WHOLE, b"", b"text", PACKED[:-9], None))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELD_NAMES = (
    "Modality",
    "ImageType",
    "SeriesDescription",
    "SeriesNumber",
    "BodyPartExamined",
    "ContrastBolusIngredient",
)
SIDECARS = st.dictionaries(st.sampled_from(FIELD_NAMES), JSON, max_size=4) | JSON | st.binary(max_size=40)


@st.composite
def trees(draw: Callable[[Any], Any]) -> dict[str, Any]:
    """The files of a dataset: some of good names, some of any."""
    files: dict[str, Any] = {"sub-01/anat/sub-01_T1w.nii.gz": PACKED}
    for _ in range(draw(st.integers(0, 9))):
        subject, session = draw(LABELS), draw(st.none() | LABELS)
        own = {"sub": subject, **({"ses": session} if session is not None else {})}
        named = own if draw(st.integers(0, 4)) else {"sub": draw(LABELS)}
        pairs = [*named.items(), *draw(st.lists(st.tuples(KEYS, LABELS), max_size=2))]
        stem = "_".join(["-".join(pair) for pair in pairs] + [draw(SUFFIXES)])
        folder = "/".join([f"{key}-{label}" for key, label in own.items()] + [draw(FOLDERS)])
        files[f"{folder}/{stem}{draw(ENDINGS)}".replace("//", "/")] = draw(CONTENTS)
        if draw(st.booleans()):
            level = draw(st.sampled_from((folder, f"sub-{subject}", "")))
            files[f"{level}/{draw(st.sampled_from((stem, draw(SUFFIXES))))}.json".lstrip("/")] = draw(SIDECARS)
    return files


def _any_dataset(files: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = _written(Path(folder, "data"), files)
        found = _walked(root)
        with shuffled_listings(seed=1):
            assert _walked(root) == found
        paths = [one.path for one in found]
        assert len(set(paths)) == len(paths)
        images = {
            path
            for path in root.rglob("*")
            if path.name.lower().endswith((".nii.gz", ".nii", ".mgz"))
            and "func" not in path.relative_to(root).parts[:3]
            and re.fullmatch("sub-[A-Za-z0-9+]+", path.relative_to(root).parts[0])  # others are told as a whole
            and not any(part.startswith(".") for part in path.relative_to(root).parts)
        }
        assert images <= set(paths), "lost"
        for one in found:
            assert one.accepted or (one.rejection or "").isprintable()
            assert one.relative == printable(one.relative)
            if one.accepted:
                check_content(one)


def _written(root: Path, files: dict[str, Any]) -> Path:
    """The files; where a folder and a file want the same place, the first stays."""
    write_tree(root, {})
    for name, content in files.items():
        try:
            write_tree(root, {name: content}, described=False)
        except (OSError, ValueError):
            continue
    return root


def _walked(root: Path) -> list[Series]:
    found: list[Series] = []
    try:
        for session in walk(open_dataset(root), Selection()):
            found += [*session.series, *session.rejected]
            if session.series:
                for rule in ("auto", "mr-rate"):
                    assert choose_reference(session.series, rule).series in session.series
    except InputError as error:
        _told(error)
    return found


def _told(error: Exception) -> None:
    assert str(error).isprintable()


@QUICK
@given(trees())
def test_any_dataset(files: dict[str, Any]) -> None:
    _any_dataset(files)


@pytest.mark.slow
@LONG
@given(trees())
def test_any_dataset_long(files: dict[str, Any]) -> None:
    _any_dataset(files)
