"""From words to settings: spellings, precedence, and what is refused with which code."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_app.cli.parser import build_parser
from bids_app.cli.settings import UsageError, settings_from
from bids_app.settings import STEPS, Settings


def _settings(*words: str, environment: dict[str, str] | None = None) -> Settings:
    arguments = build_parser().parse_args(["in", "out", "participant", *words])
    return settings_from(arguments, environment or {})


def test_defaults_are_those_of_the_settings() -> None:
    settings = _settings()
    assert settings.steps == STEPS
    assert settings.wanted_variants() == ("preproc", "brainzscore")
    assert settings.output_spaces == ("MNI152NLin2009aSym",)
    assert settings.deface


@pytest.mark.parametrize("option", ["--participant-label", "--participant_label"])
def test_both_spellings(option: str) -> None:
    assert _settings(option, "01", "sub-02").participant_label == ("01", "sub-02")


def test_another_normaliser_is_another_variant() -> None:
    settings = _settings("--normalize", "minmax", "zscore")
    assert settings.wanted_variants() == ("preproc", "brainminmax", "brainzscore")
    assert _settings("--variants", "brain", "whitestripe").wanted_normalizers() == ("whitestripe",)


def test_steps_are_put_in_their_order() -> None:
    assert _settings("--steps", "bias", "mask").steps == ("mask", "bias")


def test_command_line_wins_over_file_over_preset(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('preset = "mr-rate"\nacceptance = "lenient"\nnormalize = ["minmax"]\nrandom-seed = 3\n')
    settings = _settings("--config-file", str(config), "--random-seed", "5")
    assert settings.reference == "mr-rate"  # preset
    assert settings.acceptance == "lenient"  # file over preset
    assert settings.random_seed == 5  # command line over file
    assert settings.normalize == ("minmax",)


def test_environment_names_weights_and_home(tmp_path: Path) -> None:
    environment = {"BIDS_APP_HD_BET_WEIGHTS": "/w", "BIDS_APP_HOME": str(tmp_path), "TEMPLATEFLOW_HOME": "/t"}
    settings = _settings(environment=environment)
    assert settings.hd_bet_weights == Path("/w")
    assert settings.app_home == tmp_path
    assert settings.templateflow_home == Path("/t")
    assert _settings("--hd-bet-weights", "/x", environment=environment).hd_bet_weights == Path("/x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense = 1", "nonsense is no option"),
        ("acceptance = 'strict'", "choose from lenient, mr-rate"),
        ("nprocs = 'many'", "must be a number"),
        ("deface = 3", "must be true or false"),
        ("nprocs = [", "no TOML"),
        ("bids_dir = 'x'", "is no option"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    config = tmp_path / "c.toml"
    config.write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        _settings("--config-file", str(config))
    assert caught.value.code == 64


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "1/0"])
def test_impossible_shards(shard: str) -> None:
    with pytest.raises(UsageError, match="I/N"):
        _settings("--shard", shard)


@pytest.mark.parametrize("words", [("--nprocs", "0"), ("--mem-gb", "-1"), ("--fast", "--mirroring")])
def test_contradictions(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        _settings(*words)


def test_public_settings_hold_no_path() -> None:
    text = str(_settings("--output-spaces", "/home/me/atlas.nii.gz", "-w", "/scratch/me").public())
    assert "/home" not in text
    assert "/scratch" not in text
