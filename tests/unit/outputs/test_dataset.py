"""The files at the root: what they tell of the dataset, and that they are in the root's manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bids_app.outputs.dataset import write_root_files
from bids_app.outputs.verify import verify_output


def _description(output: Path, source: Path, **words: Any) -> dict[str, Any]:
    write_root_files(
        output, description=words.pop("description", {}), source_root=source, settings={}, methods="", **words
    )
    assert verify_output(output)[1] == []
    return json.loads((output / "dataset_description.json").read_text())


@pytest.mark.parametrize(
    ("source", "output", "link"),
    [
        ("data", "out", "../data"),
        ("bids", "derivatives/out", "../../bids"),
        ("raw_data", "out", "../raw_data"),
        ("ds000117", "out", "../ds000117"),
        ("Ward Seven/data", "out", "sourcedata/raw"),
        ("data/jane-doe", "out", "sourcedata/raw"),
        ("data", "Ward Seven/out", "../../data"),
    ],
)
def test_the_way_to_the_dataset_is_told_where_its_folders_tell_nothing(
    tmp_path: Path, source: str, output: str, link: str
) -> None:
    content = _description(tmp_path / output, tmp_path / source)
    assert content["DatasetLinks"] == {"raw": link}
    assert content["SourceDatasets"] == [{"URL": link}]


def test_links_that_a_user_set_stay(tmp_path: Path) -> None:
    output, source = tmp_path / "out", tmp_path / "Ward Seven"
    content = _description(output, source, atlases={"Ours": tmp_path / "jane-doe"})
    assert content["DatasetLinks"] == {"raw": "sourcedata/raw", "Ours": "sourcedata/Ours"}
    content["DatasetLinks"]["raw"] = "https://example.org/data"
    (output / "dataset_description.json").write_text(json.dumps(content))
    assert _description(output, source)["DatasetLinks"]["raw"] == "https://example.org/data"


@pytest.mark.parametrize(
    ("doi", "passes"), [("doi:10.18112/openneuro.ds000117.v1", True), ("Jane Doe", False), (7, False)]
)
def test_of_the_description_only_the_doi_is_passed_on(tmp_path: Path, doi: Any, passes: bool) -> None:
    description = {"Name": "Ward Seven", "Authors": ["Jane Doe"], "DatasetDOI": doi, "Acknowledgements": "Jane"}
    content = _description(tmp_path / "out", tmp_path / "data", description=description)
    assert ("DOI" in content["SourceDatasets"][0]) is passes
    assert "Jane" not in str(content)
    assert "Ward" not in str(content)
