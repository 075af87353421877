"""Landmarks of a group: learnt, kept as a file, applied to others, and part of what a result depends on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from finished_output import Finished
from simulated_collection import add_participant, brain_of

from bids_app.group import landmarks as learning
from bids_app.group.datasets import Source
from bids_app.outputs.landmarks import LandmarksError, Standard, contrast_label, landmarks_bytes, read_landmarks
from bids_app.steps.images import new_image
from bids_app.steps.intensity import NYUL_PERCENTS, fit


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Finished(tmp_path_factory.mktemp("out"))
    for number in range(4):
        add_participant(made, f"{number:02d}", number, gain=1 + number, offset=30 * number)
    add_participant(made, "04", 4, suffix="FLAIR")
    return made.root


def test_the_standard_is_the_mean_of_the_groups_scaled_landmarks(output: Path, tmp_path: Path) -> None:
    learnt = learning.learn([Source("one", None, output)], tmp_path)
    assert {name: one.series for name, one in learnt.standards.items()} == {"FLAIR": 1, "T1w": 4}
    scaled = []
    for number in range(4):
        array, inside = brain_of(number, 1 + number, 30 * number)
        percentiles = np.percentile(array[inside].astype(np.float64), NYUL_PERCENTS)
        scaled.append(100 * (percentiles - percentiles[0]) / (percentiles[-1] - percentiles[0]))
    assert learnt.standards["T1w"].landmarks == pytest.approx(np.mean(scaled, axis=0), rel=1e-5)
    assert not learnt.failures


def test_what_is_known_is_not_read_again(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = learning.learn([Source("one", None, output)], tmp_path)
    monkeypatch.setattr(learning, "nyul_landmarks", lambda *_: pytest.fail("it was known"))
    assert learning.learn([Source("one", None, output)], tmp_path) == first


def test_applied_to_others_their_landmarks_are_the_standard(output: Path, tmp_path: Path) -> None:
    learnt = learning.learn([Source("one", None, output)], tmp_path)
    (tmp_path / "file.json").write_bytes(landmarks_bytes(learnt.standards))
    standards = read_landmarks(tmp_path / "file.json")
    assert standards == {name: one.landmarks for name, one in learnt.standards.items()}
    array, inside = brain_of(17, gain=7.0, offset=-300.0)  # another scanner's
    image, brain = new_image(array, np.eye(4)), new_image(inside.astype(np.uint8), np.eye(4))
    mapped = fit("nyul", image, brain, standard=standards["T1w"]).apply(array)
    assert np.percentile(mapped[inside], NYUL_PERCENTS) == pytest.approx(standards["T1w"], abs=0.05)


def test_a_contrast_agent_makes_another_contrast() -> None:
    assert contrast_label("T1w", True) != contrast_label("T1w", False) == "T1w"


@pytest.mark.parametrize(
    ("content", "message", "code"),
    [
        (None, "No such file", 66),
        ("no JSON", "is no JSON", 64),
        ("[]", "holds no landmarks", 64),
        ('{"format": 1, "percents": [1, 99], "standards": {}}', "other percents", 64),
        (json.dumps({"format": 1, "percents": NYUL_PERCENTS, "standards": {"T1w": {"landmarks": [5] * 11}}}),
         "not 11 numbers that rise", 64),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, content: str | None, message: str, code: int) -> None:
    path = tmp_path / "landmarks.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(LandmarksError, match=message) as raised:
        read_landmarks(path)
    assert raised.value.code == code


def test_the_file_tells_nothing_of_a_participant() -> None:
    text = landmarks_bytes({"T1w": Standard(tuple(map(float, range(11))), 4)}).decode()
    assert set(json.loads(text)) == {"format", "method", "percents", "standards"}
    assert "sub-" not in text
