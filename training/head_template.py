"""Make the head template that ships with the package: an average T1-like head with its mean brain mask, in MNI space.

    python training/head_template.py LABELMAPS bids_app/data/head_template

LABELMAPS is the folder of whole-head label maps (seg_*.nii.gz, FreeSurfer numbers inside the brain, 5xx outside it)
that SynthSeg trains on (Billot et al. 2023). Every map is painted like a T1-weighted image, aligned by its brain
(affine) to the MNI152NLin2009aSym brain that nilearn ships, and averaged; the brain masks are averaged into a
probability. The result is the same byte for byte each time.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import nibabel as nib
import nilearn
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from bids_app.steps import images
from bids_app.steps.registration import register

# FreeSurfer's labels of brain tissue, ventricles and lesions; 24, the CSF around the brain, is not one of them.
BRAIN = (
    2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 25, 26, 28, 30, 31, 41, 42, 43, 44, 46, 47, 49, 50, 51, 52,
    53, 54, 57, 58, 60, 62, 63, 72, 77, 85,
)  # fmt: skip
CEREBELLUM = (7, 8, 46, 47)
# Intensities of a T1-weighted image, white matter 110 as in FreeSurfer; a right label takes the value of its left one.
T1_LIKE = {
    2: 110, 3: 75, 4: 30, 5: 30, 7: 105, 8: 72, 10: 90, 11: 80, 12: 88, 13: 98, 14: 30, 15: 30, 16: 100, 17: 75, 18: 75,
    24: 28, 26: 80, 28: 92, 41: 110, 42: 75, 43: 30, 44: 30, 46: 105, 47: 72, 49: 90, 50: 80, 51: 88, 52: 98, 53: 75,
    54: 75, 58: 80, 60: 92, 502: 45, 506: 30, 507: 55, 508: 40, 509: 35, 511: 15, 512: 55, 514: 30, 515: 125, 516: 55,
    530: 55,
}  # fmt: skip
OTHER = 60  # vessels, choroid plexus and the few labels that are not listed
SULCI_MM = 3.0  # the mask is closed over the sulci, as users of brain extraction expect
BELOW_CEREBELLUM_MM = 5.0  # the maps run on down the spinal canal, a brain mask does not
SPACING_MM = 2.0
MARGIN_MM = (8.0, 20.0, 8.0)  # around the MNI box, left-right, front-back, top: room for the scalp and the nose
BELOW_MM = 40.0  # ... and below, for the face


def brain_mask(labels: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Tissue and ventricles at 1 mm, RAS+, closed over the sulci and cut below the cerebellum."""
    tissue = np.isin(labels, BRAIN)
    lowest = max(np.argwhere(np.isin(labels, CEREBELLUM))[:, 2].min() - int(BELOW_CEREBELLUM_MM), 0)
    tissue[:, :, :lowest] = False
    whole = np.zeros(labels.shape, bool)
    box = bounding_box(tissue, margin=5)
    tissue = tissue[box]
    grown = ndimage.distance_transform_edt(~tissue) <= SULCI_MM
    mask = ndimage.binary_fill_holes(tissue | (ndimage.distance_transform_edt(grown) > SULCI_MM))
    parts, _ = ndimage.label(mask)
    whole[box] = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    whole[:, :, :lowest] = False  # closing has grown downwards too
    return whole


def bounding_box(mask: NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    """The box around a mask, `margin` voxels wider, inside the array."""
    spans = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return tuple(slice(max(int(s[0]) - margin, 0), int(s[-1]) + margin + 1) for s in spans)


def paint(labels: NDArray[np.int16]) -> NDArray[np.float32]:
    """A T1-like image of a label map."""
    table = np.full(int(labels.max()) + 1, OTHER, np.float32)
    table[0] = 0
    for label, intensity in T1_LIKE.items():
        if label < len(table):
            table[label] = intensity
    return table[labels]


def mni_brain() -> images.Image:
    """MNI152NLin2009aSym's brain, 1 mm (Fonov et al. 2011), from nilearn."""
    path = Path(nilearn.__file__).parent / "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    return images.conform(nib.load(path))


def template_grid(mni: images.Image) -> sitk.Image:
    """The 2 mm grid of the template: MNI's box with room for the head."""
    low = mni.affine[:3, 3] - [MARGIN_MM[0], MARGIN_MM[1], BELOW_MM]
    high = mni.affine[:3, 3] + np.array(mni.shape) - 1 + MARGIN_MM
    shape = np.ceil((high - low) / SPACING_MM).astype(int) + 1
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = low
    return images.to_itk(images.new_image(np.zeros(shape, np.float32), affine))


def to_template(labels: images.Image, mni: images.Image, grid: sitk.Image) -> list[NDArray]:
    """One head, its brain mask (0..1) and its field of view (0..1) on the template's grid, aligned by the brains."""
    labels = labels.slicer[bounding_box(images.array_of(labels) > 0, margin=2)]
    array = np.rint(images.array_of(labels)).astype(np.int16)
    mask, head = brain_mask(array), paint(array)
    brain = images.like(head * mask, labels)
    mni_mask = images.like((images.array_of(mni) > 0).astype(np.uint8), mni)
    mask_image = images.like(mask.astype(np.uint8), labels)
    result = register(mni, brain, kind="affine", fixed_mask=mni_mask, moving_mask=mask_image)
    print(f"  scale {result.scale}, similarity {result.similarity_before:.2f} -> {result.similarity:.2f}", flush=True)
    warped = []
    for volume in (head, mask.astype(np.float32), np.ones_like(head)):
        smooth = images.to_itk(images.like(ndimage.gaussian_filter(volume, SPACING_MM / 2.355), labels))
        warped.append(sitk.GetArrayFromImage(sitk.Resample(smooth, grid, result.transform, sitk.sitkLinear, 0.0)))
    return warped


def save(array: NDArray[np.float64], grid: sitk.Image, path: Path) -> None:
    """Write uint8 voxels, gzipped without a time."""
    image = sitk.GetImageFromArray(np.clip(np.rint(array), 0, 255).astype(np.uint8))
    image.CopyInformation(grid)
    path.write_bytes(gzip.compress(images.from_itk(image).to_bytes(), 9, mtime=0))


def main() -> None:
    """Average all label maps of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelmaps", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    mni = mni_brain()
    grid = template_grid(mni)
    paths = sorted(arguments.labelmaps.glob("seg_*.nii.gz"))
    sums = np.zeros((3, *grid.GetSize()[::-1]))
    for path in paths:
        print(path.name, flush=True)
        sums += to_template(images.conform(nib.load(path)), mni, grid)
    seen = np.maximum(sums[2], 1)  # the fields of view end at different heights
    head, brain = sums[0] / seen, sums[1] / seen
    arguments.out.mkdir(parents=True, exist_ok=True)
    save(
        np.rint(head / 2) * 4, grid, arguments.out / "head.nii.gz"
    )  # white matter at 220 of 255; steps of 4 keep it small
    save(np.rint(brain * 51) * 5, grid, arguments.out / "brain_probability.nii.gz")


if __name__ == "__main__":
    main()
