"""The images: what is in them, and that under strict settings they give what a run outside gives."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from container.engines import (
    IMAGE,
    ONE,
    WORDS,
    Apptainer,
    Docker,
    containers_conf,
    images_of,
    of_one,
    tree_of,
    writable,
)

from bids_app import __version__
from bids_app.exit_codes import TRY_AGAIN


def test_image_has_what_it_should(image: Docker) -> None:
    assert image.run(IMAGE, "--version").stdout.strip() == f"bids_app {__version__}"
    assert image.inspect("{{.Config.Entrypoint}}") == "[/opt/bids_app/bin/bids_app]"  # exec form: no shell around it
    assert image.inspect("{{.Config.User}}") == "1000:1000"
    assert image.inspect('{{index .Config.Labels "org.opencontainers.image.version"}}') == __version__
    assert int(image.inspect("{{.Size}}")) < 2.5e9
    inside = image.run(
        IMAGE, "-c", "cat /version; id -u; which gcc cc g++ make; python -m pip --version; ls /opt/bids_app/home",
        entrypoint="sh",
    ).stdout  # fmt: skip
    assert inside.split()[:2] == [__version__, "1000"]
    assert "/usr" not in inside
    assert "No module named pip" in inside
    assert "hd-bet" not in inside


def test_docker_needs_no_option(image: Docker, small: Path, outside: dict[str, str], scratch: Path) -> None:
    out = writable(scratch / "docker-plain")
    done = image.run(
        "-v", f"{small}:/data:ro", "-v", f"{out}:/out", IMAGE, "/data", "/out", "participant",
        *ONE, *WORDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert images_of(out) == of_one(outside)


def test_docker_under_strict_settings(image: Docker, small: Path, outside: dict[str, str], scratch: Path) -> None:
    out, before = writable(scratch / "docker-strict"), tree_of(small)
    done = image.strict(small, out, "participant", *ONE, *WORDS)
    assert done.returncode == 0, done.stdout
    assert images_of(out) == of_one(outside)
    assert tree_of(small) == before


def test_docker_stops_in_order(image: Docker, small: Path, scratch: Path) -> None:
    out = writable(scratch / "docker-stopped")
    words = [
        str(image.command), "run", "--rm", "--name", "bids_app-stopped", "-v", f"{small}:/data:ro", "-v", f"{out}:/out",
    ]  # fmt: skip
    settings = {**os.environ, **containers_conf()}
    run = [*words, IMAGE, "/data", "/out", "participant", *WORDS]
    process = subprocess.Popen(run, stdout=subprocess.DEVNULL, env=settings)
    while process.poll() is None and not list(out.glob("sub-*/**/*.nii.gz")):
        time.sleep(0.2)
    assert process.poll() is None, "it ended before it could be stopped"
    stop = [str(image.command), "stop", "-t", "60", "bids_app-stopped"]
    subprocess.run(stop, check=True, stdout=subprocess.DEVNULL, env=settings)
    assert process.wait(120) == TRY_AGAIN


def test_sif_under_strict_settings(
    apptainer: Apptainer, sif: Path, small: Path, outside: dict[str, str], scratch: Path
) -> None:
    out, work, before = writable(scratch / "sif-strict"), writable(scratch / "sif-work"), tree_of(small)
    done = apptainer.run(
        "run", "--containall", "--cleanenv", "--net", "--network", "none",
        "-B", f"{small}:/data:ro", "-B", f"{out}:/out", "-B", f"{work}:/work", sif,
        "/data", "/out", "participant", "-w", "/work", *ONE, *WORDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert images_of(out) == of_one(outside)
    assert tree_of(small) == before
    assert not list(work.iterdir())


def test_sif_says_what_it_is(apptainer: Apptainer, sif: Path) -> None:
    said = apptainer.run("run", "--containall", sif, "--version").stdout.splitlines()
    assert said[-1] == f"bids_app {__version__}"  # Apptainer has its own messages before
    assert "apptainer run --containall" in apptainer.run("run-help", sif).stdout
    assert apptainer.run("test", "--containall", sif).returncode == 0
