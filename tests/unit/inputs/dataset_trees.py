# ruff: noqa: E501
"""File trees of datasets, and what the walk has to find in each.

The first part has the structures of the examples that the BIDS community keeps (their names, a subject or two of each);
the second what these examples lack and the wild has. Rows are `Tree(name, files, expected)`. A file is a path in which
`%` stands for the prefix of its folder (`sub-01/anat/%T1w.nii.gz`, `sub-01/ses-1/anat/%T1w.nii.gz`); images are good
ones unless the mapping `given` says otherwise. What is expected is, by session, the accepted names without prefix, the
reference, and for each rejected file a word of the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trees import Link, Nifti

Found = tuple[str, str | None, Mapping[str, str]]


@dataclass(frozen=True)
class Tree:
    """A dataset; `given` has the contents of files that are no good images, by the paths in `files` or others."""

    name: str
    files: Sequence[str]
    expected: Mapping[str, Found]
    given: Mapping[str, Any] = field(default_factory=dict)


def anat(subject: str, *names: str, session: str = "", datatype: str = "anat") -> list[str]:
    """Images of a folder by their names without prefix and extension."""
    folder = f"sub-{subject}/" + (f"ses-{session}/" if session else "") + datatype
    return [f"{folder}/%{name}" + ("" if "." in name else ".nii.gz") for name in names]


def only(
    subject: str, accepted: str, reference: str | None = None, session: str = "", **rejected: str
) -> dict[str, Found]:
    """The expectation of one session; the reference is the first accepted series where nothing else is said."""
    label = f"sub-{subject}" + (f"_ses-{session}" if session else "")
    return {label: (accepted, reference or (accepted.split()[0] if accepted else None), rejected)}


def same(
    subjects: str,
    *names: str,
    accepted: str,
    reference: str | None = None,
    sessions: str = "",
    also: Sequence[str] = (),
    **rejected: str,
) -> dict[str, Any]:
    """Files and expectation of several subjects (and sessions) that are alike."""
    labels = [(subject, session) for subject in subjects.split() for session in (sessions.split() or [""])]
    files = [path for subject, session in labels for path in anat(subject, *names, session=session)]
    expected: dict[str, Found] = {}
    for subject, session in labels:
        expected |= only(subject, accepted, reference, session, **rejected)
    return {"files": [*files, *also], "expected": expected}


SET, MAP, DEFACE, INPLANE = "one of a set", "quantitative map", "made by defacing", "in-plane localizer"
BOLD = "sub-01/func/%task-rest_bold.nii.gz"

EXAMPLES = [
    Tree(
        "ds001",
        **same(
            "01 02 16",
            "T1w",
            "inplaneT2",
            accepted="T1w",
            inplaneT2=INPLANE,
            also=["sub-01/func/%task-balloonanalogrisktask_run-01_bold.nii.gz"],
        ),
    ),
    Tree("ds002", **same("01 17", "T1w", "inplaneT2", accepted="T1w", inplaneT2=INPLANE)),
    Tree(
        "ds003",
        **same(
            "01 13",
            "T1w",
            "inplaneT2",
            accepted="T1w",
            inplaneT2=INPLANE,
            also=["sub-01/func/%task-rhymejudgment_bold.nii.gz"],
        ),
    ),
    Tree("ds005", **same("01 16", "T1w", "inplaneT2", accepted="T1w", inplaneT2=INPLANE)),
    Tree("ds006", **same("01 14", "T1w", "inplaneT2", sessions="post pre", accepted="T1w", inplaneT2=INPLANE)),
    Tree("ds007", **same("01 20", "inplaneT2", "T1w", accepted="T1w", inplaneT2=INPLANE)),
    Tree("ds008", **same("01 15", "inplaneT2", "T1w", accepted="T1w", inplaneT2=INPLANE)),
    Tree("ds009", **same("01 24", "inplaneT2", "T1w", accepted="T1w", inplaneT2=INPLANE)),
    Tree("ds011", **same("01 14", "T1w", "inplaneT2", accepted="T1w", inplaneT2=INPLANE)),
    Tree(
        "ds051",
        **same("01 13", "inplaneT2", "run-01_T1w", "run-02_T1w", accepted="run-01_T1w run-02_T1w", inplaneT2=INPLANE),
    ),
    Tree(
        "ds052",
        **same("01 14", "inplaneT2", "run-01_T1w", "run-02_T1w", accepted="run-01_T1w run-02_T1w", inplaneT2=INPLANE),
    ),
    Tree("ds101", **same("01 21", "T1w", accepted="T1w")),
    Tree("ds102", **same("01 26", "T1w", accepted="T1w")),
    Tree("ds105", **same("1 6", "T1w", accepted="T1w", also=["sub-1/func/%task-objectviewing_run-01_bold.nii.gz"])),
    Tree("ds107", **same("01 49", "T1w", accepted="T1w")),
    Tree("ds108", **same("01 34", "T1w", accepted="T1w")),
    Tree("ds109", **same("01 48", "T1w", accepted="T1w")),
    Tree("ds110", **same("01 18", "T1w", "inplaneT2", accepted="T1w", inplaneT2=INPLANE)),
    Tree(
        "ds113b",
        **same(
            "01 20",
            "T1w",
            sessions="localizer",
            accepted="T1w",
            also=["sub-01/ses-movie/func/%task-movie_run-1_bold.nii.gz"],
        ),
    ),
    Tree(
        "ds114",
        **same(
            "01 10",
            "T1w",
            sessions="retest test",
            accepted="T1w",
            also=[f"sub-01/ses-{one}/dwi/%dwi.nii.gz" for one in ("retest", "test")],
        ),
    ),
    Tree("ds116", **same("01 17", "inplaneT2", "T1w", accepted="T1w", inplaneT2=INPLANE)),
    Tree("ds210", **same("01 15", "T1w", accepted="T1w", also=["sub-01/func/%task-rest_run-01_echo-1_bold.nii.gz"])),
    Tree(
        "7t_trt",
        [
            *anat("01", "T1w", "T1map", session="1"),
            *anat("01", "acq-highres_T1map", session="2"),
            "sub-01/ses-2/fmap/%run-1_phasediff.nii.gz",
        ],
        only("01", "T1w", session="1", T1map=MAP) | only("01", "", session="2", **{"acq-highres_T1map": MAP}),
    ),
    Tree(
        "synthetic",
        **same(
            "01 05",
            "T1w",
            sessions="01 02",
            accepted="T1w",
            also=["sub-01/ses-01/func/%task-nback_run-01_bold.nii.gz", "sub-01/ses-01/beh/%task-stroop_beh.tsv"],
        ),
    ),
    Tree(
        "hcp_example_bids",
        **same(
            "100307",
            "run-01_T1w",
            "run-02_T1w",
            "run-01_T2w",
            "run-02_T2w",
            accepted="run-01_T1w run-01_T2w run-02_T1w run-02_T2w",
        ),
    ),
    Tree(
        "ieeg_epilepsy",
        **same(
            "01",
            "T1w",
            sessions="preop",
            accepted="T1w",
            also=["sub-01/ses-postimp/ieeg/%task-seizure_run-01_ieeg.eeg"],
        ),
    ),
    Tree("ieeg_visual", **same("01 02", "T1w", sessions="01", accepted="T1w")),
    Tree("eeg_face13", ["sub-001/eeg/%task-faceFO_eeg.set", *anat("002", "T1w")], only("002", "T1w")),
    Tree("eeg_cbm", **same("cbm001", "T1w", accepted="T1w", also=["sub-cbm001/eeg/%task-protmap_eeg.edf"])),
    Tree(
        "ds000117",
        [
            *anat("01", "acq-mprage_T1w", *[f"run-1_echo-{n}_FLASH" for n in (1, 2, 7)], session="mri"),
            "sub-01/ses-meg/meg/%task-x_meg.fif",
        ],
        only(
            "01",
            "acq-mprage_T1w run-1_echo-1_FLASH",
            session="mri",
            **{"run-1_echo-2_FLASH": "a later echo; the first one", "run-1_echo-7_FLASH": "a later echo"},
        ),
    ),
    Tree("ds000246", **same("0001", "T1w", accepted="T1w", also=["sub-0001/meg/%task-AEF_run-01_meg.ds"])),
    Tree(
        "ds000248",
        **same(
            "01", "T1w", "acq-epi_T1w", accepted="T1w acq-epi_T1w", also=["sub-01/meg/%task-audiovisual_run-01_meg.fif"]
        ),
    ),
    Tree("ds004332", **same("01", "acq-rest_T1w", "rec-mc_T1w", accepted="acq-rest_T1w rec-mc_T1w")),
    Tree("genetics_ukbb", **same("0001 0002", "T1w", "T2w", "FLAIR", accepted="FLAIR T1w T2w", reference="T1w")),
    Tree("asl001", **same("Sub103", "T1w", accepted="T1w", also=["sub-Sub103/perf/%asl.nii.gz"])),
    Tree("asl002", **same("Sub103", "T1w", accepted="T1w", also=["sub-Sub103/perf/%m0scan.nii.gz"])),
    Tree("pet001", **same("01", "T1w", sessions="01", accepted="T1w", also=["sub-01/ses-01/pet/%pet.nii.gz"])),
    Tree(
        "pet002",
        **same("01", "T1w", sessions="baseline", accepted="T1w", also=["sub-01/ses-rescan/pet/%trc-DASB_pet.nii.gz"]),
    ),
    Tree(
        "pet005",
        **same("01", "T1w", sessions="baseline", accepted="T1w", also=["sub-01/ses-intervention/pet/%pet.nii.gz"]),
    ),
    Tree("micr_SEM", ["sub-01/ses-01/micr/%sample-A_SEM.png", *anat("02", "T2w")], only("02", "T2w")),
    Tree("mrs_2dmrsi", **same("01", "T1w", "T2w", accepted="T1w T2w", also=["sub-01/mrs/%nuc-1H_mrsi.nii.gz"])),
    Tree("fnirs_automaticity", ["sub-01/nirs/%task-auto_nirs.snirf", *anat("24", "T1w")], only("24", "T1w")),
    Tree(
        "xeeg_hed_score",
        ["sub-eegArtifactTUH/eeg/%task-x_eeg.edf", *anat("mri", "T1w", session="1")],
        only("mri", "T1w", session="1"),
    ),
    Tree(
        "qmri_irt1",
        [*anat("01", *[f"inv-{n}_IRT1" for n in (1, 2, 3, 4)])],
        only("01", "", **{f"inv-{n}_IRT1": SET for n in (1, 2, 3, 4)}),
    ),
    Tree(
        "qmri_mp2rage",
        [*anat("1", "inv-1_part-mag_MP2RAGE", "inv-1_part-phase_MP2RAGE", "inv-2_part-mag_MP2RAGE", "UNIT1", "T1map")],
        only(
            "1",
            "UNIT1",
            T1map=MAP,
            **{"inv-1_part-mag_MP2RAGE": SET, "inv-1_part-phase_MP2RAGE": SET, "inv-2_part-mag_MP2RAGE": SET},
        ),
    ),
    Tree(
        "qmri_mp2rageme",
        [*anat("01", "inv-1_MP2RAGE", *[f"inv-2_echo-{n}_part-mag_MP2RAGE" for n in (1, 2, 3, 4)], "acq-x_UNIT1")],
        only(
            "01",
            "acq-x_UNIT1",
            **{"inv-1_MP2RAGE": SET, **{f"inv-2_echo-{n}_part-mag_MP2RAGE": SET for n in (1, 2, 3, 4)}},
        ),
    ),
    Tree(
        "qmri_megre",
        [*anat("01", "echo-1_part-mag_MEGRE", "echo-1_part-phase_MEGRE", "echo-2_part-mag_MEGRE", "T2starw")],
        only(
            "01",
            "T2starw",
            **{"echo-1_part-mag_MEGRE": SET, "echo-1_part-phase_MEGRE": SET, "echo-2_part-mag_MEGRE": SET},
        ),
    ),
    Tree(
        "qmri_mese",
        [*anat("n3", "echo-1_MESE", "echo-2_MESE", "T1w")],
        only("n3", "T1w", **{"echo-1_MESE": SET, "echo-2_MESE": SET}),
    ),
    Tree(
        "qmri_mpm",
        [*anat("anon", "acq-MTw_echo-1_flip-1_mt-on_MPM", "acq-T1w_echo-1_flip-2_mt-off_MPM")],
        only("anon", "", **{"acq-MTw_echo-1_flip-1_mt-on_MPM": SET, "acq-T1w_echo-1_flip-2_mt-off_MPM": SET}),
    ),
    Tree(
        "qmri_mtsat",
        [*anat("invivoGRE", "flip-1_mt-on_MTS", "flip-2_mt-off_MTS", "T1w", "MTsat")],
        only("invivoGRE", "T1w", MTsat=MAP, **{"flip-1_mt-on_MTS": SET, "flip-2_mt-off_MTS": SET}),
    ),
    Tree(
        "qmri_qsm",
        [*anat("1", "part-mag_MEGRE", "part-phase_MEGRE", "Chimap")],
        only("1", "", Chimap=MAP, **{"part-mag_MEGRE": SET, "part-phase_MEGRE": SET}),
    ),
    Tree("qmri_sa2rage", [*anat("1", "UNIT1"), "sub-1/fmap/%inv-1_TB1SRGE.nii.gz"], only("1", "UNIT1")),
    Tree("qmri_tb1tfl", [*anat("1", "T2w"), "sub-1/fmap/%acq-anat_TB1TFL.nii.gz"], only("1", "T2w")),
    Tree(
        "qmri_vfa",
        [*anat("1", "flip-1_VFA", "flip-2_VFA", "T1w", "T1map")],
        only("1", "T1w", T1map=MAP, **{"flip-1_VFA": SET, "flip-2_VFA": SET}),
    ),
    Tree(
        "volume_timing", [*anat("01", "T1w"), BOLD, "sub-01/func/%task-rest_acq-dense_bold.nii.gz"], only("01", "T1w")
    ),
    Tree("motion_dualtask", ["sub-01/motion/%task-walk_tracksys-A_motion.tsv", *anat("02", "T1w")], only("02", "T1w")),
]

SWI_FOLDER = anat("01", "T1w") + anat(
    "01", "swi", "minIP", "part-mag_GRE", "part-phase_GRE", "acq-swi_part-mag_GRE", datatype="swi"
)

WILD = [
    Tree("sessions for some", [*anat("01", "T1w"), *anat("02", "T1w", session="b"), *anat("02", "T2w", session="a")],
         only("01", "T1w") | only("02", "T2w", session="a") | only("02", "T1w", session="b")),
    Tree("an anat beside sessions", [*anat("01", "T1w"), *anat("01", "FLAIR", session="1")], only("01", "T1w") | only("01", "FLAIR", session="1")),
    Tree("sessions in names alone", ["sub-01/anat/sub-01_ses-1_T1w.nii.gz"], only("01", "", **{"ses-1_T1w": "without ses-"})),
    Tree("runs of all widths", anat("01", "run-1_T1w", "run-02_T1w", "run-010_T1w"), only("01", "run-010_T1w run-02_T1w run-1_T1w", "run-1_T1w")),
    Tree("acquisitions", anat("01", "acq-sag_T1w", "acq-ax_T2w", "acq-cor_FLAIR"), only("01", "acq-ax_T2w acq-cor_FLAIR acq-sag_T1w", "acq-sag_T1w")),
    Tree("contrast agent by ce-", anat("01", "T1w", "ce-gd_T1w", "T2w"), only("01", "T1w T2w ce-gd_T1w", "T1w")),
    Tree("contrast agent alone", anat("01", "ce-gd_T1w", "T2w"), only("01", "T2w ce-gd_T1w", "ce-gd_T1w")),
    Tree("contrast agent by the sidecar", anat("01", "run-1_T1w", "run-2_T1w"), only("01", "run-1_T1w run-2_T1w", "run-2_T1w"),
         {"sub-01/anat/%run-1_T1w.json": {"ContrastBolusIngredient": "GADOLINIUM"}}),
    Tree("reconstructions", anat("01", "rec-norm_T1w", "rec-orig_T1w"), only("01", "rec-norm_T1w rec-orig_T1w")),
    Tree("echoes and their mean", anat("01", "echo-1_T1w", "echo-2_T1w", "rec-mean_T1w"), only("01", "rec-mean_T1w", **{"echo-1_T1w": "an echo of sub-01_rec-mean_T1w", "echo-2_T1w": "an echo of"})),
    Tree("magnitudes of echoes and their combination", anat("01", "echo-1_part-mag_T2starw", "echo-2_part-mag_T2starw", "echo-1_part-phase_T2starw", "T2starw"), only("01", "T2starw", **{"echo-1_part-mag_T2starw": "an echo of sub-01_T2starw", "echo-2_part-mag_T2starw": "an echo of", "echo-1_part-phase_T2starw": "a phase image"})),
    Tree("echoes and their combination", anat("01", "acq-me_echo-1_T2starw", "acq-me_echo-2_T2starw", "acq-me_T2starw", "T1w"),
         only("01", "T1w acq-me_T2starw", "T1w", **{"acq-me_echo-1_T2starw": "which is processed", "acq-me_echo-2_T2starw": "which is processed"})),
    Tree("echoes alone", anat("01", "echo-1_T2starw", "echo-2_T2starw", "echo-10_T2starw"), only("01", "echo-1_T2starw", **{"echo-2_T2starw": "a later echo", "echo-10_T2starw": "a later echo"})),
    Tree("echoes of which the first is broken", anat("01", "echo-1_FLASH", "echo-2_FLASH"), only("01", "echo-2_FLASH", **{"echo-1_FLASH": "empty"}), {"sub-01/anat/%echo-1_FLASH.nii.gz": b""}),
    Tree("echoes in magnitude and phase", anat("01", "echo-1_part-mag_T2starw", "echo-1_part-phase_T2starw", "echo-2_part-mag_T2starw"),
         only("01", "echo-1_part-mag_T2starw", **{"echo-1_part-phase_T2starw": "part-phase", "echo-2_part-mag_T2starw": "a later echo"})),
    Tree("FLASH of one echo", anat("01", "FLASH", "T1w"), only("01", "FLASH T1w", "T1w")),
    Tree("PDT2", anat("01", "PDT2", "T1w"), only("01", "T1w", PDT2="split it into PDw and T2w")),
    Tree("names before BIDS 1.5", anat("01", "PD", "T2star"), only("01", "PD T2star")),
    Tree("MP2RAGE by old names", anat("01", "acq-mp2rage_inv-1_T1w", "acq-mp2rage_inv-2_T1w", "UNIT1"), only("01", "UNIT1", **{"acq-mp2rage_inv-1_T1w": "UNIT1 is processed", "acq-mp2rage_inv-2_T1w": "UNIT1 is processed"})),
    Tree("UNIT1 before T2w", anat("01", "UNIT1", "T2w", "FLAIR"), only("01", "FLAIR T2w UNIT1", "UNIT1")),
    Tree("T1w before UNIT1", anat("01", "UNIT1", "T1w"), only("01", "T1w UNIT1", "T1w")),
    Tree("SWI in its own folder", SWI_FOLDER, only("01", "T1w acq-swi_part-mag_GRE swi", "T1w", minIP="projection", **{"part-mag_GRE": "its suffix 'GRE'", "part-phase_GRE": "its suffix 'GRE'"})),
    Tree("SWI by acq-", anat("01", "T1w", "acq-swi_T2starw", "acq-SWAN_T2star", "rec-venobold_T2starw"), only("01", "T1w acq-SWAN_T2star acq-swi_T2starw rec-venobold_T2starw", "T1w")),
    Tree("SWI by suffix", anat("01", "T1w", "SWI", "run-2_swi", "SWAN"), only("01", "SWAN SWI T1w run-2_swi", "T1w")),
    Tree("SWI in magnitude and phase", anat("01", "part-mag_swi", "part-phase_swi", "T1w"), only("01", "T1w part-mag_swi", "T1w", **{"part-phase_swi": "a phase image"})),
    Tree("real and imaginary parts", anat("01", "part-real_T1w", "part-imag_T1w", "T1w"), only("01", "T1w", **{"part-real_T1w": "part-real", "part-imag_T1w": "part-imag"})),
    Tree("angiograms by all names", anat("01", "angio", "acq-tof_angio", "TOF", "MRA", "T1w"), only("01", "MRA T1w TOF acq-tof_angio angio", "T1w")),
    Tree("chunks", anat("01", "chunk-1_T2w", "chunk-2_T2w"), only("01", "chunk-1_T2w chunk-2_T2w")),
    Tree("masks of defacing", anat("01", "T1w", "mod-T1w_defacemask", "acq-x_mod-T2w_defacemask"), only("01", "T1w", **{"mod-T1w_defacemask": DEFACE, "acq-x_mod-T2w_defacemask": DEFACE})),
    Tree("uncompressed", anat("01", "T1w.nii", "T2w.nii"), only("01", "T1w T2w")),
    Tree("compressed and not", anat("01", "T1w.nii", "T1w.nii.gz"), only("01", "T1w", **{"T1w.nii": "the same image"})),
    Tree("derivatives nested everywhere", [*anat("01", "T1w"), "derivatives/fmriprep/sub-01/anat/%desc-preproc_T1w.nii.gz", "sourcedata/sub-03/anat/%T1w.nii.gz", "sub-01/derivatives/x/%T1w.nii.gz", "sub-01/anat/derivatives/%T1w.nii.gz", "sub-01/sourcedata/%T1w.nii.gz"], only("01", "T1w")),
    Tree("derivatives among raw images", anat("01", "T1w", "desc-brain_T1w", "space-MNI_T1w"), only("01", "T1w", **{"desc-brain_T1w": "'desc-'", "space-MNI_T1w": "'space-'"})),
    Tree(".bidsignore", [*anat("01", "T1w", "acq-bad_T1w"), *anat("02", "T1w"), *anat("03", "T1w", session="1"), *anat("03", "T1w", session="2")],
         only("01", "T1w") | only("03", "T1w", session="1"), {".bidsignore": "*_acq-bad_*\nsub-02/\nsub-03/ses-2/\n"}),
    Tree(".bidsignore with exceptions", anat("01", "acq-a_T1w", "acq-b_T1w"), only("01", "acq-b_T1w"), {".bidsignore": "*_T1w*\n!*acq-b*\n"}),
    Tree("an annex not fetched", anat("01", "T1w", "T2w"), only("01", "T2w", T1w="datalad get sub-01_T1w.nii.gz"), {"sub-01/anat/%T1w.nii.gz": Link("../../.git/annex/objects/a/b.nii.gz")}),
    Tree("an unlocked annex not fetched", anat("01", "T1w", "T2w"), only("01", "T2w", T1w="git annex get"), {"sub-01/anat/%T1w.nii.gz": b"/annex/objects/MD5E-s1--a.nii.gz\n"}),
    Tree("a subdataset not fetched", anat("02", "T1w"), {"sub-01": ("", None, {"sub-01": "datalad get sub-01"})} | only("02", "T1w"),
         {"sub-01": None, ".gitmodules": '[submodule "sub-01"]\n\tpath = sub-01\n\turl = ./sub-01\n'}),
    Tree("a sidecar of all", anat("01", "T1w", "T2w"), only("01", "T2w", T1w="a localizer"), {"T1w.json": {"SeriesDescription": "3-plane localizer"}}),
    Tree("a sidecar of a participant over that of all", anat("01", "T1w"), only("01", "T1w"), {"T1w.json": {"SeriesDescription": "localizer"}, "sub-01/%T1w.json": {"SeriesDescription": "MPRAGE"}}),
    Tree("a sidecar of a session", anat("01", "acq-x_T1w", "T1w", session="1"), only("01", "T1w", session="1", **{"acq-x_T1w": "phantom"}), {"sub-01/ses-1/%acq-x_T1w.json": {"SeriesDescription": "phantom"}}),
    Tree("a sidecar of fewer entities", anat("01", "acq-x_run-1_T1w", "run-1_T1w"), only("01", "run-1_T1w", **{"acq-x_run-1_T1w": "subtraction"}), {"acq-x_T1w.json": {"SeriesDescription": "subtraction"}}),
    Tree("localizers, subtractions, maps and the spine", anat("01", *[f"run-{n}_T1w" for n in range(1, 8)]),
         only("01", "run-1_T1w", **{"run-2_T1w": "a localizer", "run-3_T1w": "a subtraction", "run-4_T1w": "a quantitative map", "run-5_T1w": "the spine", "run-6_T1w": "intensity projection", "run-7_T1w": "inverted contrast"}),
         {f"sub-01/anat/%run-{n}_T1w.json": content for n, content in enumerate(({"SeriesDescription": "t1_mprage inversion 900"}, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, {"ImageType": "DERIVED\\SECONDARY\\SUBTRACTION"}, {"SeriesDescription": "rCBV"}, {"SeriesDescription": "SAG T1 C-SPINE"}, {"SeriesDescription": "mIP_Images(SW)"}, {"SeriesDescription": "T1 inverted"}), 1)}),
    Tree("thick slices stand back", anat("01", "T1w", "T2w"), only("01", "T1w T2w", "T2w"), {"sub-01/anat/%T1w.nii.gz": Nifti((20, 22, 12), (8, 8, 13)), "sub-01/anat/%T2w.nii.gz": Nifti((60, 66, 60), (3, 3, 3))}),
    Tree("volumes and slices", anat("01", "T1w", "run-2_T1w", "run-3_T1w"), only("01", "T1w", **{"run-2_T1w": "3 volumes", "run-3_T1w": "2 slice"}),
         {"sub-01/anat/%run-2_T1w.nii.gz": Nifti((20, 22, 20, 3)), "sub-01/anat/%run-3_T1w.nii.gz": Nifti((20, 22, 2))}),
    Tree("other modalities among the anatomy", anat("01", "T1w", "ct", "PET", "photo"), only("01", "T1w", ct="not an MR image", PET="not an MR image", photo="its suffix 'photo'")),
    Tree("misnamed", [*anat("01", "T1w"), "sub-01/anat/T1.nii.gz", "sub-01/anat/sub-02_T1w.nii.gz", "sub-01/%T2w.nii.gz", "sub-01/Anat/%T2w.nii.gz"],
         {"sub-01": ("T1w", "T1w", {"T1": "does not begin", "sub-02_T1w": "named for sub-02", "T2w": "move it into anat/"})}),
    Tree("no structural image in some", [*anat("01", "T1w"), "sub-02/func/%task-rest_bold.nii.gz"], only("01", "T1w")),
    Tree("labels of all kinds", [*anat("NDARINV003RTV85", "T1w"), *anat("0A+b", "T1w")], only("0A+b", "T1w") | only("NDARINV003RTV85", "T1w")),
]  # fmt: skip

TREES = [*EXAMPLES, *WILD]
