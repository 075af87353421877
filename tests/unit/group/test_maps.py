"""Maps over participants against numpy's moments of all images at once."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from bids_app.group.cohorts import MapsError, participants
from bids_app.group.maps import Moments, write_maps
from bids_app.outputs.manifest import FileRecord, TaskRecord, manifest_path, record_task
from bids_app.settings import Settings

SHAPE = (6, 5, 4)
SPACE = "MNI152NLin2009aSym_res-1"


def _put(output: Path, subject: str, task: str, name: str, array: NDArray[Any], **facts: Any) -> None:
    path = f"sub-{subject}/dwi/sub-{subject}_space-MNI152NLin2009aSym_res-1_{name}.nii.gz"
    (output / path).parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), output / path)
    record = TaskRecord("key", {}, (FileRecord(path, "", 1),), facts)
    record_task(output, manifest_path(output, subject, None), f"{task.format(subject=subject)}", record)


@pytest.fixture
def cohort(tmp_path: Path) -> tuple[Settings, dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Six participants: images, the lesions of four of them (one empty), and a table."""
    rng = np.random.default_rng(0)
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    images, lesions = {}, {}
    rows = ["participant_id\tsite"]
    for number in range(6):
        subject = f"{number:02}"
        rows.append(f"sub-{subject}\t{'A' if number < 4 else 'B'}")
        image = rng.normal(3 * number, 1 + number, SHAPE).astype(np.float32)
        image[number, 0, 0] = 0  # outside of its field of view
        images[subject] = image
        _put(output, subject, f"normalize/sub-{{subject}}_trace/{SPACE}/brainzscore", "desc-brainzscore_trace", image)
        if number < 4:
            lesion = (rng.random(SHAPE) < 0.3 * number).astype(np.uint8)
            lesions[subject] = lesion
            _put(output, subject, f"resample/sub-{{subject}}_trace/{SPACE}/lesion", "label-lesion_mask", lesion)
            facts = {"lesion_ml": float(lesion.sum())}
            record = TaskRecord("key", {}, (), facts)
            record_task(output, manifest_path(output, subject, None), f"lesion/sub-{subject}_trace", record)
    (source / "participants.tsv").write_text("\n".join(rows) + "\n")
    return Settings(source, output, maps=True), images, lesions


def _load(settings: Settings, name: str) -> NDArray[Any]:
    return np.asarray(nib.load(settings.output_dir / "group_maps" / name).dataobj)  # type: ignore[attr-defined]


def test_moments_are_those_of_all_images_at_once() -> None:
    images = np.random.default_rng(1).normal(1e6, 2.0, (50, *SHAPE))  # a small spread on a large mean
    moments = Moments.on(nib.Nifti1Image(images[0], np.eye(4)))
    for image in images:
        moments.add(image, np.ones(SHAPE, bool))
    np.testing.assert_allclose(moments.mean, images.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.sd(), images.std(axis=0, ddof=1), rtol=1e-9)


def test_mean_and_sd_are_over_the_images_that_show_a_voxel(cohort: Any) -> None:
    settings, images, _ = cohort
    write_maps(settings)
    stack = np.ma.masked_equal(np.stack(list(images.values())).astype(float), 0)
    label = f"space-{SPACE}_desc-brainzscore_stat"
    np.testing.assert_allclose(_load(settings, f"{label}-mean_trace.nii.gz"), stack.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(_load(settings, f"{label}-sd_trace.nii.gz"), stack.std(axis=0, ddof=1), rtol=1e-5)
    assert np.array_equal(_load(settings, f"{label}-count_trace.nii.gz"), stack.count(axis=0))


def test_frequency_is_the_truths(cohort: Any) -> None:
    settings, _, lesions = cohort
    write_maps(settings)
    truth = np.stack(list(lesions.values())).mean(axis=0)
    found = _load(settings, f"space-{SPACE}_desc-lesion_stat-frequency_trace.nii.gz")
    np.testing.assert_allclose(found, truth, atol=1e-6)


def test_maps_by_a_column_and_of_chosen_participants(cohort: Any) -> None:
    settings, images, lesions = cohort
    write_maps(replace(settings, maps_by="site"))
    found = _load(settings, f"space-{SPACE}_site-B_desc-brainzscore_stat-mean_trace.nii.gz")
    both = np.ma.masked_equal(np.stack([images["04"], images["05"]]).astype(float), 0)
    np.testing.assert_allclose(found, both.mean(axis=0).filled(0), rtol=1e-5)
    write_maps(replace(settings, maps_where=("lesion=0",)))
    found = _load(settings, f"space-{SPACE}_where-lesionIs0_desc-brainzscore_stat-mean_trace.nii.gz")
    assert [subject for subject, lesion in lesions.items() if not lesion.any()] == ["00"]
    np.testing.assert_allclose(found, images["00"], rtol=1e-5)
    assert participants(settings)["05"] == {"lesion": "n/a", "site": "B"}


def test_what_no_table_has_is_told(cohort: Any) -> None:
    settings, *_ = cohort
    for changes, reason in (
        ({"maps_by": "age"}, "no column age; it has lesion, site"),
        ({"maps_where": ("site",)}, "write COLUMN=VALUE"),
        ({"maps_where": ("site=C",)}, "no participant answers"),
    ):
        with pytest.raises(MapsError, match=reason):
            write_maps(replace(settings, **changes))
    assert write_maps(replace(settings, maps=False)) == []


def _people(settings: Settings, column: str, *cells: str) -> None:
    """Give the participants 00, 01, … these cells in the dataset's table."""
    rows = [f"sub-{number:02}\t{cell}" for number, cell in enumerate(cells)]
    (settings.bids_dir / "participants.tsv").write_text("\n".join([f"participant_id\t{column}", *rows]) + "\n")


def _sidecars(settings: Settings, stat: str = "mean") -> dict[str, dict[str, Any]]:
    """What is said of the maps of a kind, by their names."""
    found = sorted((settings.output_dir / "group_maps").glob(f"*_stat-{stat}_*.json"))
    return {path.name: json.loads(path.read_text()) for path in found}


@pytest.mark.parametrize("column", ["age", "Age"])
def test_high_ages_are_one_group(cohort: Any, column: str) -> None:
    settings, *_ = cohort
    _people(settings, column, "97", "91.5", "40", "40", "n/a", "old")
    (settings.output_dir / "participants.tsv").write_text("participant_id\tage\nsub-00\t89+\n")
    write_maps(replace(settings, maps_by=column))
    said = {one["Value"]: one["Participants"] for one in _sidecars(settings).values()}
    assert said == {"89+": 2, "40": 2, "n/a": 2}
    everything = " ".join((*_sidecars(settings), json.dumps(_sidecars(settings))))
    assert "97" not in everything
    assert "91" not in everything
    with pytest.raises(MapsError, match="no participant answers"):
        write_maps(replace(settings, maps_where=("age=41",)))


def test_cells_that_may_name_somebody_are_left_out_and_told(cohort: Any) -> None:
    settings, *_ = cohort
    _people(settings, "seen", "1987-06-05 Jane Doe", "early", "early", "late; 'Jane'", "", "n/a")
    told: list[str] = []
    write_maps(replace(settings, maps_by="seen"), told.append)
    assert {one["Value"] for one in _sidecars(settings).values()} == {"early", "n/a"}
    assert "Jane" not in " ".join((*_sidecars(settings), json.dumps(_sidecars(settings)), *told))
    assert told == [
        "2 participants are in no map by seen: what the column says of them is more than a word or a number"
    ]
    for condition in ("seen=1987-06-05 Jane Doe", "seen=early,1987-06-05"):
        with pytest.raises(MapsError, match="more than a word or a number"):
            write_maps(replace(settings, maps_where=(condition,)))


@pytest.mark.parametrize(
    "cells",
    [
        ("IDH+", "IDH-", "IDH+", "IDH-", "n/a", "n/a"),
        ("対照", "患者", "対照", "患者", "対照", "患者"),
        ("1.5", "15", "1.5", "15", "15value1", "15value1"),
        ("a", "A", "n/a", "NA", "none", "a"),
    ],
)
def test_each_value_has_its_own_maps(cohort: Any, cells: tuple[str, ...]) -> None:
    settings, images, _ = cohort
    settings = replace(settings, maps_by="Group")
    _people(settings, "Group", *cells)
    made = write_maps(settings)
    assert len({path.lower() for path in made}) == len(made)  # on file systems where a and A are one, too
    of_images = {name: said for name, said in _sidecars(settings).items() if "_desc-brainzscore_" in name}
    assert {said["Value"]: said["Participants"] for said in of_images.values()} == Counter(cells)
    for name, said in of_images.items():
        assert said["Column"] == "group"
        assert re.fullmatch(f"space-{SPACE}_group-[A-Za-z0-9]+_desc-brainzscore_stat-mean_trace.json", name)
        members = [image for image, cell in zip(images.values(), cells, strict=True) if cell == said["Value"]]
        mean = np.ma.masked_equal(np.stack(members).astype(float), 0).mean(axis=0).filled(0)
        np.testing.assert_allclose(_load(settings, name.replace(".json", ".nii.gz")), mean, rtol=1e-4, atol=1e-6)
    assert write_maps(settings) == made
    some = write_maps(replace(settings, maps_where=(f"group={cells[1]}",)))
    words = {said["Value"]: name.split("_")[2] for name, said in of_images.items()}
    assert {words[cells[1]]} == {part for path in some for part in path.split("_") if part.startswith("group-")}


def test_images_with_and_without_contrast_agent_are_apart(cohort: Any) -> None:
    settings, *_ = cohort
    output = settings.output_dir
    for subject, name, value in (("00", "T1w", 1), ("01", "T1w", 3), ("02", "T1w", 100), ("03", "ce-gd_T1w", 200)):
        array = np.full(SHAPE, value, np.float32)
        _put(output, subject, f"normalize/sub-{{subject}}_{name}/{SPACE}/zscore", f"desc-zscore_{name}", array)
    for subject, agent in (("00", 0), ("02", 1)):  # 02: the sidecar of the raw image says so, not its name
        table = output / f"sub-{subject}" / f"sub-{subject}_series.tsv"
        table.write_text(f"series\tcontrast_agent\nsub-{subject}_T1w\t{agent}\n")
    write_maps(settings)
    for agent, mean, contrast in (("", 2, "T1w"), ("_ce-agent", 150, "T1w with contrast agent")):
        name = f"space-{SPACE}{agent}_desc-zscore_stat-mean_T1w"
        assert np.all(_load(settings, f"{name}.nii.gz") == mean)
        assert _sidecars(settings)[f"{name}.json"]["Contrast"] == contrast


def test_each_condition_has_its_own_maps(cohort: Any) -> None:
    settings, *_ = cohort
    _people(settings, "Site", "A", "A+", "A", "B", "AOrB", "97-98")
    made = write_maps(settings)
    everybody = {path: (settings.output_dir / path).read_bytes() for path in made}
    conditions = (
        ("site=A",), ("site=A+",), ("site=B,A",), ("site=AOrB",), ("lesion=0,1",), ("site=A", "lesion=0"),
        ("site=A,B,AOrB,A+," + "B" * 40 + "," + "C" * 40,),
    )  # fmt: skip
    for condition in conditions:
        mine = write_maps(replace(settings, maps_where=condition))
        assert not set(mine) & set(made)
        made += mine
        for path in mine:
            name = path.removeprefix("group_maps/")
            assert re.match(rf"space-{SPACE}_where-[A-Za-z0-9]{{1,60}}_desc-", name)
    assert all((settings.output_dir / path).read_bytes() == data for path, data in everybody.items())
    told = [said.get("Where") for said in _sidecars(settings).values()]
    assert sorted(told, key=str) == sorted(
        [None, ["site=A"], ["site=A+"], ["site=A,B"], ["site=AOrB"], ["lesion=0,1"], ["lesion=0", "site=A"],
         ["site=A,A+,AOrB,B," + "B" * 40 + "," + "C" * 40]], key=str,
    )  # fmt: skip
    assert write_maps(replace(settings, maps_where=("lesion=0", "SITE=A"))) == write_maps(
        replace(settings, maps_where=("site=A", "site=A", "lesion=0"))
    )
    both = write_maps(replace(settings, maps_by="site", maps_where=("site=B",)))
    assert all("_where-siteIsB_site-B_" in path for path in both)


def test_an_image_that_cannot_be_read_is_left_out_and_told(cohort: Any) -> None:
    settings, images, _ = cohort
    of_images = sorted(settings.output_dir.glob("sub-*/dwi/*_desc-brainzscore_trace.nii.gz"))
    of_images[0].unlink()
    of_images[1].write_bytes(b"no image")
    of_images[5].write_bytes(of_images[5].read_bytes()[:400])  # its header can be read
    told: list[str] = []
    write_maps(settings, told.append)
    stack = np.ma.masked_equal(np.stack([images[f"{number:02}"] for number in (2, 3, 4)]).astype(float), 0)
    name = f"space-{SPACE}_desc-brainzscore_stat-mean_trace"
    np.testing.assert_allclose(_load(settings, f"{name}.nii.gz"), stack.mean(axis=0), rtol=1e-5, atol=1e-6)
    said = _sidecars(settings)[f"{name}.json"]
    assert (said["Images"], said["Participants"]) == (3, 3)
    left_out = [f"{path.relative_to(settings.output_dir)} is in no map" for path in (*of_images[:2], of_images[5])]
    assert [note.partition(",")[0] for note in told] == left_out
    assert str(settings.output_dir) not in " ".join(told)
    for path in settings.output_dir.glob("sub-*/dwi/*.nii.gz"):
        path.unlink()
    with pytest.raises(MapsError, match="that can be read") as raised:
        write_maps(settings)
    assert raised.value.code == 18


def test_maps_of_participants_that_are_gone_do_not_stay(cohort: Any) -> None:
    settings, *_ = cohort
    output = settings.output_dir
    by_site, of_b = replace(settings, maps_by="Site"), replace(settings, maps_where=("site=B",))
    of_all = write_maps(settings)
    others = [*of_all, *write_maps(of_b), *write_maps(replace(by_site, maps_where=("site=B",)))]
    made = write_maps(by_site)
    (output / "group_maps" / "notes.json").write_text('{"Column": "site"}')  # somebody's own
    (output / "group_maps" / "damaged.json").write_text("{")
    for subject in ("04", "05"):  # those of B are withdrawn
        shutil.rmtree(output / "logs" / f"sub-{subject}")
        shutil.rmtree(output / f"sub-{subject}")
    gone = set(made) - set(write_maps(by_site))
    assert len(gone) == 3
    assert all("_site-B_" in path for path in gone)

    def there() -> set[str]:
        return {f"group_maps/{path.name}" for path in (output / "group_maps").iterdir()}

    def with_json(paths: Collection[str]) -> set[str]:
        return {*paths, *(path.replace(".nii.gz", ".json") for path in paths)}

    strange = {"group_maps/notes.json", "group_maps/damaged.json"}
    assert there() == with_json([*others, *(set(made) - gone)]) | strange
    with pytest.raises(MapsError, match="no participant answers"):
        write_maps(of_b)
    assert not [path for path in there() if "_where-siteIsB_desc-" in path]
    with pytest.raises(MapsError, match="no participant answers"):
        write_maps(replace(by_site, maps_where=("site=B",)))
    assert there() == with_json([*of_all, *(set(made) - gone)]) | strange
