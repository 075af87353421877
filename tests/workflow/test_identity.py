"""Who was scanned, when, where and by whom: planted wherever a dataset can say it, and in no byte of the output."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from bids_app.inputs.demo import write_demo

#: Fields of dcm2niix, DICOM and BIDS that tell of a person, a place, a machine or a time, and free text.
FIELDS = (
    "PatientName", "PatientID", "PatientAddress", "AccessionNumber", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName", "DeviceSerialNumber", "StationName", "OperatorsName", "ReferringPhysicianName",
    "SeriesDescription", "ProtocolName", "ImageComments", "StudyInstanceUID", "SeriesInstanceUID",
    "ProcedureStepDescription", "SequenceName", "PulseSequenceDetails", "CoilString", "ReceiveCoilName",
    "ConversionSoftware", "ScanOptions",
)  # fmt: skip
#: Fields that are passed on where their content is one of the known names.
GUARDED = (
    "Manufacturer",
    "ManufacturersModelName",
    "ScanningSequence",
    "ContrastBolusIngredient",
    "EchoTime",
    "FlipAngle",
)
DATES = ("PatientBirthDate", "AcquisitionDateTime", "StudyDate", "SeriesTime", "ContentDate")
LEVELS = ("", "sub-02/sub-02_", "sub-02/ses-1/sub-02_ses-1_", "sub-02/ses-1/anat/sub-02_ses-1_")


@dataclass
class Planted:
    """What was planted, and where."""

    where: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def text(self, where: str) -> str:
        """A name that is nowhere else."""
        self.count += 1
        token = f"Zyx{self.count:03d}Quendolin"
        self.where[token] = where
        return token

    def number(self, where: str) -> int:
        """A number of a patient that is nowhere else."""
        self.count += 1
        number = 71_000_113 + 10_007 * self.count
        self.where[str(number)] = where
        return number

    def date(self, where: str) -> str:
        """A moment that is nowhere else."""
        self.count += 1
        count = self.count
        date = f"19{40 + count % 55:02d}-{1 + count % 12:02d}-{1 + count % 28:02d}"
        self.where[date] = where
        return f"{date}T{count % 24:02d}:41:{count % 60:02d}"


@dataclass(frozen=True)
class Hospital:
    """An archive in which everything tells whose it is."""

    root: Path
    data: Path
    planted: Planted


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """A session of the demo with identifiers in everything that is read, or lies beside it."""
    planted = Planted()
    root = tmp_path_factory.mktemp("archive") / planted.text("a folder above the dataset")
    demo, data = root / "demo", root / planted.text("the dataset's folder")
    write_demo(demo, spacing_mm=4.0)
    (data / "sub-02").mkdir(parents=True)
    shutil.copytree(demo / "sub-02" / "ses-1", data / "sub-02" / "ses-1")
    for level in LEVELS:
        for suffix in ("T1w", "FLAIR"):
            _write_sidecar(data / f"{level}{suffix}.json", planted)
    for suffix in ("T1w", "FLAIR"):
        _mark_image(data / "sub-02/ses-1/anat" / f"sub-02_ses-1_{suffix}.nii.gz", planted)
    _write_tables(data, planted)
    _write_masks(demo / "derivatives" / "truth", root / planted.text("the masks' folder"), planted)
    anat = data / "sub-02" / "ses-1" / "anat"
    (anat / f"{planted.text('a misnamed image')}_T1w.nii.gz").write_bytes(b"")
    (anat / f"sub-02_ses-1_acq-{planted.text('a bad entity')}!_T1w.nii.gz").write_bytes(b"")
    (anat / f"{planted.text('a DICOM file')}.dcm").write_bytes(b"")
    (anat / f"{planted.text('a misnamed sidecar')}.json").write_text(planted.text("invalid JSON"))
    (anat / "sub-02_ses-1_T2w.nii.gz").write_bytes(gzip.compress(planted.text("an image that is text").encode() * 40))
    (anat / "sub-02_ses-1_PDw.nii.gz").write_bytes((anat / "sub-02_ses-1_T1w.nii.gz").read_bytes()[:9000])
    (anat / "sub-02_ses-1_PDw.json").write_text("{" + planted.text("broken JSON"))
    _write_files_of_options(root, planted)
    shutil.rmtree(demo)
    return Hospital(root, data, planted)


def _write_sidecar(path: Path, planted: Planted) -> None:
    """A sidecar at one level of inheritance; at each level there is something that no deeper one overrides."""
    where = path.name if path.parent.name != "anat" else "anat/" + path.name
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    own = FIELDS if "anat" in where else [f"{name}{len(path.parts)}" for name in FIELDS[:4]]
    content |= {name: planted.text(f"{where} {name}") for name in own}
    content |= {name: planted.date(f"{where} {name}") for name in DATES}
    if "anat" in where:
        content |= {name: planted.text(f"{where} {name}") for name in GUARDED[:2]}
        content["Manufacturer"] = f"Siemens {content['Manufacturer']}"
        content["ScanningSequence"] = ["GR", planted.text(f"{where} ScanningSequence")]
        content["ContrastBolusIngredient"] = planted.text(f"{where} ContrastBolusIngredient")
        content["EchoTime"] = planted.number(f"{where} EchoTime")
        content["FlipAngle"] = [9, planted.number(f"{where} FlipAngle")]
        content["global"] = {"const": {"PatientName": planted.text(f"{where} nested")}}
    path.write_text(json.dumps(content))


def _mark_image(path: Path, planted: Planted) -> None:
    """Text in the header's fields and extensions, in the gzip header, and in the file's time."""
    image: Any = nib.load(path)
    image = nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header)
    where = path.name.split("_")[-1]
    sizes = {"descrip": 80, "aux_file": 24, "intent_name": 16, "db_name": 18, "data_type": 10}
    for name, size in sizes.items():
        token = planted.text(f"{where} {name}")
        planted.where.pop(token)
        short = f"Q{token[3:6]}{name}"[:size]
        planted.where[short[:10]] = f"{where} {name}"
        image.header[name] = short.encode()
    for code in ("comment", "dicom", "afni"):
        text = planted.text(f"{where} extension {code}").encode()
        number = nib.nifti1.extension_codes[code]
        image.header.extensions.append(nib.nifti1.Nifti1Extension(number, text))
    content = gzip.compress(image.to_bytes())
    name, comment = planted.text(f"{where} gzip name").encode(), planted.text(f"{where} gzip comment").encode()
    time = 486_000_123
    header = content[:3] + bytes([8 | 16]) + time.to_bytes(4, "little") + content[8:10] + name + b"\0" + comment + b"\0"
    path.write_bytes(header + content[10:])
    assert np.asanyarray(nib.load(path).dataobj).any()
    planted.where[str(time)] = f"{where} time of the file and in its gzip header"
    os.utime(path, (time, time))


def _write_tables(data: Path, planted: Planted) -> None:
    columns = ("name", "address", "comment", "email")
    people = [planted.text(f"participants.tsv {name}") for name in columns]
    born = planted.date("participants.tsv date_of_birth")
    (data / "participants.tsv").write_text(
        "\t".join(("participant_id", "age", "sex", "date_of_birth", *columns))
        + "\n"
        + "\t".join(("sub-02", "97", "female", born, *people))
        + "\n"
    )
    (data / "participants.json").write_text(json.dumps({"name": {"Description": planted.text("participants.json")}}))
    sessions = ["ses-1", planted.date("sessions.tsv acq_time"), planted.text("sessions.tsv ward"), "98"]
    (data / "sub-02" / "sub-02_sessions.tsv").write_text(
        "session_id\tacq_time\tward\tage\n" + "\t".join(sessions) + "\n"
    )
    scans = ["anat/sub-02_ses-1_T1w.nii.gz", planted.date("scans.tsv acq_time"), planted.text("scans.tsv operator")]
    (data / "sub-02/ses-1/sub-02_ses-1_scans.tsv").write_text(
        "filename\tacq_time\toperator\n" + "\t".join(scans) + "\n"
    )
    description = {"Name": planted.text("dataset Name"), "BIDSVersion": "1.10.0"}
    description |= {
        key: planted.text(f"dataset {key}") for key in ("Acknowledgements", "HowToAcknowledge", "DatasetDOI")
    }
    description |= {key: [planted.text(f"dataset {key}")] for key in ("Authors", "Funding", "EthicsApprovals")}
    description["GeneratedBy"] = [{"Name": planted.text("dataset GeneratedBy")}]
    (data / "dataset_description.json").write_text(json.dumps(description))
    for name in ("README", "CHANGES", "LICENSE"):
        (data / name).write_text(planted.text(name))


def _write_masks(truth: Path, folder: Path, planted: Planted) -> None:
    anat = folder / "sub-02" / "ses-1" / "anat"
    anat.mkdir(parents=True)
    for suffix in ("T1w", "FLAIR"):
        stem = f"sub-02_ses-1_label-brain_desc-{suffix}_mask"
        shutil.copy(truth / "sub-02/ses-1/anat" / f"{stem}.nii.gz", anat)
        _mark_image(anat / f"{stem}.nii.gz", planted)
        content = {name: planted.text(f"mask's sidecar {name}") for name in ("Sources", "Description", "Rater")}
        (anat / f"{stem}.json").write_text(json.dumps(content))


def _write_files_of_options(root: Path, planted: Planted) -> None:
    folder = root / planted.text("the options' folder")
    folder.mkdir()
    (masks,) = [
        path for path in root.iterdir() if (path / "sub-02").is_dir() and not (path / "participants.tsv").exists()
    ]
    query = {"t1w": {"suffix": "T1w"}, "t2w": {"acquisition": planted.text("the filter file")}}
    (folder / "filter.json").write_text(json.dumps(query))
    (folder / "key").write_text(planted.text("the key for dates") * 2)
    (folder / "config.toml").write_text(
        f"# {planted.text('the TOML file')}\n"
        f'masks = "{masks}"\nbids-filter-file = "{folder / "filter.json"}"\n'
        f'work-dir = "{root / planted.text("the work folder")}"\n'
        "nprocs = 2\n"
    )


def _run(hospital: Hospital, output: Path, *words: str, patch: str = "", secret: str = "") -> tuple[int, str]:
    """Run the command with a home and a configuration that tell, too; `patch` is run in all its processes."""
    config = next(hospital.root.glob("*/config.toml"))
    places = hospital.root / hospital.planted.text("the home folder")
    (places / "python").mkdir(parents=True)
    (places / "python" / "sitecustomize.py").write_text(patch)
    environment = {
        **os.environ,
        "HOME": str(places),
        "BIDS_APP_HOME": str(places),
        "USER": places.name,
        "PLANTED": secret,
    }
    environment["PYTHONPATH"] = os.pathsep.join((str(places / "python"), os.environ.get("PYTHONPATH", "")))
    command = [sys.executable, "-m", "bids_app", hospital.data, output, "participant", "--config-file", config, *words]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stdout + done.stderr


def _contents(output: Path) -> Iterator[tuple[str, bytes]]:
    """Every file's bytes, its name among them; compressed ones as they are and unpacked."""
    for path in sorted(output.rglob("*")):
        name = path.relative_to(output).as_posix()
        yield name, name.encode()
        if path.is_file():
            content = path.read_bytes()
            yield name, content
            if name.endswith(".gz"):
                assert content[3] == 0, f"{name}: more than data in its gzip header"
                assert content[4:8] == b"\0\0\0\0", f"{name}: a time in its gzip header"
                yield name, gzip.decompress(content)
            assert path.stat().st_mtime > 1_600_000_000, f"{name} has the time of the scan"


#: What planted identifiers look like, as text of one byte a letter; compared in lower case.
_LOOKS = re.compile(rb"zyx\d{3}quendolin|q\d{3}[a-z_]{3,6}|19\d\d-?\d\d-?\d\d|7\d{7}|486000123")


def _leaks(hospital: Hospital, output: Path) -> list[str]:
    """Identifiers in the output: in UTF-8, Latin-1, UTF-16 and hexadecimal, numbers also as integers of four bytes."""
    planted = {token.lower().replace("-", ""): where for token, where in hospital.planted.where.items()}
    numbers = {int(token): where for token, where in planted.items() if token.isdigit()}
    found = []
    for name, content in _contents(output):
        lowered = content.lower()
        for text in (lowered, lowered.replace(b"\0", b"")):  # the second: UTF-16 of either order
            for match in _LOOKS.finditer(text):
                token = match[0].decode().replace("-", "")
                if token in planted:
                    found.append(f"{name}: {planted[token]} ({token})")
        if b"quendolin".hex().encode() in lowered:
            found.append(f"{name}: an identifier in hexadecimal")
        # four bytes are among an image's voxels by chance, also where it lies in an archive (looked at unpacked, too)
        if not name.endswith((".nii.gz", ".zip", ".tar")):
            integers = [
                (number.to_bytes(4, order), where) for number, where in numbers.items() for order in ("little", "big")
            ]
            found += [f"{name}: {where}, as an integer" for form, where in integers if form in content]
    return sorted(set(found))


def test_what_is_planted_would_be_found(hospital: Hospital, tmp_path: Path) -> None:
    for count, token in enumerate(hospital.planted.where):
        coding = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")[count % 4]
        (tmp_path / f"{count}.txt.gz").write_bytes(gzip.compress(b"\x01" + token.encode(coding) + b"\x02", mtime=0))
    assert len(_leaks(hospital, tmp_path)) == len(hospital.planted.where) >= 60


@pytest.fixture(scope="module")
def processed(hospital: Hospital) -> tuple[Path, str]:
    """All steps, with dates shifted."""
    output = hospital.root / "out"
    key = next(hospital.root.glob("*/key"))
    code, text = _run(hospital, output, "--date-key", str(key))
    assert code == 1, text  # the broken series
    return output, text


def test_no_identifier_is_in_the_output(hospital: Hospital, processed: tuple[Path, str]) -> None:
    output, text = processed
    names = {path.name for path in output.rglob("*.nii.gz")}
    assert "sub-02_ses-1_space-MNI152NLin2009aSym_res-1_desc-brainzscore_FLAIR.nii.gz" in names, text
    assert _leaks(hospital, output) == []
    print(f"{len(hospital.planted.where)} identifiers planted")


def test_what_may_be_told_is(processed: tuple[Path, str]) -> None:
    output, _ = processed
    assert (output / "participants.tsv").read_text() == "participant_id\tage\tsex\nsub-02\t89+\tF\n"
    header, row = (output / "sub-02" / "sub-02_sessions.tsv").read_text().splitlines()
    assert header == "session_id\tage\tacq_time"
    assert re.fullmatch(r"ses-1\t89\+\t1[78]\d\d-\d\d-\d\dT\d\d:\d\d:\d\d", row)
    sidecar = json.loads(next(output.rglob("*_desc-defaced_T1w.json")).read_text())
    assert sidecar["Manufacturer"] == "Siemens"


def test_no_identifier_is_in_an_export(hospital: Hospital, processed: tuple[Path, str], tmp_path: Path) -> None:
    output, _ = processed
    key = next(hospital.root.glob("*/key"))
    formats = {
        "mr-rate": (),
        "slices": ("--planes", "axial", "coronal", "sagittal"),
        "webdataset": ("--export-label", "brain"),
        "nnunet": ("--export-label", "brain", "--export-images", "T1w+ce@atlas/preproc", "FLAIR+ce@atlas/preproc"),
    }
    for name, words in formats.items():
        folder = tmp_path / name
        command = [sys.executable, "-m", "bids_app", hospital.data, output, "export", "--format", name, "--export-dir"]
        command += [folder, "--export-key", key, "--split", "1", "0", "0", *words]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        for archive in (*folder.rglob("*.zip"), *folder.rglob("*.tar")):
            shutil.unpack_archive(archive, archive.with_suffix(""), archive.suffix.removeprefix("."), filter=None)
        assert any(path.suffix in (".gz", ".png") for path in folder.rglob("*"))
        _touch(folder)
        assert _leaks(hospital, folder) == []
        label = re.compile(rb"sub-02|ses-1")
        assert [where for where, content in _contents(folder) if label.search(content)] == [], "the labels are hidden"


def _touch(folder: Path) -> None:
    """Unpacked files have the time in their archive, which is none of a scan."""
    for path in folder.rglob("*"):
        assert not path.is_file() or path.stat().st_mtime in (0, 315532800) or path.stat().st_mtime > 1_600_000_000
        os.utime(path)


def test_the_tables_are_valid_bids(processed: tuple[Path, str]) -> None:
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.exists():
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run([str(validator), "--json", str(processed[0])], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue.get("severity") == "error"] == []


_CRASH = """
import bids_app.steps.{module} as module
def fails(*arguments, **words):
    import os
    path, secret = {path!r}, os.environ["PLANTED"]
    if {kind!r} == "killed":
        import signal
        os.kill(os.getpid(), signal.SIGKILL)
    raise {kind}(f"cannot use {{secret}} of {{path}}\\n  {{secret}}: {{path}} '{{secret}}'")
_HeaderError = __import__("nibabel").spatialimages.HeaderDataError
module.{name} = fails
"""


@pytest.mark.parametrize(
    "kind", ["ValueError", "OSError", "MemoryError", "module.images.ImageError", "_HeaderError", "killed"]
)
def test_no_identifier_is_in_the_output_of_a_run_that_crashes(hospital: Hospital, kind: str, tmp_path: Path) -> None:
    secret = hospital.planted.text(f"message of a {kind}") if "Image" not in kind else "it"
    if kind == "module.images.ImageError":
        kind = "__import__('bids_app.steps.images').steps.images.ImageError"
    path = str(hospital.data / "sub-02" / "ses-1" / "anat" / "sub-02_ses-1_T1w.nii.gz")
    patch = _CRASH.format(module="bias_field", name="bias_field", path=path, kind=kind)
    output = tmp_path / "out"
    code, text = _run(
        hospital, output, "--steps", "mask", "deface", "bias", "--nprocs", "1", patch=patch, secret=secret
    )
    assert code == 1, text
    errors = next(output.rglob("errors.txt")).read_text()
    assert "bias/sub-02_ses-1_T1w" in errors or "its process was killed" in errors, errors
    assert _leaks(hospital, output) == []
    assert not (output / "sub-02" / "sub-02_sessions.tsv").read_text().count("acq_time"), "no key, no date"
