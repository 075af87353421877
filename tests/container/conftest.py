"""What the container tests share. They build images, for minutes: `make test-containers` asks for them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from container.engines import LABELS, ROOT, SCRIPTS, WORDS, Apptainer, Docker, call, have_scripts, images_of
from runs import bids_app

from bids_app.inputs.demo import write_demo


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder that any user can reach, unlike pytest's own."""
    if os.environ.get("BIDS_APP_TEST_CONTAINERS") != "1":
        pytest.skip("the images are tested by `make test-containers`")
    folder = Path(tempfile.mkdtemp(prefix="bids_app-container-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sources(scratch: Path) -> Path:
    """What an image is built from, as it is now."""
    folder = scratch / "src"
    names = ("bids_app", "brainlife", "singularity", "Dockerfile", ".dockerignore", "LICENSE", "README.md", "main",
             "config.json.sample", "pyproject.toml", "requirements.txt")  # fmt: skip
    folder.mkdir()
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def image(sources: Path, scratch: Path) -> Docker:
    """The image, built; BIDS_APP_TEST_IMAGE=1 takes the one of that name which was built before."""
    docker = Docker.find(scratch / "bin")
    if os.environ.get("BIDS_APP_TEST_IMAGE") == "1":
        return docker
    done = docker.build(sources)
    assert done.returncode == 0, done.stdout[-3000:]
    return docker


@pytest.fixture(scope="session")
def apptainer(scratch: Path) -> Apptainer:
    """Apptainer, under the names `apptainer` and `singularity`."""
    return Apptainer.find(scratch / "bin")


@pytest.fixture(scope="session")
def sif(apptainer: Apptainer, sources: Path, scratch: Path) -> Path:
    """The SIF, built; BIDS_APP_TEST_SIF names one that was built before."""
    if given := os.environ.get("BIDS_APP_TEST_SIF"):
        return Path(given)
    path = scratch / "bids_app.sif"
    done = apptainer.build(sources, path)
    assert done.returncode == 0, done.stdout[-3000:]
    return path


@pytest.fixture(scope="session")
def small(scratch: Path) -> Path:
    """Six participants, one for each of six shards, at 4 mm: sessions of the demo, one of them taken apart."""
    demo, folder = scratch / "demo", scratch / "data"
    write_demo(demo, spacing_mm=4.0)
    sources = [  # the T2w is left out: at 4 mm its mask is too coarse for the face to be found removed
        ("sub-02_ses-1", "*"), ("sub-02_ses-2", "_T1w"), ("sub-02_ses-2", "_FLAIR"),
        ("sub-01", "_T1w"), ("sub-01", "_FLAIR"), ("sub-01", "_ce-gadolinium_T1w"),
    ]  # fmt: skip
    for label, (name, pattern) in zip(LABELS, sources, strict=True):
        for path in sorted(demo.glob(f"sub-*/**/anat/{name}{pattern}.*")):
            target = folder / f"sub-{label}" / "anat" / path.name.replace(name, f"sub-{label}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    shutil.copy2(demo / "dataset_description.json", folder)
    call(["chmod", "-R", "a+rX", folder])
    return folder


@pytest.fixture(scope="session")
def outside(small: Path, scratch: Path) -> dict[str, str]:
    """The images of one run outside any container."""
    run = bids_app(small, scratch / "outside", *WORDS)
    assert run.code == 0, run.text
    return images_of(run.output)


@pytest.fixture(scope="session")
def slurm(apptainer: Apptainer, sif: Path, scratch: Path) -> Iterator[dict[str, str]]:
    """The environment in which `sbatch` and `slurm_array.sh` work."""
    environment = {**apptainer.environment(), "BIDS_APP_SIF": str(sif), "BIDS_APP_CPUS": "1"}
    if have_scripts("slurmctld", "slurmd", "munged"):
        up = call([SCRIPTS / "slurm-up.sh", "up"], more={"SLURM_LAB": str(scratch / "slurm")})
        assert up.returncode == 0, up.stdout
        environment["SLURM_CONF"] = up.stdout.split("=")[-1].strip()
        yield environment
        call([SCRIPTS / "slurm-up.sh", "down"], more={"SLURM_LAB": str(scratch / "slurm")})
    elif shutil.which("sbatch") and call(["sinfo"]).returncode == 0:
        yield environment
    else:
        pytest.skip("no SLURM here: its arrays were not run")
