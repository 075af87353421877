"""The container engines that the tests of this folder use: this machine's, or the scripts in ../shared/containers.

The scripts build and run images on a machine that has neither a daemon nor a registry; where they lie beside the
checkout they are used, else `docker` (or `podman`), `apptainer` (or `singularity`) and `sbatch` have to be on the path.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import pytest

from bids_app.inputs.dataset import shard_of

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT.parent / "shared" / "containers"
#: The user of the strict runs, whom no image knows.
UID = 1234
#: The user of Apptainer's runs, when the tests run as root.
PLAIN_UID = 1000
IMAGE = "bids_app"
#: What every run here is asked for: everything, fast. At 4 mm the masks of artificial heads are too coarse for each
#: face to be found removed; what these runs compare are systems, so that such a series is written nevertheless.
WORDS = ("--brain-extraction", "synth", "--output-spaces", "MNI152NLin2009aSym:res-4", "--allow-face")
#: Participants, one for each of six shards; the first has two series.
LABELS = tuple(next(f"{i:02d}" for i in range(1, 100) if shard_of(f"{i:02d}", 6) == shard) for shard in range(1, 7))
#: The first participant alone, where that is enough.
ONE = ("--participant-label", LABELS[0])


def call(
    words: list[object], cwd: Path | None = None, more: Mapping[str, str] | None = None, seconds: float = 3600
) -> subprocess.CompletedProcess[str]:
    """Run a command; its output as text."""
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd, env={**os.environ, **(more or {})}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, timeout=seconds, check=False,
    )  # fmt: skip


def have_scripts(*needed: str) -> bool:
    """Whether the scripts are there, with the programs that they stand on."""
    return (SCRIPTS / "env.sh").is_file() and os.getuid() == 0 and all(map(shutil.which, needed))


@dataclass(frozen=True)
class Docker:
    """`docker`, `podman`, or the scripts under the name `docker`."""

    command: Path

    @classmethod
    def find(cls, folder: Path) -> Docker:
        """The engine of this machine, as `docker` in a folder; skips the test where there is none."""
        folder.mkdir(exist_ok=True)
        if have_scripts("buildah", "podman", "runc", "mmdebstrap"):
            return cls(write_command(folder / "docker", f"""
                if [ "$1 $2" = "build -t" ]; then exec {SCRIPTS}/build.sh "$3" "$4"; fi
                . {SCRIPTS}/env.sh
                exec "${{PODMAN[@]}}" --runtime runc "$@"
            """))  # fmt: skip
        for name in ("docker", "podman"):
            if shutil.which(name) and call([name, "info"]).returncode == 0:
                return cls(write_command(folder / "docker", f'exec {shutil.which(name)} "$@"'))
        pytest.skip("no docker or podman here: the image was not built")

    def build(self, sources: Path) -> subprocess.CompletedProcess[str]:
        """Build the image."""
        if have_scripts():
            _make_base()
        return call([self.command, "build", "-t", IMAGE, sources], more=containers_conf())

    def run(self, *words: object, entrypoint: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the image with nothing but what the words say."""
        first = ["--entrypoint", entrypoint] if entrypoint else []
        return call([self.command, "run", "--rm", *first, *words], more=containers_conf())

    def strict(self, data: Path, out: Path, *words: object) -> subprocess.CompletedProcess[str]:
        """As a careful cluster would: no network, read-only root, unknown user, no capability, read-only input."""
        return self.run(
            "--network", "none", "--user", f"{UID}:{UID}", "--read-only", "--tmpfs", "/tmp:rw,mode=1777",
            "--cap-drop", "all", "--security-opt", "no-new-privileges",
            "-v", f"{data}:/data:ro", "-v", f"{out}:/out", IMAGE, "/data", "/out", *words,
        )  # fmt: skip

    def inspect(self, template: str) -> str:
        """A field of the image's description."""
        return call([self.command, "inspect", "--format", template, IMAGE]).stdout.strip()


def write_command(path: Path, text: str) -> Path:
    """Make a command of a few lines."""
    path.write_text("#!/bin/bash\n" + textwrap.dedent(text))
    path.chmod(0o755)
    return path


def _podman() -> list[str]:
    """The scripts' podman, with its options."""
    text = f'. {SCRIPTS}/env.sh; printf "%s\\n" "${{PODMAN[@]}}"'
    return subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True).stdout.split()


def _make_base() -> None:
    """The scripts' stand-in for the image that both engines start from, where nobody made it yet."""
    base = "docker.io/library/python:3.11-slim-bookworm"
    if call([*_podman(), "image", "exists", base]).returncode != 0:
        assert call([SCRIPTS / "mkbase.sh", "python"]).returncode == 0


def containers_conf() -> dict[str, str]:
    return {"CONTAINERS_CONF": str(SCRIPTS / "containers.conf")} if SCRIPTS.is_dir() else {}


@dataclass(frozen=True)
class Apptainer:
    """`apptainer`, `singularity`, or the scripts; `folder` has a command of each name for scripts to find."""

    folder: Path

    @classmethod
    def find(cls, folder: Path) -> Apptainer:
        """The engine of this machine; skips the test where there is none."""
        folder.mkdir(exist_ok=True)
        if have_scripts("mmdebstrap", "podman"):
            made = call([SCRIPTS / "mkapptainer.sh"])
            assert made.returncode == 0, made.stdout
            # a plain user cannot enter the root that holds Apptainer: root does, and gives away what is to be written
            for name in ("apptainer", "singularity"):
                write_command(folder / name, f"""
                    if [ "$1" = build ]; then exec {SCRIPTS}/sing-build.sh "$3" "$2"; fi
                    for word in "$@"; do
                      case $word in *:/work | *:/out | "$PWD") chown -R {PLAIN_UID}:{PLAIN_UID} "${{word%%:*}}" ;; esac
                    done
                    exec {SCRIPTS}/sing-in.sh {PLAIN_UID} apptainer "$@"
                """)  # fmt: skip
            return cls(folder)
        found = shutil.which("apptainer") or shutil.which("singularity")
        if found is None:
            pytest.skip("no apptainer or singularity here: the SIF was not built")
        for name in ("apptainer", "singularity"):
            write_command(folder / name, f'exec {found} "$@"')
        return cls(folder)

    def build(self, sources: Path, sif: Path) -> subprocess.CompletedProcess[str]:
        """Build the SIF."""
        if have_scripts():
            _make_base()
        return call([self.folder / "apptainer", "build", sif, "singularity/bids_app.def"], cwd=sources)

    def environment(self) -> dict[str, str]:
        """An environment in which the commands are found."""
        return {"PATH": f"{self.folder}:{os.environ['PATH']}"}

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        """`apptainer …`."""
        return call([self.folder / "apptainer", *words])


def images_of(output: Path) -> dict[str, str]:
    """SHA-256 of header and voxels of every image of an output, by its path; compression may differ between systems."""
    found = {}
    for path in sorted(output.glob("sub-*/**/*.nii.gz")):
        image = nib.load(path)
        content = image.header.binaryblock + image.dataobj.get_unscaled().tobytes()
        found[str(path.relative_to(output))] = hashlib.sha256(content).hexdigest()
    assert found
    return found


def tree_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def of_one(images: Mapping[str, str]) -> dict[str, str]:
    """The images of the first participant."""
    return {name: value for name, value in images.items() if name.startswith(f"sub-{LABELS[0]}")}


def writable(path: Path) -> Path:
    """A new folder in which every user can write."""
    path.mkdir()
    path.chmod(0o777)
    return path
