"""Every command line of the README and the pages of docs/, run as it is written, in the order of its page.

`bids_app` is the image's, `docker`, `apptainer` and `singularity` are this machine's, under those names.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from container.engines import IMAGE, ROOT, SCRIPTS, Apptainer, Docker, call, containers_conf, writable, write_command

from bids_app.assets.spaces import find_space, space_grid
from bids_app.inputs.demo import write_demo

PAGES = ("README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))))
#: What a line of a block of commands begins with; other blocks show files, trees and what a run says.
_COMMANDS = re.compile(
    r"(?:[A-Z_]+=\S+ )*"
    r"(?:bids_app|docker|apptainer|make|pip|head|cp|export|sbatch|singularity/\w+\.sh|\./main|\.venv/\S+)\b"
)
#: Lines that are not run here, and why.
_NOT_HERE = {
    "make ": "the tests themselves and what they stand on",
    ".venv/": "the tests themselves",
    "pip install": "needs an index of packages; the image's build installs the same way",
    "bids_app fetch": "needs a network",
    "--output-spaces MNI152NLin2009aSym MNI152NLin2009cAsym:res-2": "its second template has to be fetched",
    "--gres=gpu:1": "needs a GPU; test_cluster.py submits the two arrays without",
    "sam_vit_b.pth": "weights that are not at hand",
    "bids_app calibrate": "takes its time, and writes where the image cannot be written to",
}
#: What a user does between two lines, as the text around them says.
_PATHS = {"t1w": "data/sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz", "t2w": None, "flair": None, "_inputs": []}


def blocks(page: str) -> list[list[str]]:
    """The blocks of commands and scripts of a page, line by line; a line that goes on is one."""
    found: list[list[str]] = [[]]
    for line in page.splitlines():
        if line.startswith("    "):
            found[-1].append(line[4:])
        elif found[-1]:
            found.append([])
    joined = [re.sub(r"\\\n\s*", "", "\n".join(block)).split("\n") for block in found if block]
    return [block for block in joined if _COMMANDS.match(block[0]) or block[0].startswith("#!")]


def lines_of(page: str) -> list[str]:
    """The commands; a script is one of them."""
    found = []
    for block in blocks(page):
        found += ["\n".join(block)] if block[0].startswith("#!") else [line for line in block if line]
    return found


def test_commands_are_told_from_what_is_shown() -> None:
    page = "text\n\n    bids_app a b participant  # why\n    docker run \\\n      x\n\ntext\n\n    /out\n    └── a\n\n"
    page += "text\n\n    #!/bin/bash\n    cd /\n"
    assert lines_of(page) == ["bids_app a b participant  # why", "docker run x", "#!/bin/bash\ncd /"]
    every = [line for name in PAGES for line in lines_of((ROOT / name).read_text())]
    assert len(every) > 60
    for word in _NOT_HERE:  # none is left out that is no longer there
        assert any(word in line for line in every), word


@pytest.fixture(scope="module")
def checkout(sources: Path, image: Docker, apptainer: Apptainer, scratch: Path) -> Path:
    """A checkout with what the pages speak of beside it, and `bids_app` as a command: the image's."""
    folder = scratch / "checkout"
    shutil.copytree(sources, folder)
    write_demo(scratch / "whole", spacing_mm=2.0)
    for name in ("data", "data-b"):
        (folder / name).mkdir()
    shutil.copytree(scratch / "whole" / "sub-02", folder / "data" / "sub-02")
    shutil.copytree(scratch / "whole" / "sub-01", folder / "data-b" / "sub-01")
    for name in ("data", "data-b"):
        shutil.copy2(scratch / "whole" / "dataset_description.json", folder / name)
    (folder / "data" / "participants.tsv").write_text(
        "participant_id\tage\tsex\tsite\tlesion\nsub-02\t40\tF\ta\t0\nsub-xa30\t50\tM\tb\t0\n"
    )
    shared = SCRIPTS.parent
    if (shared / "data").is_dir():  # diffusion images without a b-value
        shutil.copytree(shared / "data" / "sub-xa30" / "dwi", folder / "data" / "sub-xa30" / "dwi")
    _write_parcellation(folder / "avgwmparc_dseg.nii.gz")
    (folder / "DATA").symlink_to("data")
    (folder / "OUT").symlink_to("out")
    write_command(
        apptainer.folder / "bids_app",
        f"""
            exec {image.command} run --rm --user 0:0 --network none -v "$PWD:/here" -w /here \\
              -v "$PWD/data:/data:ro" -v "$PWD/out:/out" \\
              -v "$PWD/data-b:/data-b:ro" -v "$PWD/out-c:/out-c" {IMAGE} "$@"
        """,
    )
    call(["chmod", "-R", "a+rX", folder])
    return folder


def _write_parcellation(path: Path) -> None:
    """Cubes of 30 mm in the default atlas, with their table."""
    shape, affine = space_grid(find_space("MNI152NLin2009aSym", path.parent, None))
    edges = np.indices(shape) // 30
    labels = 1 + edges[0] + 10 * edges[1] + 100 * edges[2]
    nib.save(nib.Nifti1Image(labels.astype(np.int16), affine), path)
    rows = "".join(f"{label}\tcube{label}\n" for label in np.unique(labels))
    path.with_name("avgwmparc_dseg.tsv").write_text("index\tname\n" + rows)


@pytest.fixture(scope="module")
def processed(checkout: Path, apptainer: Apptainer, scratch: Path) -> Path:
    """The output of the README's command and of the segmentation, on which the other pages' commands go on."""
    writable(checkout / "out")
    writable(checkout / "out-c")
    whole = "bids_app /data /out participant"
    failed = _run(checkout, apptainer, [whole, f"{whole} --steps default segment"], {})
    assert not failed, failed
    shutil.move(checkout / "out", scratch / "processed")
    (checkout / "out-c").rmdir()
    shutil.copytree(scratch / "processed", checkout / "out-c", symlinks=True)
    return scratch / "processed"


@pytest.mark.parametrize("page", PAGES)
def test_what_is_written_runs(
    page: str, checkout: Path, processed: Path, apptainer: Apptainer, sif: Path, request: pytest.FixtureRequest
) -> None:
    lines = [line for line in lines_of((ROOT / page).read_text()) if not any(word in line for word in _NOT_HERE)]
    if not lines:
        pytest.skip(f"{page} has no command that can be run here")
    fresh = page in ("docs/containers.md", "docs/brainlife.md")
    more = request.getfixturevalue("slurm") if "sbatch" in "".join(lines) else {}
    shutil.rmtree(checkout / "out", ignore_errors=True)
    if fresh:
        writable(checkout / "out")
    else:
        shutil.copytree(processed, checkout / "out", symlinks=True)
        call(["chmod", "-R", "a+rwX", checkout / "out"])
    (checkout / "work").mkdir(exist_ok=True)
    (checkout / "work").chmod(0o777)
    if not (checkout / "bids_app.sif").exists():
        shutil.copy2(sif, checkout / "bids_app.sif")
    failed = _run(checkout, apptainer, lines, {**more, "SBATCH_WAIT": "1", "PBS_O_WORKDIR": str(checkout)})
    assert not failed, failed


def _run(place: Path, apptainer: Apptainer, lines: list[str], more: dict[str, str]) -> str:
    """Run the lines in one shell, as a user would; what those that failed said."""
    script = ["exec 2>&1"]
    for number, line in enumerate(lines):
        if line.startswith("#!"):  # a scheduler's script: this is one of its tasks
            (place / f"script{number}.sh").write_text(line + "\n")
            line = f"PBS_ARRAY_INDEX=1 LSB_JOBINDEX=1 bash script{number}.sh"
        if line.startswith(("docker run", "apptainer run ")):
            script.append("rm -rf out && mkdir -m 777 out")  # ways to do the same, each as another user
        script += [f"echo '== {number}'", line, f"echo '== {number} ended with' $?"]
        if line.startswith("cp config.json.sample"):
            sample = json.loads((ROOT / "config.json.sample").read_text())
            (place / "paths.json").write_text(json.dumps({**sample, **_PATHS}))
            script.append("cp paths.json config.json")
    path = place / "page.sh"
    path.write_text("\n".join(script) + "\n")
    environment = {**apptainer.environment(), **containers_conf(), **more}
    if SCRIPTS.is_dir():
        environment["SING_BINDS"] = str(place)
    said = call(["bash", path], cwd=place, more=environment, seconds=7200).stdout
    ends = {int(number): int(code) for number, code in re.findall(r"^== (\d+) ended with (\d+)$", said, re.M)}
    assert len(ends) == len(lines), said[-3000:]
    parts = []
    for number, code in ends.items():
        if code:
            own = said.split(f"== {number}\n")[1].split(f"== {number} ended")[0]
            parts.append(f"{lines[number]}\nended with {code}:\n{own[-2500:]}")
    return "\n\n".join(parts)
