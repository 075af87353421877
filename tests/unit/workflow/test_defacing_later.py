"""An output that was begun without defacing and is defaced by a later run: no image with a face stays beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from trees import Nifti, write_tree

TESTS = Path(__file__).parents[2]


def test_a_run_that_defaces_removes_images_of_an_earlier_one_that_did_not(tmp_path: Path) -> None:
    write_tree(tmp_path / "data", {"sub-01/anat/sub-01_T1w.nii.gz": Nifti()})
    code = "import sys, os, trivial_steps; trivial_steps.take_over(); from bids_app.cli.main import run; "
    code += "sys.exit(run(sys.argv[1:], os.environ))"
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    anat = tmp_path / "out" / "sub-01" / "anat"

    def ran(*words: str) -> set[str]:
        where = [str(tmp_path / "data"), str(tmp_path / "out"), "participant", "--nprocs", "1"]
        command = [sys.executable, "-c", code, *where, "--brain-extraction", "template", "--steps", *words]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=True, capture_output=True)
        return {one.name.partition("_desc-")[2] for one in anat.glob("*.nii.gz")}

    masks = {"T1w_mask.nii.gz"}
    corrected = {"biasfield_T1w.nii.gz", "preproc_T1w.nii.gz"}
    assert ran("mask", "bias", "--no-deface") == masks | corrected
    assert ran("mask", "deface") == masks | {"defaced_T1w.nii.gz"}
    assert ran("mask", "bias", "--no-deface") == masks | corrected | {"defaced_T1w.nii.gz"}, "on purpose"
    assert ran("mask", "deface", "bias") == masks | corrected | {"defaced_T1w.nii.gz"}
