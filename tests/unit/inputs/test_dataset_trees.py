"""The walk over file trees of many datasets gives exactly the sessions, series, references and rejections expected."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from trees import Nifti, write_tree
from unit.inputs.dataset_trees import TREES, Tree

from bids_app.inputs.dataset import Selection, open_dataset, walk
from bids_app.inputs.reference import choose_reference
from bids_app.inputs.series import Series, Session


@cache
def _image(compressed: bool, place: Path) -> bytes:
    path = place / ("image.nii.gz" if compressed else "image.nii")
    Nifti().write(path)
    return path.read_bytes()


def _full(path: str) -> str:
    """A path with its prefix in the place of `%`."""
    labels = re.findall(r"(?:^|/)((?:sub|ses)-[^/]+)(?=/)", path)
    return path.replace("%", "".join(f"{label}_" for label in labels))


def _written(tree: Tree, root: Path) -> Path:
    files = {path: _image(path.endswith(".gz"), root.parent) if ".nii" in path else b"x" for path in tree.files}
    return write_tree(root, {_full(path): content for path, content in {**files, **tree.given}.items()})


def _short(one: Series, session: Session) -> str:
    name = Path(one.relative).name.removeprefix(f"{session.label}_")
    return name.removesuffix(".nii.gz")


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name.replace(" ", "_"))
def test_tree(tree: Tree, tmp_path: Path) -> None:
    root = _written(tree, tmp_path / "data")
    sessions = {one.label: one for one in walk(open_dataset(root), Selection())}
    assert sorted(sessions) == sorted(tree.expected)
    for label, (accepted, reference, rejected) in tree.expected.items():
        session = sessions[label]
        found = {one.name.removeprefix(f"{label}_") for one in session.series if one.datatype != "dwi"}
        assert found == set(accepted.split()), label
        chosen = choose_reference(session.series).series.name.removeprefix(f"{label}_") if session.series else None
        assert chosen == reference, label
        structural = [one for one in session.rejected if one.datatype != "dwi"]  # diffusion is another walk's
        reasons = {_short(one, session): one.rejection or "" for one in structural}
        assert set(reasons) == set(rejected), label
        for name, word in rejected.items():
            assert word in reasons[name], (label, name)


def test_there_are_enough_and_none_is_there_twice() -> None:
    assert len({tree.name for tree in TREES}) == len(TREES) >= 60
