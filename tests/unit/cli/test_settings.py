"""From words to settings: spellings, precedence, and what is refused with which code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w

from bids_app.cli.parser import build_parser
from bids_app.cli.settings import Command, UsageError, command_from
from bids_app.settings import DEFAULT_STEPS, STEPS, Settings


def _command(*words: str, environment: dict[str, str] | None = None) -> Command:
    arguments = build_parser().parse_args(["in", "out", "participant", *words])
    return command_from(arguments, environment or {})


def _settings(*words: str, environment: dict[str, str] | None = None) -> Settings:
    return _command(*words, environment=environment).settings


def _file(tmp_path: Path, content: str) -> str:
    path = tmp_path / "config.toml"
    path.write_text(content)
    return str(path)


def test_defaults_are_those_of_the_settings() -> None:
    settings = _settings()
    assert settings.steps == DEFAULT_STEPS
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
        ("w = 'x'", "is no option"),
        ("acceptance = ['lenient']", "one value"),
        ("nprocs = 1.5", "whole number"),
        ("verbose = -1", "verbose must be"),
        ("verbose = 1.5", "verbose must be"),
        ("dry-run = 1", "true or false"),
        ("shard = [3, 2]", "I/N"),
        ("shard = [1, 2, 3]", "I/N"),
        ("shard = [1.0, 2]", "I/N"),
        ("shard = ['1', '2']", "I/N"),
        ("shard = 1", "I/N"),
        ("random-seed = 1\nrandom_seed = 2", "twice"),
        ("deface = true\nno-deface = true", "twice"),
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


def test_every_path_is_absolute_and_its_links_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    Path("plugin.yml").write_text("plugin: Linear\n")
    options = ("masks", "hd-bet-weights", "work-dir", "bids-filter-file", "bids-database-dir")
    words = [word for option in options for word in (f"--{option}", f"link/{option}")]
    settings = _settings(*words, "--nipype-plugin-file", "plugin.yml")
    assert settings.bids_dir == tmp_path / "in"
    assert settings.output_dir == tmp_path / "out"
    assert settings.nipype_plugin_file == tmp_path / "plugin.yml"
    for option in options:
        assert getattr(settings, option.replace("-", "_")) == tmp_path / "link" / option
    environment = {"BIDS_APP_HD_BET_WEIGHTS": "w", "BIDS_APP_HOME": "h", "TEMPLATEFLOW_HOME": "t"}
    settings = _settings(environment=environment)
    places = (settings.hd_bet_weights, settings.app_home, settings.templateflow_home)
    assert places == (tmp_path / "w", tmp_path / "h", tmp_path / "t")
    assert _settings("--config-file", _file(tmp_path, "masks = 'm'")).masks == tmp_path / "m"


def test_atlases_given_by_path_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spaces = ("MNI152NLin2009aSym:res-2", "a.nii.gz", "b.nii", "c/d.mgz", "/e/f.nii.gz", "./a.nii.gz")
    here = str(tmp_path)
    expected = (spaces[0], f"{here}/a.nii.gz", f"{here}/b.nii", f"{here}/c/d.mgz", "/e/f.nii.gz")
    assert _settings("--output-spaces", *spaces).output_spaces == expected


def test_a_file_steers_the_command_too(tmp_path: Path) -> None:
    command = _command("--config-file", _file(tmp_path, "dry-run = true\njson = true\nverbose = 2\n"))
    assert (command.dry_run, command.json, command.verbose) == (True, True, 2)
    command = _command("--config-file", _file(tmp_path, "dry_run = false\nverbose = true\n"))
    assert (command.dry_run, command.json, command.verbose) == (False, False, 1)
    command = _command("--config-file", _file(tmp_path, "verbose = 2\n"), "--dry-run", "-v")
    assert (command.dry_run, command.json, command.verbose) == (True, False, 1)
    assert _command() == Command(_settings())


@pytest.mark.parametrize(
    ("content", "deface"),
    [("no-deface = true", False), ("no_deface = false", True), ("deface = false", False), ("deface = true", True)],
)
def test_keys_are_the_long_names_of_options(tmp_path: Path, content: str, deface: bool) -> None:
    assert _settings("--config-file", _file(tmp_path, content)).deface is deface


def test_other_long_names_of_an_option(tmp_path: Path) -> None:
    assert _settings("--config-file", _file(tmp_path, "n-cpus = 3\nwork-dir = '/w'")).nprocs == 3


@pytest.mark.parametrize("shard", ["'2/3'", "[2, 3]"])
def test_a_shard_in_a_file(tmp_path: Path, shard: str) -> None:
    assert _settings("--config-file", _file(tmp_path, f"shard = {shard}")).shard == (2, 3)
    assert _settings("--config-file", _file(tmp_path, "shard = [1, 1]")).shard == (1, 1)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--preset", "mr-rate"),
        ("--preset", "mr-rate", "--normalize", "minmax"),
        ("--variants", "preproc", "brain", "whitestripe"),
        ("--no-deface", "--mirroring", "--shard", "3/7", "--participant-label", "01", "02", "--steps", "mask", "bias"),
        ("--normalize", "minmax", "zscore", "--output-spaces", "MNI152NLin2009aSym:res-2", "--device", "cuda:1"),
        ("--mem-gb", "2.5", "--nprocs", "3", "--random-seed", "7", "--fast", "--interpolation", "lanczos"),
    ],
)
def test_the_settings_that_a_run_writes_are_a_config_file(tmp_path: Path, words: tuple[str, ...]) -> None:
    settings = _settings(*words)
    written = _file(tmp_path, tomli_w.dumps(settings.public()))
    mine = {"participant_label": (), "session_label": (), "shard": (1, 1), "device": "auto"}  # of a job or a machine
    mine |= {name: getattr(_settings(), name) for name in ("nprocs", "mem_gb")}
    assert _settings("--config-file", written) == replace(settings, **mine)


@pytest.mark.parametrize("option", ["--masks", "--lesions", "--bids-filter-file", "--date-key", "--nyul-landmarks"])
def test_a_path_that_a_run_was_given_is_asked_for_and_never_dropped(tmp_path: Path, option: str) -> None:
    public = _settings(option, "/home/me/thing").public()
    assert "/home/me" not in str(public)
    words = ("--config-file", _file(tmp_path, tomli_w.dumps(public)))
    with pytest.raises(UsageError, match=f"give {option} too") as caught:
        _settings(*words)
    assert caught.value.code == 64
    name = option.removeprefix("--").replace("-", "_")
    assert getattr(_settings(*words, option, "/another"), name) == Path("/another")
    arguments = build_parser().parse_args(["in", "out", "group", *words])
    assert getattr(command_from(arguments, {}).settings, name) is None  # this level has no use for it
    arguments = build_parser().parse_args(["in", "out", "export", "--format", "slices", *words])
    if option == "--date-key":  # without it dates would be moved otherwise
        with pytest.raises(UsageError, match="give --date-key too"):
            command_from(arguments, {})
    else:
        assert command_from(arguments, {}).export


def test_variants_that_leave_a_normaliser_out(tmp_path: Path) -> None:
    for method in ("minmax", "zscore"):
        with pytest.raises(UsageError, match=f"--normalize {method}.*--variants.*brain{method}") as caught:
            _settings("--normalize", method, "--variants", "preproc", "brain")
        assert caught.value.code == 64
    with pytest.raises(UsageError, match="--normalize minmax"):
        _settings("--config-file", _file(tmp_path, "variants = ['preproc']\nnormalize = ['minmax']"))
    assert _settings("--normalize", "minmax", "--variants", "minmax").wanted_variants() == ("minmax",)
    assert _settings("--variants", "preproc").normalize == ()  # nothing is normalised, and the settings say so


def test_the_command_line_wins_over_the_opposite_in_a_file(tmp_path: Path) -> None:
    words = ("--config-file", _file(tmp_path, "variants = ['preproc', 'brainzscore']"))
    assert _settings(*words, "--normalize", "minmax").wanted_variants() == ("preproc", "brainminmax")
    words = ("--config-file", _file(tmp_path, tomli_w.dumps(_settings().public())))
    assert _settings(*words, "--variants", "brain").wanted_variants() == ("brain",)
    words = ("--config-file", _file(tmp_path, "fast = true"))
    assert (_settings(*words, "--mirroring").mirroring, _settings(*words, "--mirroring").fast) == (True, False)
    words = ("--config-file", _file(tmp_path, "mirroring = true"))
    assert (_settings(*words, "--fast").mirroring, _settings(*words, "--fast").fast) == (None, True)
    with pytest.raises(UsageError, match="--fast is without mirroring"):
        _settings("--config-file", _file(tmp_path, "fast = true\nmirroring = true"))


def test_normalisers_beside_a_preset() -> None:
    settings = _settings("--preset", "mr-rate", "--normalize", "minmax", "zscore")
    assert settings.wanted_variants() == ("preproc", "brainminmax", "brainzscore")
    assert _settings("--preset", "mr-rate").wanted_variants() == ("preproc",)
    assert _settings("--preset", "mr-rate", "--variants", "brain").wanted_variants() == ("brain",)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:12"])
def test_devices(device: str) -> None:
    assert _settings("--device", device).device == device


@pytest.mark.parametrize("device", ["foo", "cuda:", "cuda:x", "gpu", "cpu:0", "cuda:0\n", "CPU", ""])
def test_no_devices(tmp_path: Path, device: str) -> None:
    with pytest.raises(UsageError, match="--device") as caught:
        _settings("--device", device)
    assert caught.value.code == 64
    with pytest.raises(UsageError, match="--device"):
        _settings("--config-file", _file(tmp_path, tomli_w.dumps({"device": device})))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, 66),
        ("plugin: [", 64),
        ("", 64),
        ("- plugin", 64),
        ("plugin_args: {}", 64),
        ("plugin: 3", 64),
        ("plugin: SGE\nplugin_args: none", 64),
        ("plugin: SGE\nplugin_args:", 64),
        ("plugin: \x00", 64),
    ],
)
def test_a_bad_plugin_file(tmp_path: Path, content: str | None, code: int) -> None:
    path = tmp_path / "plugin.yml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=r"plugin\.yml") as caught:
        _settings("--nipype-plugin-file", str(path))
    assert caught.value.code == code


@pytest.mark.parametrize("content", ["plugin: SGE", "plugin: SGE\nplugin_args: {qsub_args: -q x}"])
def test_a_good_plugin_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "plugin.yml").write_text(content)
    assert _settings("--nipype-plugin-file", str(tmp_path / "plugin.yml")).nipype_plugin_file == tmp_path / "plugin.yml"


@pytest.mark.parametrize("number", ["nan", "0", "-1"])
def test_memory_is_a_positive_number(number: str) -> None:
    with pytest.raises(UsageError, match="--mem-gb"):
        _settings("--mem-gb", number)


def test_default_stands_for_the_default_steps() -> None:
    more = ("vbm", "regions", "thickness")
    words = ("--steps", "default", "segment", "--denoise", "--reference", "subject")
    assert _settings(*words).steps == tuple(one for one in STEPS if one not in more)
    assert _settings("--steps", "segment").steps == ("segment",)


def test_cubic_voxels_have_a_sensible_edge() -> None:
    assert _settings("--isotropic", "anisotropic", "--isotropic-mm", "0.8").isotropic_mm == 0.8
    with pytest.raises(UsageError, match="between"):
        _settings("--isotropic-mm", "0")


def test_denoising_is_a_choice_of_its_own_and_adds_its_step() -> None:
    assert "denoise" not in _settings().steps
    settings = _settings("--denoise")
    assert settings.denoise
    assert settings.steps.index("denoise") == settings.steps.index("bias") - 1
    assert _settings("--denoise", "--steps", "coregister").steps == ("coregister",)
    with pytest.raises(UsageError, match="goes with --denoise"):
        _settings("--steps", "mask", "denoise")


def test_a_within_subject_template_adds_its_step_and_wants_all_sessions() -> None:
    assert "template" not in _settings().steps
    steps = _settings("--reference", "subject").steps
    assert steps.index("coregister") < steps.index("template") < steps.index("atlas")
    with pytest.raises(UsageError, match="leave out --session-label"):
        _settings("--reference", "subject", "--session-label", "1")
    with pytest.raises(UsageError, match="goes with --reference subject"):
        _settings("--steps", "template")


def test_a_folder_of_also_may_have_an_equals_sign_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "x=1"
    folder.mkdir()
    words = ["in", "out", "group", "--also", str(folder), f"A={folder}", "B=there"]
    settings = command_from(build_parser().parse_args(words), {}).settings
    assert settings.also == (str(folder), f"A={folder}", f"B={Path('there').absolute()}")
