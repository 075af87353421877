"""The table of products: everything that a session can leave in the output, one row each.

A reader finds here every file that the app can write for a session, and a new output is one new row: which step makes
it, its entities and suffix, extension, data type, and what its sidecar must say. Names follow BIDS derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

SpaceKind = Literal["native", "isotropic", "reference", "atlas"]

#: Placeholders in the table, filled for each series and space by `outputs.tree`.
SUFFIX = "{suffix}"  # of the series: T1w, FLAIR, …
SPACE = "{space}"  # of the output: the reference's suffix, or the atlas' name
REFERENCE = "{reference}"  # the suffix of the session's reference
VARIANT = "{variant}"  # brainzscore, minmax, …
RESOLUTION = "{res}"  # label of the atlas' resolution


@dataclass(frozen=True)
class Product:
    """One row: a kind of file.

    Attributes
    ----------
    step
        The step that makes it.
    spaces
        Where it exists.
    entities
        What is added to the series' own entities in the name, with placeholders.
    suffix, extension
        As in BIDS; the suffix can be the series' own (`SUFFIX`).
    dtype
        Data type on disk; `None` keeps the source's.
    stripped
        Value of `SkullStripped`; `None` where it does not apply (masks, transforms).
    sources
        Products (native, of the same series) or "raw" that it is made from.
    fields
        Further fixed sidecar fields.
    """

    step: str
    spaces: tuple[SpaceKind, ...]
    entities: dict[str, str]
    suffix: str
    sources: tuple[str, ...]
    extension: str = ".nii.gz"
    dtype: str | None = "float32"
    stripped: bool | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def is_image(self) -> bool:
        """Whether it is an MR image (and not a mask, a field or a transform)."""
        return self.suffix == SUFFIX and self.stripped is not None


_BRAIN = {"label": "brain", "desc": SUFFIX}
_FACE = {"label": "face", "desc": SUFFIX}
_LESION = {"label": "lesion", "desc": SUFFIX}
_SYNTH = {"seg": "synth", "desc": SUFFIX}
_TISSUE = {"seg": "tissue", "desc": SUFFIX}
_VENTRICLES = {"seg": "ventricles", "desc": SUFFIX}
_FROM_TISSUE = ("preproc", "brain_mask", "intracranial_mask", "segmentation")
#: What each volume of the stacked probability maps is, in their order; counted from 1, the labels of `tissue_dseg`.
TISSUES = ("GM", "WM", "CSF")
_STACK = {"LabelMap": list(TISSUES)}


def _label(tissue: str) -> dict[str, str]:
    return {"label": tissue, "desc": SUFFIX}


_OUT: tuple[SpaceKind, ...] = ("isotropic", "reference", "atlas")
_SHARED: tuple[SpaceKind, ...] = ("reference", "atlas")
_SPACE = {"space": SPACE, "res": RESOLUTION}

# fmt: off
PRODUCTS: dict[str, Product] = {
    # what            step          where        entities                   suffix   made from
    "brain_mask":     Product("mask", ("native",), _BRAIN, "mask", ("raw",), dtype="uint8", fields={"Type": "Brain"}),
    "face_mask":      Product("deface", ("native",), _FACE, "mask", ("brain_mask",), dtype="uint8",
                              fields={"Type": "Face"}),
    "defaced":        Product("deface", ("native",), {"desc": "defaced"}, SUFFIX, ("raw", "face_mask"), dtype=None,
                              stripped=False),
    "lesion_mask":    Product("lesion", ("native",), _LESION, "mask", ("raw",), dtype="uint8",
                              fields={"Type": "Lesion"}),
    "denoised":       Product("denoise", ("native",), {"desc": "denoised"}, SUFFIX, ("defaced",), stripped=False),
    "biasfield":      Product("bias", ("native",), {"desc": "biasfield"}, SUFFIX, ("raw", "brain_mask"),
                              stripped=False),
    "preproc":        Product("bias", ("native",), {"desc": "preproc"}, SUFFIX, ("defaced", "biasfield"),
                              stripped=False),
    "segmentation":   Product("segment", ("native",), _SYNTH, "dseg", ("raw",), dtype="uint8"),
    "segmentation_table": Product("segment", ("native",), _SYNTH, "dseg", ("raw",), extension=".tsv"),
    "probseg_gm":     Product("segment", ("native",), _label("GM"), "probseg", _FROM_TISSUE),
    "probseg_wm":     Product("segment", ("native",), _label("WM"), "probseg", _FROM_TISSUE),
    "probseg_csf":    Product("segment", ("native",), _label("CSF"), "probseg", _FROM_TISSUE),
    "probseg":        Product("segment", ("native",), {"desc": SUFFIX}, "probseg", _FROM_TISSUE, fields=_STACK),
    "tissue_dseg":    Product("segment", ("native",), _TISSUE, "dseg", _FROM_TISSUE, dtype="uint8"),
    "tissue_table":   Product("segment", ("native",), _TISSUE, "dseg", _FROM_TISSUE, extension=".tsv"),
    "ventricles":     Product("segment", ("native",), _VENTRICLES, "dseg", _FROM_TISSUE, dtype="uint8"),
    "ventricles_table": Product("segment", ("native",), _VENTRICLES, "dseg", _FROM_TISSUE, extension=".tsv"),
    # (by the step segment where the brain mask is not synth's)
    "intracranial_mask": Product("mask", ("native",), {"label": "intracranial", "desc": SUFFIX}, "mask", ("raw",),
                                 dtype="uint8", fields={"Type": "ROI"}),
    # (of the participant, but for the transform: `workflow.individual`)
    "template":       Product("template", ("native",), {"space": "individual", "desc": "template"}, SUFFIX, (),
                              stripped=False),
    "template_mask":  Product("template", ("native",), {"space": "individual", **_BRAIN}, "mask", (), dtype="uint8",
                              fields={"Type": "Brain"}),
    "template_lesion": Product("template", ("native",), {"space": "individual", **_LESION}, "mask", (), dtype="uint8",
                              fields={"Type": "Lesion"}),
    "to_template":    Product("template", ("reference",), {"from": SUFFIX, "to": "individual", "mode": "image"}, "xfm",
                              ("preproc",), extension=".mat"),
    "template_to_atlas": Product("atlas", ("atlas",), {"from": "individual", "to": SPACE, "mode": "image"}, "xfm",
                              ("template", "template_mask"), extension=".mat"),
    "atlas_to_template": Product("atlas", ("atlas",), {"from": SPACE, "to": "individual", "mode": "image"}, "xfm",
                              ("template", "template_mask"), extension=".h5"),
    "to_reference":   Product("coregister", ("reference",), {"from": SUFFIX, "to": REFERENCE, "mode": "image"}, "xfm",
                              ("preproc", "brain_mask"), extension=".mat"),
    "to_atlas":       Product("atlas", ("atlas",), {"from": SUFFIX, "to": SPACE, "mode": "image"}, "xfm",
                              ("preproc", "brain_mask"), extension=".mat"),
    "from_atlas":     Product("atlas", ("atlas",), {"from": SPACE, "to": SUFFIX, "mode": "image"}, "xfm",
                              ("preproc", "brain_mask"), extension=".h5"),
    "space_preproc":  Product("resample", _OUT, {"space": SPACE, "res": RESOLUTION, "desc": "preproc"}, SUFFIX,
                              ("preproc",), stripped=False),
    "space_brain":    Product("resample", _OUT, {"space": SPACE, "res": RESOLUTION, "desc": "brain"}, SUFFIX,
                              ("preproc",), stripped=True),
    "space_brain_mask": Product("resample", _OUT, {"space": SPACE, "res": RESOLUTION, **_BRAIN}, "mask",
                              ("brain_mask",), dtype="uint8", fields={"Type": "Brain"}),
    "space_face_mask": Product("resample", _OUT, {"space": SPACE, "res": RESOLUTION, **_FACE}, "mask",
                              ("face_mask",), dtype="uint8", fields={"Type": "Face"}),
    "space_lesion_mask": Product("resample", _OUT, {"space": SPACE, "res": RESOLUTION, **_LESION}, "mask",
                              ("lesion_mask",), dtype="uint8", fields={"Type": "Lesion"}),
    "space_segmentation": Product("resample", ("reference", "atlas"), {"space": SPACE, "res": RESOLUTION, **_SYNTH},
                              "dseg", ("segmentation",), dtype="uint8"),
    "space_probseg_gm": Product("resample", _SHARED, {**_SPACE, **_label("GM")}, "probseg", ("probseg_gm",)),
    "space_probseg_wm": Product("resample", _SHARED, {**_SPACE, **_label("WM")}, "probseg", ("probseg_wm",)),
    "space_probseg_csf": Product("resample", _SHARED, {**_SPACE, **_label("CSF")}, "probseg", ("probseg_csf",)),
    "space_probseg":  Product("resample", _SHARED, {**_SPACE, "desc": SUFFIX}, "probseg", ("probseg",), fields=_STACK),
    "space_tissue_dseg": Product("resample", _SHARED, {**_SPACE, **_TISSUE}, "dseg", ("tissue_dseg",), dtype="uint8"),
    "space_tissue_table": Product("resample", _SHARED, {**_SPACE, **_TISSUE}, "dseg", ("tissue_dseg",),
                              extension=".tsv"),
    "modulated_gm":   Product("vbm", ("atlas",), {**_SPACE, "label": "GM", "desc": "modulated"}, "probseg",
                              ("probseg_gm",)),
    "smoothed_gm":    Product("vbm", ("atlas",), {**_SPACE, "label": "GM", "desc": f"smoothed{VARIANT}"}, "probseg",
                              ("probseg_gm",)),
    "parcellation":   Product("regions", ("native",), {"seg": VARIANT, "desc": SUFFIX}, "dseg", ("preproc",),
                              dtype="int32"),
    "parcellation_table": Product("regions", ("native",), {"seg": VARIANT, "desc": SUFFIX}, "dseg", ("preproc",),
                              extension=".tsv"),
    "regions_stats":  Product("regions", ("native",), {"seg": VARIANT, "desc": "regions"}, "stats", ("probseg_gm",),
                              extension=".tsv"),
    "thickness":      Product("thickness", ("native",), {"desc": SUFFIX}, "thickness", ("probseg_gm", "probseg_wm")),
    "thickness_stats": Product("thickness", ("native",), {"desc": "thickness"}, "stats", ("thickness",),
                              extension=".tsv"),
    "native_brain":   Product("resample", ("native",), {"desc": "brain"}, SUFFIX, ("preproc", "brain_mask"),
                              stripped=True),
    "native_variant": Product("normalize", ("native",), {"desc": VARIANT}, SUFFIX, ("preproc", "brain_mask")),
    "space_variant":  Product("normalize", _OUT, {"space": SPACE, "res": RESOLUTION, "desc": VARIANT}, SUFFIX,
                              ("preproc", "brain_mask")),
}
# fmt: on
