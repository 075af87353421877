"""The methods text tells all that was done in an output, by however many runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bids_app.outputs.dataset import write_root_files
from bids_app.outputs.methods import DONE, methods_text, steps_done
from bids_app.outputs.verify import verify_output
from bids_app.settings import DEFAULT_STEPS, Settings

FIRST, SECOND = ("mask", "deface"), ("lesion", "bias", "coregister", "atlas", "resample", "normalize")


def _text_of_run(settings: Settings, extraction: str = "synth") -> str:
    done = steps_done(settings.output_dir, settings, extraction=extraction, mirroring=False)
    text = methods_text(done)
    write_root_files(
        settings.output_dir, description={}, source_root=settings.bids_dir, settings={}, methods=text, steps=done
    )
    assert verify_output(settings.output_dir)[1] == []
    return text


def test_two_runs_with_half_of_the_steps_are_told_as_one_with_all(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "in", tmp_path / "out", steps=(*FIRST, *SECOND), atlas_registration="syn")
    whole = _text_of_run(replace(settings, output_dir=tmp_path / "whole"))
    first = _text_of_run(replace(settings, steps=FIRST))
    assert "Quickshear" in first
    assert "N4" not in first
    # what a run says of steps that it does not do is no matter: there are no masks of the second one
    assert _text_of_run(replace(settings, steps=SECOND, deface=False), "template") == whole
    assert (tmp_path / "out" / DONE).read_bytes() == (tmp_path / "whole" / DONE).read_bytes()


def test_a_step_is_told_as_it_was_done_last(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "in", tmp_path / "out", steps=DEFAULT_STEPS)
    assert "trained on images synthesised" in _text_of_run(settings)
    text = _text_of_run(replace(settings, steps=("mask",)), "template")
    assert "Brain masks were made by registration of an average head template" in text
    assert "Quickshear" in text


def test_what_an_output_says_of_its_steps_may_be_damaged(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "in", tmp_path / "out", steps=FIRST)
    whole = _text_of_run(settings)
    for content in ("{", "[]", '{"mask": 3}', '{"unknown": {}, "atlas": {}}'):
        (tmp_path / "out" / DONE).write_text(content)
        assert _text_of_run(settings) == whole
