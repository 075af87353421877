"""The words of the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from bids_app import __version__
from bids_app.cli.export import add_export_options
from bids_app.cli.group import add_group_options
from bids_app.settings import (
    BRAIN_EXTRACTIONS,
    DEFAULT_OMP_NTHREADS,
    DEFAULT_STEPS,
    HD_BET_ENGINES,
    NORMALIZERS,
    STEPS,
    known_variants,
)

LEVELS = ("participant", "group", "export")
_EPILOG = """examples:
  bids_app /data /out participant                          everything, with the defaults
  bids_app /data /out participant --dry-run                what would be done, on what, and what is rejected
  bids_app /data /out participant --participant-label 01 02
  bids_app /data /out participant --shard 3/100            the third of a hundred jobs
  bids_app /data /out group                                the tables of all participants as one
  bids_app /data /out group --profile-only                 what a dataset looks like, unprocessed
  bids_app /data /out export --format webdataset           files that training codes read

helpers:
  bids_app demo DIR                 write a small dataset of artificial heads to try it on
  bids_app fetch hd-bet             fetch HD-BET's weights (shows their licence)
  bids_app fetch densenet121        fetch DenseNet121's weights, for group --compare
  bids_app fetch MNI152NLin2009cAsym    fetch a template of TemplateFlow
  bids_app verify OUTPUT            compare an output with its manifests
  bids_app calibrate                measure what the steps cost on this machine, for dry runs

exit codes: 0 all well, 1 some session failed, 2 or 64 wrong usage, 16 no BIDS dataset, 18 nothing matches,
66 an input is missing, 73 the output cannot be made, 74 input or output error, 75 try again, 130 Ctrl-C
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the main command; options that were not given are `None`."""
    parser = argparse.ArgumentParser(
        prog="bids_app",
        usage=f"bids_app BIDS_DIR OUTPUT_DIR {{{','.join(LEVELS)}}} [options]",  # all options would fill a page
        description="From any BIDS dataset of brain MRI to anonymised, standardised derivatives.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("bids_dir", type=Path, metavar="BIDS_DIR", help="the dataset; never written to")
    parser.add_argument("output_dir", type=Path, metavar="OUTPUT_DIR", help="where the derivatives go")
    parser.add_argument(
        "level",
        choices=LEVELS,
        help="participant: process; group: gather what was processed; export: write it for training",
    )
    _which(parser.add_argument_group("which"))
    _what(parser.add_argument_group("what"))
    _masks(parser.add_argument_group("brain masks, faces and lesions"))
    _spaces(parser.add_argument_group("intensities and spaces"))
    _tissue(parser.add_argument_group("tissue, volumes and regions"))
    _how(parser.add_argument_group("how"))
    add_group_options(parser.add_argument_group("the group level"))
    add_export_options(parser.add_argument_group("export"))
    _about(parser.add_argument_group("about"))
    return parser


def _which(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--participant-label",
        "--participant_label",
        nargs="+",
        metavar="LABEL",
        help="participants to process, with or without sub-",
    )
    group.add_argument(
        "--session-label",
        "--session_label",
        nargs="+",
        metavar="LABEL",
        help="sessions to process, with or without ses-",
    )
    group.add_argument(
        "--bids-filter-file",
        "--bids_filter_file",
        type=Path,
        metavar="FILE",
        help="JSON of queries that select series, as fMRIPrep has it",
    )
    group.add_argument(
        "--bids-database-dir",
        "--bids_database_dir",
        type=Path,
        metavar="DIR",
        help="a pybids database of the dataset, to be reused",
    )
    group.add_argument(
        "--date-key",
        "--date_key",
        type=Path,
        metavar="FILE",
        help="secret, outside the output, by which dates are shifted; without it no date is written",
    )
    group.add_argument("--shard", metavar="I/N", help="the I-th of N parts of the participants, I from 1")
    group.add_argument(
        "--acceptance",
        choices=("lenient", "mr-rate"),
        help="which series are accepted: whatever can be processed (lenient), or MR-RATE's rules",
    )
    group.add_argument(
        "--preset",
        choices=("mr-rate",),
        help="what MR-RATE does: its acceptance and reference, rigid to MNI152NLin2009cSym",
    )


def _what(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--steps",
        nargs="+",
        choices=("default", *STEPS),
        metavar="STEP",
        help=f"only these steps, starting from what is finished: {' '.join(STEPS)}; default stands for "
        f"{' '.join(DEFAULT_STEPS)}",
    )
    group.add_argument(
        "--reference",
        metavar="RULE",
        help="the session's reference: auto, mr-rate (the T1w with the lowest SeriesNumber), a filter such as "
        "acq=mprage,suffix=T1w, or subject: auto, and all sessions of a participant meet in their unbiased average",
    )
    group.add_argument("--random-seed", "--random_seed", type=int, metavar="N", help="seed of every random choice")


def _masks(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--brain-extraction",
        "--brain_extraction",
        choices=BRAIN_EXTRACTIONS,
        help="brain masks: hd-bet (needs weights), synth (the network that ships), template (registration), "
        "auto (hd-bet where its weights are at hand, for the contrasts that it was trained on; else synth)",
    )
    group.add_argument(
        "--hd-bet-weights",
        "--hd_bet_weights",
        type=Path,
        metavar="DIR",
        help="folder of HD-BET 2's weights (dataset.json, plans.json, fold_all)",
    )
    group.add_argument("--fast", action="store_true", help="HD-BET without mirroring; the default on a CPU")
    group.add_argument(
        "--mirroring", action="store_true", help="HD-BET with mirroring on a CPU too: eight times slower"
    )
    group.add_argument(
        "--hd-bet-engine",
        "--hd_bet_engine",
        choices=HD_BET_ENGINES,
        help="what computes HD-BET on a CPU; the masks' last bits depend on it, so name one where the machines that "
        "do a dataset are not alike",
    )
    group.add_argument(
        "--masks",
        type=Path,
        metavar="DIR",
        help="brain masks to be used, named like the series (…_desc-brain_mask.nii.gz for a T1w, "
        "…_label-brain_desc-FLAIR_mask.nii.gz)",
    )
    group.add_argument(
        "--no-deface",
        "--no_deface",
        dest="deface",
        action="store_false",
        help="keep the face: for data that are defaced already",
    )
    group.add_argument(
        "--allow-face",
        "--allow_face",
        action="store_true",
        help="write a series although the face check finds a face left in it; its sidecar and the series table say so",
    )
    group.add_argument(
        "--lesions",
        type=Path,
        metavar="DIR",
        help="lesion masks, named like the series they were drawn on (…_label-lesion_desc-trace_mask.nii.gz); those "
        "beside the images (label-lesion_mask, _roi) are found without it",
    )
    group.add_argument(
        "--b-value",
        "--b_value",
        type=float,
        metavar="B",
        help="b-value (s/mm^2) of diffusion-weighted images where neither a .bval file nor a sidecar has it",
    )


def _spaces(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--denoise",
        action="store_true",
        help="take noise out of each structural series (adaptive non-local means) after defacing, before everything "
        "that reads its intensities",
    )
    group.add_argument(
        "--output-spaces",
        "--output_spaces",
        nargs="+",
        metavar="SPACE",
        help="atlases: MNI152NLin2009aSym (always there), names of TemplateFlow (fetched before), each "
        "with :res-2 if wished, or paths of brain images",
    )
    group.add_argument(
        "--atlas-registration",
        "--atlas_registration",
        choices=("rigid", "affine", "syn"),
        help="how the reference is brought to the atlas",
    )
    group.add_argument("--interpolation", choices=("linear", "bspline", "lanczos"), help="of images; masks: nearest")
    group.add_argument(
        "--isotropic",
        choices=("never", "anisotropic", "always"),
        help="also write each series in its own space with cubic voxels: those whose voxels are at least twice as long "
        "as wide (anisotropic), or all",
    )
    group.add_argument(
        "--isotropic-mm", "--isotropic_mm", type=float, metavar="MM", help="edge of the cubic voxels; 1 by default"
    )
    group.add_argument(
        "--normalize",
        nargs="+",
        choices=NORMALIZERS,
        metavar="METHOD",
        help=f"intensity normalisation: {' '.join(NORMALIZERS)}",
    )
    group.add_argument(
        "--nyul-landmarks",
        "--nyul_landmarks",
        type=Path,
        metavar="FILE",
        help="for --normalize nyul: the group's landmarks, as the group level writes them (group_nyul.json)",
    )
    group.add_argument(
        "--variants",
        nargs="+",
        choices=known_variants(),
        metavar="VARIANT",
        help="images to write in each space: preproc, brain, a normaliser's name or brain<normaliser>; by "
        "default preproc and brain<normaliser>",
    )


def _tissue(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--vbm",
        action="store_true",
        help="modulated, smoothed grey matter of the reference in each atlas; best with syn",
    )
    group.add_argument(
        "--modulation",
        choices=("full", "nonlinear"),
        help="for --vbm: by the determinant of the whole map to the atlas, or of its non-linear part alone",
    )
    group.add_argument(
        "--smoothing-fwhm",
        "--smoothing_fwhm",
        type=float,
        metavar="MM",
        help="for --vbm: width of the Gaussian at half its maximum; 8 by default, 0 for none",
    )
    group.add_argument(
        "--parcellation",
        metavar="PATH",
        help="volumes of the regions of a label image in the atlas' space, its table (.tsv: index, name) beside it, or "
        "ATLAS[:desc-X] of a TemplateFlow home",
    )
    group.add_argument(
        "--thickness",
        action="store_true",
        help="cortical thickness of the reference, for voxels up to 1.2 mm",
    )


def _how(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--nprocs", "--n-cpus", "--n_cpus", type=int, metavar="N", help="processors to use")
    group.add_argument(
        "--omp-nthreads",
        "--omp_nthreads",
        type=int,
        metavar="N",
        help=f"threads of one step (default {DEFAULT_OMP_NTHREADS}: most sessions an hour; changes the last bits)",
    )
    group.add_argument("--mem-gb", "--mem_gb", type=float, metavar="GB", help="memory to use")
    group.add_argument("--device", metavar="{auto,cpu,cuda,cuda:N}", help="where HD-BET runs")
    group.add_argument(
        "-w",
        "--work-dir",
        "--work_dir",
        type=Path,
        metavar="DIR",
        help="place for a private work folder, removed at the end",
    )
    group.add_argument(
        "--nipype-plugin-file",
        "--nipype_plugin_file",
        type=Path,
        metavar="FILE",
        help="YAML with Nipype's plugin and plugin_args for the nodes of a session",
    )
    group.add_argument("--profile", action="store_true", help="write where every second went to logs/profile.tsv")
    group.add_argument(
        "--stop-on-first-crash", "--stop_on_first_crash", action="store_true", help="do not go on after a failure"
    )
    group.add_argument(
        "--config-file",
        "--config_file",
        type=Path,
        metavar="FILE",
        help="TOML with any of these options, by their long names; logs/settings.toml of an output is one "
        "(paths, and what is of one machine or job, are not in it)",
    )


def _about(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--qc-ratings",
        "--qc_ratings",
        type=Path,
        metavar="FILE",
        help="a reviewer's ratings, as group.html downloads them: shown in the pages and kept in the output",
    )
    group.add_argument(
        "--dry-run",
        "--dry_run",
        action="store_true",
        help="list what would be done, on what, and what is rejected and why",
    )
    group.add_argument("--json", action="store_true", help="with --dry-run: as JSON")
    group.add_argument(
        "--nodes", metavar="N[,N]", help="with --dry-run: how long it takes on so many machines with --nprocs each"
    )
    group.add_argument(
        "--plan-sessions",
        "--plan_sessions",
        type=int,
        metavar="N",
        help="with --dry-run: the plan as if there were so many sessions like those that are found",
    )
    group.add_argument(
        "--cost-model",
        "--cost_model",
        type=Path,
        metavar="FILE",
        help="with --dry-run: what steps cost, as bids_app calibrate wrote it; by default BIDS_APP_HOME/costs.json, "
        "else what ships",
    )
    group.add_argument(
        "--skip-bids-validation",
        "--skip_bids_validation",
        action="store_true",
        help="accepted for other BIDS Apps' sake: the walk judges every file by itself",
    )
    group.add_argument("-v", "--verbose", action="count", help="say more")
    group.add_argument("--version", action="version", version=f"bids_app {__version__}")
