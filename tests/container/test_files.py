"""The files around the images, without building any: one version, one list of options, right requests."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bids_app import __version__
from bids_app.inputs.dataset import shard_of

ROOT = Path(__file__).resolve().parents[2]


def _module(path: str) -> ModuleType:
    """A script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_version_everywhere() -> None:
    found = {
        "Dockerfile": re.findall(r"ARG VERSION=(\S+)", (ROOT / "Dockerfile").read_text()),
        "definition": re.findall(r"image.version (\S+)", (ROOT / "singularity" / "bids_app.def").read_text()),
        "main": re.findall(r"docker://bids_app:([\d.]+)", (ROOT / "main").read_text()),
        "citation": [yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]],
    }
    assert found == {place: [__version__] for place in found}


def test_the_descriptor_is_that_of_the_command() -> None:
    written = json.loads((ROOT / "boutiques" / "bids_app.json").read_text())
    made = _module("boutiques/make.py").descriptor()
    for entry in (*written["inputs"], *made["inputs"]):
        del entry["description"]  # words may be improved
    assert written == made, "run: python boutiques/make.py"


def test_boutiques_accepts_the_descriptor() -> None:
    bosh = shutil.which("bosh")
    if bosh is None:
        pytest.skip("no bosh here (pip install boutiques): the descriptor was not validated")
    done = subprocess.run(
        [bosh, "validate", ROOT / "boutiques" / "bids_app.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _session(participant: str, seconds: float, memory_gb: float) -> dict[str, object]:
    tasks = {"mask": 1} if seconds else {}
    return {"participant": participant, "tasks": tasks, "seconds_one_core": seconds, "memory_gb": memory_gb}


def test_requests_are_those_of_the_largest_shard() -> None:
    resources = _module("singularity/resources.py")
    labels = {number: [f"{i:03d}" for i in range(200) if shard_of(f"{i:03d}", 4) == number] for number in range(1, 5)}
    sessions = [_session(label, 600, 2.0) for label in labels[1][:6]]  # 6 x 10 min on 2 processors
    sessions += [_session(labels[3][0], 300, 6.0), _session(labels[4][0], 0, 0.0)]
    # (30 + 10) min x 3 + 10 min; 2 x 6 GB + 1 GB; shard 4 is finished and shard 2 has nobody
    assert resources.request(sessions, 4, 2) == ([1, 3], 130, 13)
    assert resources.request([_session("001", 0, 0.0)], 4, 2)[0] == []


def test_array_indices() -> None:
    ranges = _module("singularity/resources.py").ranges
    assert ranges([1, 2, 3, 5, 8, 9]) == "1-3,5,8-9"
    assert ranges([4]) == "4"


def test_the_picture_for_brainlife_shows_the_brain_within_a_few_kilobytes() -> None:
    from io import BytesIO

    from PIL import Image

    grid = np.indices((120, 140, 100)) - np.array([60, 70, 50]).reshape(3, 1, 1, 1)
    inside = (grid**2).sum(axis=0) < 40**2
    noise = np.random.default_rng(0).normal(1000, 100, inside.shape)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    png = _module("brainlife/products.py").picture(
        nib.Nifti1Image((noise * inside).astype(np.float32), affine), nib.Nifti1Image(inside.astype(np.uint8), affine)
    )
    assert len(png) < 8000
    seen = np.asarray(Image.open(BytesIO(png)).convert("L"))
    white = np.argwhere(seen[:, : seen.shape[1] // 3] == 255)  # the outline in the first panel: a circle in the middle
    centre = white.mean(axis=0)
    assert abs(centre[0] - seen.shape[0] / 2) < 2
    radii = np.linalg.norm(white - centre, axis=1)
    assert abs(radii.mean() - 40 * 88 / 100) < 2
    assert radii.std() < 1.5


def test_scripts_are_shell() -> None:
    scripts = [ROOT / "main", *(ROOT / "singularity").glob("*.sh")]
    assert len(scripts) == 5
    for script in scripts:
        assert subprocess.run(["bash", "-n", script], check=False).returncode == 0, script
        assert script.stat().st_mode & 0o111, script


def test_shard_passes_signals_and_exit_codes_on(tmp_path: Path) -> None:
    """With a container that ends by the signal with 75, or says what it was called with."""
    runtime = tmp_path / "apptainer"
    runtime.write_text('#!/bin/bash\ntrap "exit 75" TERM\necho "$@"\n[ "${!#}" = slow ] || exit 3\nsleep 30 & wait\n')
    runtime.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path), "BIDS_APP_SIF": "x.sif"}
    (tmp_path / "data").mkdir()
    words = ["bash", ROOT / "singularity" / "shard.sh", "2/6", tmp_path / "data", tmp_path / "out"]
    quick = subprocess.run([*words, "-v"], env=environment, capture_output=True, text=True, check=False)
    assert quick.returncode == 3
    assert "x.sif /data /out participant --shard 2/6 -w /work -v" in quick.stdout
    slow = subprocess.Popen([*words, "slow"], env=environment, stdout=subprocess.PIPE, text=True)
    assert slow.stdout is not None
    slow.stdout.readline()  # it runs
    slow.terminate()
    assert slow.wait(20) == 75
    assert not list(tmp_path.glob("bids_app-shard-*"))


def test_build_arguments_are_the_same_in_both_images_and_in_the_docs() -> None:
    script = (ROOT / "singularity" / "install.sh").read_text()
    read = set(re.findall(r"\$\{?([A-Z_]+)", script)) & set(re.findall(r"^#   ([A-Z_]+) ", script, re.MULTILINE))
    assert read == {"TORCH_INDEX_URL", "EXTRAS", "SPACES", "ACCEPT_HD_BET_LICENSE"}
    build = (ROOT / "Dockerfile").read_text().split("\nFROM ")[1]
    definition = (ROOT / "singularity" / "bids_app.def").read_text()
    assert set(re.findall(r"^ARG ([A-Z_]+)", build, re.MULTILINE)) == read
    assert set(re.findall(r"\{\{ ([A-Z_]+) \}\}", definition)) == read
    assert read <= set(re.findall(r"^\| `([A-Z_]+)", (ROOT / "docs" / "containers.md").read_text(), re.MULTILINE))


def test_the_lock_file_has_every_package_that_an_install_brings() -> None:
    """Also those that `pip list` hides, as the standard library has modules of their names."""
    locked = {canonicalize_name(line.split("==")[0]) for line in (ROOT / "requirements.txt").read_text().splitlines()}
    left, brought = ["bids_app"], set[str]()
    while left:
        for text in importlib.metadata.requires(left.pop()) or ():
            needed = Requirement(text)
            name = canonicalize_name(needed.name)
            # CUDA's libraries are pinned by torch itself
            if name in brought or name.startswith(("cuda", "nvidia", "triton")):
                continue
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                brought.add(name)
                left.append(name)
    assert len(brought) > 50
    assert sorted(brought - locked) == []
