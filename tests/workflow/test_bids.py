"""Both output trees are valid BIDS derivatives, and hold what the validator does not ask for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from runs import Run, bids_app, series_table

STANDARD = "MNI152NLin2009aSym"


@pytest.fixture(scope="module", params=["demo", "shared"])
def run(request: pytest.FixtureRequest) -> Run:
    """The demo's output, and that of the real heads."""
    return request.getfixturevalue("demo_run" if request.param == "demo" else "shared_run")


def _sidecars(run: Run) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(run.output.glob("sub-*/**/*.nii.gz")) + sorted(run.output.glob("sub-*/**/*_xfm.*")):
        if path.suffix != ".json":
            sidecar = path.with_name(path.name.split(".")[0] + ".json")
            assert sidecar.is_file(), f"{path.name} has no sidecar"
            yield path, json.loads(sidecar.read_text())


def test_validator_reports_no_error(run: Run) -> None:
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.exists() and shutil.which("bids-validator-deno") is None:
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run([str(validator), "--json", str(run.output)], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue.get("severity") == "error"] == []
    assert done.returncode == 0


def test_description_says_what_a_derivative_must(run: Run) -> None:
    description = json.loads((run.output / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["Name"]
    assert description["BIDSVersion"]
    assert description["GeneratedBy"][0]["Name"] == "bids_app"
    raw = description["DatasetLinks"]["raw"]  # where folders on the way could tell whose data it is: BIDS' own place
    assert raw == "sourcedata/raw" or (run.output / raw).resolve() == run.source.resolve()


def test_every_uri_leads_to_a_file(run: Run) -> None:
    links = json.loads((run.output / "dataset_description.json").read_text())["DatasetLinks"]
    roots = {"": run.output, **{name: run.output / where for name, where in links.items()}, "raw": run.source}
    for path, sidecar in _sidecars(run):
        uris = [*sidecar["Sources"], *(sidecar.get(key) for key in ("From", "To", "SpatialReference"))]
        for uri in uris:
            if uri is None or not uri.startswith("bids:"):
                continue
            _, name, relative = uri.split(":", 2)
            assert (roots[name] / relative).is_file(), f"{path.name}: {uri} leads nowhere"


def test_sidecars_say_space_and_skull(run: Run) -> None:
    for path, sidecar in _sidecars(run):
        name = path.name
        if "_xfm" in name:
            assert sidecar["From"], name
            assert sidecar["To"], name
            continue
        if "_mask" not in name:
            assert sidecar["SkullStripped"] is ("_desc-brain" in name), name
        if "_space-" not in name:
            assert sidecar["SpatialReference"] == "orig", name
        elif f"_space-{STANDARD}" not in name:
            assert sidecar["SpatialReference"].startswith("bids::"), name
        assert ("_res-" in name) == ("Resolution" in sidecar), name
        if "_mask" in name:
            label = name.partition("label-")[2].partition("_")[0]
            assert sidecar["Type"] == {"brain": "Brain", "face": "Face", "intracranial": "ROI"}[label], name
        assert "Method" in sidecar or "_space-" in name, name


def test_images_are_finite_typed_and_on_one_grid_each(run: Run) -> None:
    for path, _ in _sidecars(run):
        if not path.name.endswith(".nii.gz"):
            continue
        image = nib.load(path)
        array = np.asanyarray(image.dataobj)
        assert np.isfinite(array).all(), path.name
        assert array.any() or "label-face" in path.name, path.name
        if "_mask" in path.name:
            assert image.get_data_dtype() == np.uint8
            assert set(np.unique(array)) <= {0, 1}
        assert np.allclose(image.header.get_sform(), image.header.get_qform(), atol=1e-3), path.name
        assert bytes(image.header["descrip"]).strip(b"\0") == b"", path.name


def test_every_accepted_series_has_its_expected_files(run: Run) -> None:
    for table in run.output.glob("sub-*/**/*_series.tsv"):
        rows = series_table(table)
        reference = next(row["suffix"] for row in rows if row["reference"] == "1")
        for row in rows:
            if row["status"] == "rejected":
                continue
            stem, _, suffix = row["series"].rpartition("_")
            if suffix in ("S0map", "trace", "ADC"):  # its maps and masks are those of its group: test_stroke.py
                assert (table.parent / "dwi" / f"{stem}_desc-defaced_{suffix}.nii.gz").is_file()
                continue
            spaces = (f"space-{reference}_", f"space-{STANDARD}_res-1_")
            native = ("defaced", "preproc", "biasfield", "brainzscore")
            wanted = [f"{stem}_desc-{what}_{suffix}" for what in native]
            wanted += [f"{stem}_label-{what}_desc-{suffix}_mask" for what in ("brain", "face")]
            wanted += [f"{stem}_{space}desc-{what}_{suffix}" for space in spaces for what in ("preproc", "brainzscore")]
            for name in wanted:
                assert (table.parent / "anat" / f"{name}.nii.gz").is_file(), name


def test_a_finished_output_is_recognised(run: Run) -> None:
    again = bids_app(run.source, run.output)
    assert again.code == 0
    assert "done" not in again.text.split("Results")[0].replace("unchanged", "")
