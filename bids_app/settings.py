"""What a run does: one frozen, typed object, passed explicitly and written beside the output as TOML."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

AcceptanceRule = Literal["lenient", "mr-rate"]
BrainExtraction = Literal["auto", "hd-bet", "synth", "template"]
AtlasRegistration = Literal["rigid", "affine", "syn"]
HdBetEngine = Literal["auto", "torch-float32", "torch-bfloat16", "openvino-float32", "openvino-bfloat16"]
Interpolation = Literal["linear", "bspline", "lanczos"]
Modulation = Literal["full", "nonlinear"]
Isotropic = Literal["never", "anisotropic", "always"]

#: The steps of a session, in their order (the walk and the conforming are always done).
STEPS: tuple[str, ...] = (
    "mask", "deface", "lesion", "denoise", "bias", "coregister", "template", "atlas", "resample", "normalize",
    "segment", "vbm", "regions", "thickness", "measure", "report",
)  # fmt: skip
#: Steps that are done when they, or an option that needs them, are asked for.
EXTRA_STEPS: tuple[str, ...] = ("denoise", "template", "segment", "vbm", "regions", "thickness")
#: What is done when nothing else is said.
DEFAULT_STEPS: tuple[str, ...] = tuple(step for step in STEPS if step not in EXTRA_STEPS)
BRAIN_EXTRACTIONS: tuple[str, ...] = ("auto", "hd-bet", "synth", "template")
HD_BET_ENGINES: tuple[str, ...] = get_args(HdBetEngine)
NORMALIZERS: tuple[str, ...] = (
    "zscore", "minmax", "percentile", "whitestripe", "gaussianmixture", "nyul",
)  # fmt: skip
#: Threads of one registration or bias-field correction. A constant, because ITK's rounding depends on it: with it
#: the same input gives the same bytes on every machine, however many sessions run side by side.
DEFAULT_OMP_NTHREADS = 1

#: Settings of the group level, which have no part in what a participant's outputs are.
GROUP_ONLY: tuple[str, ...] = (
    "profile_only", "also", "dataset_name", "participant_columns", "compare", "densenet_weights", "learn_nyul",
    "read_voxels", "balance", "maps", "maps_by", "maps_where",
)  # fmt: skip

#: Paths that shape the result. A path of this machine is not written, but that there was one is (`GIVEN` in its place),
#: so that who reads the settings back is asked for it.
GIVEN_PATHS: tuple[str, ...] = ("bids_filter_file", "masks", "lesions", "date_key", "nyul_landmarks")
GIVEN = "<given>"


@dataclass(frozen=True)
class Settings:
    """All choices of a run; see the command line's help for what each means."""

    bids_dir: Path
    output_dir: Path
    # which
    participant_label: tuple[str, ...] = ()
    session_label: tuple[str, ...] = ()
    bids_filter_file: Path | None = None
    bids_database_dir: Path | None = None
    shard: tuple[int, int] = (1, 1)
    acceptance: AcceptanceRule = "lenient"
    skip_bids_validation: bool = False
    date_key: Path | None = None
    # what
    steps: tuple[str, ...] = DEFAULT_STEPS
    reference: str = "auto"
    brain_extraction: BrainExtraction = "auto"
    hd_bet_weights: Path | None = None
    fast: bool = False
    mirroring: bool | None = None
    hd_bet_engine: HdBetEngine = "auto"
    masks: Path | None = None
    lesions: Path | None = None
    b_value: float | None = None
    deface: bool = True
    allow_face: bool = False
    denoise: bool = False
    output_spaces: tuple[str, ...] = ("MNI152NLin2009aSym",)
    atlas_registration: AtlasRegistration = "rigid"
    normalize: tuple[str, ...] = ("zscore",)
    nyul_landmarks: Path | None = None
    variants: tuple[str, ...] = ()
    interpolation: Interpolation = "linear"
    isotropic: Isotropic = "never"
    isotropic_mm: float = 1.0
    modulation: Modulation = "full"
    smoothing_fwhm: float = 8.0
    parcellation: str | None = None
    random_seed: int = 0
    # of the group
    maps: bool = False
    maps_by: str | None = None
    maps_where: tuple[str, ...] = ()
    # how
    nprocs: int = 1
    omp_nthreads: int = DEFAULT_OMP_NTHREADS
    mem_gb: float | None = None
    device: str = "auto"
    work_dir: Path | None = None
    app_home: Path | None = None
    templateflow_home: Path | None = None
    nipype_plugin_file: Path | None = None
    qc_ratings: Path | None = None
    stop_on_first_crash: bool = False
    profile: bool = False
    # the group level
    profile_only: bool = False
    also: tuple[str, ...] = ()
    dataset_name: str | None = None
    participant_columns: tuple[str, ...] = ()
    compare: str | None = None
    densenet_weights: Path | None = None
    learn_nyul: bool = False
    read_voxels: bool = False
    balance: tuple[str, ...] = ()

    def wanted_variants(self) -> tuple[str, ...]:
        """The image variants to write in each space; by default `preproc` and `brain<normaliser>` for each one."""
        if self.variants:
            return self.variants
        return ("preproc", *(f"brain{method}" for method in self.normalize))

    def wanted_normalizers(self) -> tuple[str, ...]:
        """The normalisers that the wanted variants name, in the order of `NORMALIZERS`."""
        named = {variant.removeprefix("brain") for variant in self.wanted_variants()}
        return tuple(method for method in NORMALIZERS if method in named)

    def public(self) -> dict[str, Any]:
        """The choices that shape the result, as TOML and JSON can hold them.

        What is of one machine or job is left out, and so are paths; of those that shape the result there is `GIVEN`.
        """
        hidden = {
            "bids_dir", "output_dir", "bids_database_dir", "hd_bet_weights", "work_dir", "qc_ratings", "app_home",
            "templateflow_home", "nipype_plugin_file", "participant_label", "session_label", "shard", "nprocs",
            "mem_gb", "device", *GROUP_ONLY,
        }  # fmt: skip
        result: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if name in hidden or value is None:
                continue
            result[name] = GIVEN if name in GIVEN_PATHS else list(value) if isinstance(value, tuple) else value
        if self.parcellation is not None:
            result["parcellation"] = Path(self.parcellation).name
        result["output_spaces"] = [Path(space).name for space in self.output_spaces]
        return result


def known_variants() -> tuple[str, ...]:
    """Every variant that `--variants` understands."""
    return ("preproc", "brain", *NORMALIZERS, *(f"brain{method}" for method in NORMALIZERS))
