# ruff: noqa: E501
"""The bad and odd inputs: one row each, saying what it is, its files, what becomes of it, and in which words.

All rows lie in one dataset. `processed` and `rejected` rows leave the exit code 0, `failed` ones make it 1. Whatever
becomes of a row, the other series of its participant (`REST`) and all other participants get all of their outputs.
"""

from __future__ import annotations

import gzip

import numpy as np
from bad_inputs.rows import (
    GOOD,
    PACKED,
    WHOLE,
    dim,
    failed,
    flipped,
    forms,
    header,
    ignored,
    inside,
    link,
    lower_front,
    noise,
    patched,
    pipe,
    processed,
    rejected,
    said_by,
    turned,
    unpacked,
    voxels,
    with_shape,
)  # fmt: skip

NAN = float("nan")
DIAGONAL = np.diag([8.0, 8, 8, 1])
SHEARED = np.array([[8.0, 4, 0, 0], [0, 8, 0, 0], [0, 0, 8, 0], [0, 0, 0, 1]])
SINGULAR = np.diag([8.0, 8, 0, 1])
UNIT = 123  # where a NIfTI-1 header says its units; 280: the sform; 252: the codes; 108: vox_offset, slope, intercept

FILES = [
    failed("an empty file", b"", "the file is empty"),
    failed("an empty nii", {"anat/T1w.nii": b""}, "the file is empty"),
    failed("a text file named nii.gz", b"no image at all\n", "not a gzip file"),
    failed("a text file named nii", {"anat/T1w.nii": b"no image at all, and long enough" * 20}, "not a NIfTI file"),
    failed("a web page", b"<!DOCTYPE html><html>403 Forbidden</html>", "not a gzip file"),
    failed("a DICOM file named nii.gz", bytes(128) + b"DICM" + bytes(400), "not a gzip file"),
    failed("a gzipped text", gzip.compress(b"no image at all, but long enough for a header" * 20), "not a NIfTI file"),
    failed("gzip cut off within the header", PACKED[:20], "ends early"),
    failed("gzip cut off within the voxels", PACKED[:-500], "ends early: the file is truncated; copy it again"),
    failed("gzip cut off within its checksum", PACKED[:-4], "ends early"),
    failed("gzip with a flipped byte", flipped(PACKED, len(PACKED) // 2), "gzip stream is corrupt"),
    failed("gzip with a wrong checksum", flipped(PACKED, len(PACKED) - 6), "gzip stream is corrupt"),
    failed("gzip with garbage behind it", PACKED + b"garbage", "gzip stream is corrupt"),
    failed("gzip of nothing but its magic number", b"\x1f\x8b" + bytes(100), "corrupt"),
    failed("gzipped twice", gzip.compress(PACKED), "not a NIfTI file"),
    failed("gzip that unpacks without end", gzip.compress(WHOLE + bytes(70 * 2**20)), "far more bytes"),
    failed("not compressed and named nii.gz", WHOLE, "rename it to .nii"),
    failed("compressed and named nii", {"anat/T1w.nii": PACKED}, "rename it to .nii.gz"),
    failed("nii cut off within the header", {"anat/T1w.nii": WHOLE[:300]}, "ends early: only 300 bytes"),
    failed("nii cut off within the voxels", {"anat/T1w.nii": WHOLE[:-1]}, "ends early: its header promises"),
    failed("whole gzip of a cut nii", gzip.compress(WHOLE[:-1000]), "ends early"),
    failed(
        "an annexed file not fetched",
        link("../../.git/annex/objects/x.nii.gz"),
        "datalad get sub-AnAnnexedFileNotFetched_T1w.nii.gz",
    ),
    failed("an annex pointer", b"/annex/objects/MD5E-s123--abc.nii.gz\n", "git annex get"),
    failed("a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    failed("a link to itself", {"=anat/sub-ALinkToItself_T1w.nii.gz": link("sub-ALinkToItself_T1w.nii.gz")}, "levels"),
    failed("a folder named like an image", {"anat/T1w.nii.gz": None}, "it is not a file"),
    failed("a link to a folder", link(".."), "it is not a file"),
    failed("a named pipe", pipe, "it is not a file"),
    failed("an Analyze image", {"anat/T1w.nii": patched(WHOLE, 344, "4s", b"\0\0\0\0")}, "wrong magic string"),
    failed("half of a NIfTI pair", header(344, "4s", b"ni1\0"), "not a single-file NIfTI"),
    failed("a wrong header size", header(0, "<i", 350), "no NIfTI header"),
    processed("gzip in two members", gzip.compress(WHOLE[:500]) + gzip.compress(WHOLE[500:])),
    processed("a big-endian image", voxels(noise("int16"), endianness=">")),
    processed("a NIfTI 2 image", with_shape(20, 22, 20, version=2)),
]

HEADERS = [
    failed(
        "more voxels promised than there are",
        {"anat/T1w.nii": patched(WHOLE, 40, "<4h", 3, 200, 200, 200)},
        "ends early",
    ),
    failed("more voxels promised than gzip can hold", dim(3, 1000, 1000, 1000), "ends early: its header promises"),
    failed("a little more promised than there is", dim(3, 20, 22, 21), "ends early"),
    failed("a gigantic axis", dim(3, 30000, 22, 20), "absurd shape: 30000x22x20"),
    failed("a gigantic volume", dim(3, 4000, 4000, 4000), "absurd shape"),
    failed("an axis of no length", dim(3, 0, 22, 20), "absurd shape"),
    failed("an axis of negative length", dim(3, -20, 22, 20), "absurd shape"),
    failed("no dimensions", dim(0, 20, 22, 20), "0 dimensions"),
    failed("nine dimensions", dim(9, 20, 22, 20), "9 dimensions"),
    failed("a plane", dim(2, 20, 22), "2 dimensions (20x22); three are needed"),
    failed("a line", dim(1, 20), "1 dimensions"),
    failed("5-D data", dim(5, 20, 22, 5, 2, 2), "5 dimensions (20x22x5x2x2); one volume is needed"),
    failed("a vector field", dim(5, 20, 22, 5, 1, 3), "5 dimensions"),
    rejected("4-D with several volumes", with_shape(20, 22, 20, 3), "3 volumes; one is needed: split it"),
    processed("4-D with one volume", with_shape(20, 22, 20, 1)),
    processed("7-D of one volume", dim(7, 20, 22, 20, 1, 1, 1, 1)),
    failed("an unknown data type", header(70, "<h", 9999), "header is invalid"),
    failed("single bits", header(70, "<h", 1), "convert it to grey values"),
    failed("RGB", header(70, "<2h", 128, 24), "RGB, not one real number each"),
    failed("RGBA", header(70, "<2h", 2304, 32), "RGB"),
    failed("complex numbers", voxels(noise("complex64")), "complex, not one real number each"),
    failed("complex numbers in double precision", voxels(noise("complex128")), "complex"),
    failed("voxels nowhere", header(108, "<f", NAN), "vox_offset"),
    failed("voxels before the file", header(108, "<f", -1e6), "vox_offset"),
    failed("voxels behind the file", header(108, "<f", 1e9), "ends early"),
    processed("a slope of 0", header(112, "<2f", 0, 0)),
    processed("a slope of NaN", header(112, "<2f", NAN, 0), "scl_slope nan"),
    processed("an infinite slope", header(112, "<2f", float("inf"), 0), "scl_slope inf"),
    failed("an intercept of NaN", header(112, "<2f", 2, NAN), "scl_inter nan"),
    failed("a negative slope", header(112, "<2f", -1, 0), "no voxel is above 0"),
    failed("a slope beyond all numbers", header(112, "<2f", 3e38, 0), "different values only"),
    processed("a large slope and intercept", header(112, "<2f", 1e6, 1e8)),
]

ORIENTATIONS = [
    processed("no sform", forms(qform=DIAGONAL)),
    processed("no qform", forms(sform=DIAGONAL)),
    processed("neither sform nor qform", forms(), "neither its sform nor its qform is set"),
    processed("sform and qform apart", forms(DIAGONAL, turned(20)), "its sform and qform are up to"),
    failed("sform and qform mirrored", forms(np.diag([-8.0, 8, 8, 1]), DIAGONAL), "disagree about left and right"),
    failed("a sheared sform alone", forms(SHEARED), "its affine is sheared"),
    processed("a sheared sform and a good qform", forms(SHEARED, DIAGONAL), "sform is sheared; its qform is used"),
    failed("a singular sform alone", forms(SINGULAR), "not invertible"),
    processed("a singular sform and a good qform", forms(SINGULAR, DIAGONAL), "not invertible; its qform is used"),
    failed("a sform of zeros", forms(np.zeros((4, 4))), "not invertible"),
    failed("a sform of NaN", forms(np.full((4, 4), NAN)), "rewrite it with a valid qform or sform"),
    processed(
        "a qform that is no rotation", header(252, "<2h3f", 1, 1, 2, 2, 2), "qform is not invertible; its sform is used"
    ),
    processed("an unknown form code", header(252, "<2h", 1, 99)),
    failed("voxels of no size", forms(pixdim=(0.0, 8.0, 8.0)), "not invertible"),
    processed("negative voxel sizes", forms(pixdim=(-8.0, 8.0, 8.0)), "neither"),
    failed("voxels without bounds", header(280, "<4f", 1e30, 0, 0, 0), "affine|absurd"),
    failed(
        "a head on the moon",
        forms(DIAGONAL + np.array([[0, 0, 0, 4e8]] + [[0] * 4] * 3)),
        "absurd voxel size or position",
    ),
    failed(
        "units in metres",
        header(UNIT, "B", 1, base=unpacked(with_shape(20, 22, 20, spacing=(0.008,) * 3))),
        "in metres",
    ),
    failed(
        "units in micrometres",
        header(UNIT, "B", 3, base=unpacked(with_shape(20, 22, 20, spacing=(8000.0,) * 3))),
        "in micrometres",
    ),
    processed("unknown units", header(UNIT, "B", 0)),
    processed("metres said and millimetres meant", header(UNIT, "B", 1)),
    processed("sagittal slices", with_shape(20, 22, 20, orientation="PSR")),
    processed("every axis flipped", with_shape(20, 22, 20, orientation="LPI")),
    processed("oblique slices", with_shape(20, 22, 20, affine=turned(35))),
]

GRIDS = [
    rejected("one slice", with_shape(20, 22, 1), "1 slice(s) only; 5 are needed"),
    rejected("four slices", with_shape(20, 22, 4), "4 slice(s) only"),
    processed("slices of 2 mm", with_shape(20, 22, 50, spacing=(8, 8, 2))),
    processed("slices of 5 mm", with_shape(40, 44, 26, spacing=(4, 4, 5))),
    processed("slices of 10 mm", with_shape(40, 44, 14, spacing=(4, 4, 10))),
    rejected("slices of 20 mm", with_shape(40, 44, 8, spacing=(4, 4, 20)), "20 mm long; 15 mm is the most"),
    processed("voxels of three lengths", with_shape(80, 22, 36, spacing=(2, 8, 4))),
    rejected("huge voxels", with_shape(10, 10, 10, spacing=(50, 50, 50)), "50 mm long"),
    rejected("tiny voxels", with_shape(20, 22, 20, spacing=(0.1, 0.1, 0.1)), "too small for a head"),
    rejected(
        "a field of view for a whole body", with_shape(22, 22, 130, spacing=(10, 10, 10)), "no head, or wrong voxel"
    ),
    rejected("a slab of a finger", with_shape(30, 30, 60, spacing=(1, 1, 1)), "under 80 mm along two axes"),
]

VOXELS = [
    failed("all zero", voxels(np.zeros(GOOD.shape, "int16")), "every voxel has the same value: the image is empty"),
    failed("all the same", voxels(np.full(GOOD.shape, 7, "int16")), "every voxel has the same value"),
    failed("all negative", voxels(noise("int16", -900, -1)), "no voxel is above 0"),
    failed("all NaN", voxels(np.full(GOOD.shape, NAN, "float32")), "no voxel has a finite value"),
    failed("all infinite", voxels(np.full(GOOD.shape, np.inf, "float32")), "no voxel has a finite value"),
    processed("some NaN", voxels(np.where(noise() < 20, NAN, noise()).astype("float32"))),
    processed("some infinite", voxels(np.where(noise() < 20, -np.inf, noise()).astype("float32"))),
    processed("some negative", voxels(noise("int16", -20, 200))),
    processed("uint64", voxels(noise("uint64", 0, 4e9))),
    processed("int64", voxels(noise("int64"))),
    processed("int8", voxels(noise("int8", 0, 120))),
    processed("float64", voxels(noise("float64"))),
    failed("float64 beyond float32", voxels(noise("float64", 1e100, 1e200)), "every voxel has the same value"),
    processed("a head already stripped", voxels(np.where(inside(0.3), noise(), 0))),
    processed("a head already defaced", voxels(np.where(lower_front(), 0, noise()))),
    processed("very small numbers", voxels(noise("float32", 0, 1e-12))),
    failed("a mask", voxels((noise() > 100).astype("uint8")), "2 different values only: a mask or label map"),
    failed("a label map", voxels(noise("uint8", 0, 9)), "different values only"),
    failed(
        "CT", voxels(np.where(noise() > 60, noise("float32", -100, 1200), -1000).astype("int16")), "it looks like CT"
    ),
]

BAD_FIELDS = {
    "ImageType": {"a": [1]}, "SeriesDescription": 5, "SeriesNumber": "x", "BodyPartExamined": ["HEAD"], "Modality": 3,
    "ContrastBolusIngredient": 1.5, "EchoTime": "short", "FlipAngle": [[]], "Manufacturer": None, "RepetitionTime": True,
}  # fmt: skip
OWN = "anat/T1w.json"
SIDECARS = [
    processed("a sidecar of no JSON", said_by((OWN, "{'EchoTime': 1}")), "T1w.json: it is not valid JSON (line 1"),
    processed("a sidecar cut off", said_by((OWN, '{"EchoTime": 0.1, "Modal')), "not valid JSON"),
    processed("an empty sidecar", said_by((OWN, b"")), "T1w.json: it is empty"),
    processed("a sidecar of a list", said_by((OWN, [1, 2])), "it holds no JSON object"),
    processed("a sidecar of null", said_by((OWN, b"null")), "it holds no JSON object"),
    processed("a sidecar of wrong types", said_by((OWN, BAD_FIELDS))),
    processed("a sidecar with a byte order mark", said_by((OWN, b'\xef\xbb\xbf{"EchoTime": 0.1}'))),
    processed("a sidecar in Latin 1", said_by((OWN, '{"SeriesDescription": "Schädel"}'.encode("latin-1"))), "read as Latin-1"),
    processed("a sidecar in UTF 16", said_by((OWN, '{"SeriesDescription": "Schädel"}'.encode("utf-16")))),
    processed("a sidecar in UTF 32", said_by((OWN, '{"EchoTime": 0.1}'.encode("utf-32")))),
    processed("a sidecar of bytes", said_by((OWN, bytes(range(256)))), "not valid JSON"),
    processed("a sidecar with NaN", said_by((OWN, b'{"EchoTime": NaN, "FlipAngle": 1e999, "SeriesNumber": "nan"}'))),
    processed("a sidecar of endless numbers", said_by((OWN, b'{"SeriesNumber": ' + b"9" * 4000 + b"}"))),
    processed("a sidecar of too endless numbers", said_by((OWN, b'{"SeriesNumber": ' + b"9" * 5000 + b"}")), "not valid"),
    processed("a sidecar nested deeply", said_by((OWN, b"[" * 100_000)), "not valid JSON"),
    processed("a sidecar of 17 MB", said_by((OWN, b" " * 17 * 2**20 + b"{}")), "far larger than a sidecar"),
    processed("a sidecar not fetched", said_by((OWN, link("gone.json"))), "T1w.json: it is a link to content"),
    processed("a sidecar that is a pipe", said_by((OWN, pipe)), "T1w.json: it is not a file"),
    processed("a sidecar that is a folder", said_by((OWN, None))),
    processed("a sidecar with half a character", said_by((OWN, b'{"SeriesDescription": "\\ud800"}'))),
    rejected("CT by its Modality", said_by((OWN, {"Modality": "CT"})), "not an MR image, by its Modality (CT)"),
    rejected("a knee by its BodyPartExamined", said_by((OWN, {"BodyPartExamined": "KNEE"})), "not an image of the head"),
    rejected("a spine", said_by((OWN, {"SeriesDescription": "T2 c-spine"})), "an image of the spine"),
    rejected("a phantom", said_by((OWN, {"SeriesDescription": "QA phantom"})), "a phantom"),
    rejected("a localizer", said_by((OWN, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})), "a localizer"),
    rejected("a projection", said_by((OWN, {"ImageType": "DERIVED\\SECONDARY\\MIP"})), "an intensity projection"),
    rejected("a phase image by its ImageType", said_by((OWN, {"ImageType": ["ORIGINAL", "PRIMARY", "P"]})), "a phase image"),
    rejected("inherited from the root", said_by(("/acq-root_T1w.json", {"Modality": "CT"}), name="acq-root_T1w"), "(CT)"),
    rejected("inherited from the participant", said_by(("T1w.json", {"Modality": "CT"})), "(CT)"),
    rejected(
        "inherited from the session",
        {"ses-1/anat/T1w.nii.gz": GOOD, "ses-1/T1w.json": {"Modality": "CT"}, "ses-1/anat/T2w.nii.gz": GOOD},
        "(CT)",
        rest={"ses-1/anat/T2w.nii.gz": GOOD},
    ),
    rejected("inherited in its folder", said_by(("anat/T1w.json", {"Modality": "CT"}), name="run-1_T1w"), "(CT)"),
    processed(
        "inherited and overridden at every level",
        {
            "ses-1/anat/acq-deep_T1w.nii.gz": GOOD,
            "/acq-deep_T1w.json": {"Modality": "CT"},
            "acq-deep_T1w.json": {"Modality": "PT"},
            "ses-1/acq-deep_T1w.json": {"Modality": "NM"},
            "ses-1/anat/acq-deep_T1w.json": {"Modality": "MR"},
        },
    ),
    processed("a broken sidecar at the root", said_by(("/acq-broken_T1w.json", "{"), name="acq-broken_T1w"), "acq-broken_T1w.json"),
]  # fmt: skip

NAMES = [
    rejected("named for another participant", "=anat/sub-somebody_T1w.nii.gz", "named for sub-somebody and lies in"),
    rejected("a session in the name alone", "=anat/sub-ASessionInTheNameAlone_ses-1_T1w.nii.gz", "a folder without ses-"),
    rejected("a session in the folder alone", "=ses-1/anat/sub-ASessionInTheFolderAlone_T1w.nii.gz", "named without ses-"),
    rejected("another session in the name", "=ses-1/anat/sub-AnotherSessionInTheName_ses-2_T1w.nii.gz", "named for ses-2"),
    rejected("no participant in the name", "=anat/T1w.nii.gz", "does not begin with sub-"),
    rejected("a name of a converter", "=anat/20190101_MPRAGE_3.nii.gz", "not a BIDS name"),
    rejected("an unknown entity", "anat/side-left_T1w.nii.gz", "'side-' in its name is not an entity"),
    rejected("a derivative among raw images", "anat/desc-preproc_T1w.nii.gz", "'desc-' in its name"),
    rejected("an entity twice", "anat/run-1_run-2_T1w.nii.gz", "'run-' is in its name twice"),
    rejected("an entity without value", "anat/acq-_T1w.nii.gz", "'acq-' in its name is not a key-value pair"),
    rejected("a run that is no number", "anat/run-A_T1w.nii.gz", "'run-A' in its name must be a number"),
    rejected("no suffix", "anat/acq-T1w.nii.gz", "does not end in a suffix"),
    rejected("an unknown suffix", "anat/MPRAGE.nii.gz", "its suffix 'MPRAGE' is none of"),
    rejected("a suffix in the wrong case", "anat/t1w.nii.gz", "its suffix 't1w' is none of"),
    rejected("a space in the name", "anat/acq-my scan_T1w.nii.gz", "'acq-my scan' in its name"),
    rejected("a copy", "anat/T1w (copy).nii.gz", "does not end in a suffix"),
    rejected("an umlaut in the name", "anat/acq-schädel_T1w.nii.gz", "'acq-schädel' in its name"),
    rejected("a line break in the name", "anat/acq-a\nb_T1w.nii.gz", "is not a key-value pair"),
    rejected("bytes that are no text in the name", "anat/acq-\udcff_T1w.nii.gz", "is not a key-value pair"),
    rejected("an extension in capitals", "anat/T1w.NII.GZ", "not in lower case; rename it"),
    rejected("a FreeSurfer image", {"anat/T1w.mgz": b"x"}, "not a NIfTI file (.nii.gz or .nii); convert it"),
    rejected("an NRRD image", {"anat/T1w.nrrd": b"x"}, "convert it"),
    rejected("a NIfTI image in bzip2", {"anat/T1w.nii.bz2": b"x"}, "convert it"),
    rejected("beside the folder anat", "T1w.nii.gz", "in no folder of a datatype; move it into anat/"),
    rejected("in a folder unknown to BIDS", "Anat/T1w.nii.gz", "(Anat/); move it into anat/"),
    rejected("in a folder inside of anat", "=anat/old/x_T1w.nii.gz", "inside of anat/; move it up"),
    rejected("in a session written Ses", "=Ses-1/anat/x_T1w.nii.gz", "a folder that BIDS does not know (Ses-1/)"),
    processed("entities in the wrong order", "anat/run-1_acq-x_T1w.nii.gz", "not in the order of BIDS"),
    processed("a number with zeros", {"anat/run-01_T1w.nii.gz": GOOD, "anat/run-1_T1w.nii.gz": GOOD}),
    rejected("the same image packed and unpacked", {"anat/T1w.nii": GOOD, "anat/T1w.nii.gz": GOOD}, "remove one of the two"),
    failed("packed and broken beside unpacked", {"anat/T1w.nii.gz": b""}, "the file is empty", rest={"anat/T1w.nii": GOOD}),
    rejected("one name in two folders", {"swi/swi.nii.gz": GOOD, "anat/swi.nii.gz": GOOD}, "the same name as"),
    ignored("named in bidsignore", "anat/acq-ignored_T1w.nii.gz"),
    ignored("a hidden file", "=anat/._sub-AHiddenFile_T1w.nii.gz"),
    ignored("data of another kind", "func/task-rest_bold.nii.gz"),
    processed("sessions that others miss", {"ses-late/anat/T1w.nii.gz": GOOD}),
    rejected("a participant with a space", "=anat/sub-a b_T1w.nii.gz", "not a BIDS name", rest={}, folder="sub-a b"),
    rejected("a participant with an umlaut", "=anat/sub-Zoë_T1w.nii.gz", "not a BIDS name", rest={}, folder="sub-Zoë"),
    rejected("a participant of no text", "=anat/sub-\udcfe_T1w.nii.gz", "not a BIDS name", rest={}, folder="sub-\udcfe"),
    failed("a participant not mounted", {"/sub-Gone": link("elsewhere/sub-Gone")}, "a link to a folder", rest={}, folder="sub-Gone"),
    failed("a session not mounted", {"=ses-1": link("elsewhere/ses-1")}, "a link to a folder that is not here"),
    ignored("an empty participant", {"=anat": None}, rest={}),
]  # fmt: skip

CONTRASTS = [
    rejected("one inversion of an MP2RAGE", "anat/inv-1_MP2RAGE.nii.gz", "one of a set of images"),
    rejected("an inversion named T1w", "anat/inv-2_T1w.nii.gz", "the combined UNIT1 is processed"),
    processed("UNIT1", "anat/UNIT1.nii.gz"),
    rejected("a map of an MP2RAGE", "anat/T1map.nii.gz", "a quantitative map"),
    rejected("a later echo of a T1w", "anat/echo-2_T1w.nii.gz", "a later echo", rest={"anat/echo-1_T1w.nii.gz": GOOD}),
    rejected(
        "an echo beside the combination",
        "anat/acq-x_echo-1_T1w.nii.gz",
        "an echo of",
        rest={"anat/acq-x_T1w.nii.gz": GOOD},
    ),
    rejected("an echo of a MEGRE", "anat/echo-1_MEGRE.nii.gz", "one of a set of images"),
    processed("the magnitude part", "anat/part-mag_T2starw.nii.gz"),
    rejected("the phase part", "anat/part-phase_T2starw.nii.gz", "a phase image (part-phase), not a magnitude"),
    rejected("the real part", "anat/part-real_T1w.nii.gz", "a real image (part-real)"),
    rejected("the imaginary part", "anat/part-imag_T1w.nii.gz", "a imag image"),
    processed("chunks", {"anat/chunk-1_FLAIR.nii.gz": GOOD, "anat/chunk-2_FLAIR.nii.gz": GOOD}),
    rejected("CT by its suffix", "anat/ct.nii.gz", "not an MR image, by its suffix"),
    rejected("two contrasts in one", "anat/PDT2.nii.gz", "split it into PDw and T2w"),
    processed("a contrast that does not say which", "anat/FLASH.nii.gz"),
    processed("an angiogram by its old name", "anat/TOF.nii.gz"),
    rejected("a mask of defacing", "anat/mod-T1w_defacemask.nii.gz", "a mask made by defacing"),
    rejected("a diffusion series", {"dwi/dwi.nii.gz": with_shape(20, 22, 20, 7)}, "diffusion series are not processed"),
]

#: What the rows need at the root of the dataset.
ROOT = {".bidsignore": "*_acq-ignored_*\n!\n"}
ROWS = [*FILES, *HEADERS, *ORIENTATIONS, *GRIDS, *VOXELS, *SIDECARS, *NAMES, *CONTRASTS]
