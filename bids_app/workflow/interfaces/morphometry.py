"""Interfaces of what stands on the tissue of the reference: modulated grey matter, regions, thickness."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File, traits

from bids_app.outputs.morphometry_tables import REGION_COLUMNS, THICKNESS_COLUMNS, labels_table, stats_table
from bids_app.steps import images
from bids_app.workflow.interfaces.base import StepInputSpec, StepInterface, stored
from bids_app.workflow.interfaces.tissue import GATE

log = logging.getLogger("bids_app")

_NO_TISSUE = "it has no tissue segmentation"
#: Of the native volume that the modulated map may miss before it is warned of.
_TOLERANCE = 0.03
#: Mean thickness of a hemisphere's cortex in healthy adults, generously (mm; about 2.5: Fischl and Dale 2000,
#: doi:10.1073/pnas.200033797; 0.3 to 0.4 more as it is measured here, see docs/regions.md).
_PLAUSIBLE_MM = (2.0, 3.5)


class _OnTissueInputSpec(StepInputSpec):
    """The maps need not exist: the gate of the segmentation may be closed."""

    probseg_gm = traits.Str()
    to_atlas = File(exists=True)
    from_atlas = File(exists=True, desc="where the transform to the atlas is not linear")


class _OnTissue(StepInterface):
    """What they share: the grey matter, and the way between the reference and the atlas."""

    input_spec = _OnTissueInputSpec

    def _there(self) -> Any:
        from bids_app.steps.registration import read_transform

        return [read_transform(Path(self.inputs.to_atlas))]

    def _back(self) -> Any:
        """From native points to the atlas."""
        from bids_app.steps.registration import read_transform

        if isinstance(self.inputs.from_atlas, str):
            return [read_transform(Path(self.inputs.from_atlas))]
        return [each.GetInverse() for each in self._there()]

    def _closed(self) -> bool:
        return not Path(self.inputs.probseg_gm).is_file()


class Vbm(_OnTissue):
    """Modulated and smoothed grey matter in an atlas."""

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.assets import space_grid
        from bids_app.steps.modulation import modulate, smooth
        from bids_app.steps.resampling import Grid

        if self._closed():
            return {}, {GATE: _NO_TISSUE}
        settings = self.context.settings
        atlas = next(each for each in self.context.spaces if each.output == self.task.space)
        found = modulate(
            stored(self.inputs.probseg_gm), Grid(*space_grid(atlas.space)), self._there(), part=settings.modulation,
            back=self._back(), threads=settings.omp_nthreads,
        )  # fmt: skip
        volume = found.atlas_ml * (found.linear_determinant if settings.modulation == "nonlinear" else 1.0)
        facts = {
            "grey_native_ml": round(found.native_ml, 3),
            "grey_atlas_ml": round(found.atlas_ml, 3),
            "grey_kept": round(volume / found.native_ml, 5) if found.native_ml else None,
            "grey_outside_ml": None if found.outside_ml is None else round(found.outside_ml, 3),
            "folded": round(found.folded, 6),
        }
        if found.native_ml and abs(volume / found.native_ml - 1) > _TOLERANCE:
            log.warning(
                "%s: the modulated grey matter in %s has %.1f %% of the native volume; %.1f ml lie outside of the "
                "atlas' grid", self.task.series.name, atlas.label, 100 * volume / found.native_ml,
                found.outside_ml or 0.0,
            )  # fmt: skip
        said = self.said(
            "probability times the determinant of the Jacobian", Units="native volume per atlas volume",
            LinearDeterminant=round(found.linear_determinant, 6), **_named(facts),
        )  # fmt: skip
        made: dict[str, Any] = {"modulated": (found.image, said)}
        if "smoothed" in self.task.targets:
            made["smoothed"] = (smooth(found.image, settings.smoothing_fwhm), said)
        return made, facts


class Regions(_OnTissue):
    """A parcellation on the reference's own grid, and the volumes of its regions."""

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.assets.parcellations import load_parcellation
        from bids_app.steps.regions import carried, parts_of, sides, volumes
        from bids_app.steps.resampling import Grid

        if self._closed():
            return {}, {GATE: _NO_TISSUE}
        parcellation = self.context.parcellation
        assert parcellation is not None
        grey = stored(self.inputs.probseg_gm)
        grid, back = Grid.of(grey), self._back()
        labels = carried(load_parcellation(parcellation), grid, back)
        side = sides(grid, back, self.context.midline_mm, threads=self.context.settings.omp_nthreads)
        parts = parts_of(labels, side, parcellation.regions)
        rows = [
            [parcellation.name, part.region.index, part.region.name, part.hemisphere, len(part.voxels), whole, tissue]
            for part, (whole, tissue) in zip(parts, volumes(parts, grey), strict=True)
        ]
        empty = [part.region.name for part in parts if not len(part.voxels)]
        said = self.said("labels by linear weights", Parcellation=parcellation.source)
        made = {
            "parcellation": (labels, said),
            "parcellation_table": (labels_table(parcellation.regions), {}),
            "regions_stats": (stats_table(REGION_COLUMNS, rows), REGION_COLUMNS),
        }
        return made, {"regions": len(parts), "regions_empty": empty[:20]}


class ThicknessInputSpec(StepInputSpec):
    probseg_gm = traits.Str()
    probseg_wm = traits.Str()
    segmentation = File(exists=True, mandatory=True)
    parcellation = traits.Str()


class Thickness(StepInterface):
    """Cortical thickness: a map in mm, and its summary for each hemisphere and region."""

    input_spec = ThicknessInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.regions import LEFT, RIGHT, parts_of
        from bids_app.steps.thickness import cortex_of, cortical_thickness, largest_edge_problem, summary

        if not Path(self.inputs.probseg_gm).is_file():
            return {}, {GATE: _NO_TISSUE}
        grey, white = stored(self.inputs.probseg_gm), stored(self.inputs.probseg_wm)
        if problem := largest_edge_problem(grey):
            log.warning("%s: no cortical thickness: %s", self.task.series.name, problem)
            return {}, {"thickness_gate": problem}
        structures = np.asanyarray(stored(self.inputs.segmentation).dataobj)
        within, beyond, left, right = _places(structures)
        cortex = cortex_of(grey, white, within=within, beyond=beyond)
        found = cortical_thickness(cortex)
        side = images.like(_nearest_side(left, right, LEFT, RIGHT), grey)
        on = np.asanyarray(side.dataobj)
        rows = []
        for name, number in (("left", LEFT), ("right", RIGHT)):
            rows.append(_row("cortex", None, "cerebral cortex", name, summary(found, np.flatnonzero(on == number))))
        facts: dict[str, Any] = {f"thickness_{row[3]}_mm": row[5] for row in rows}
        if problem := implausible(list(facts.values())):
            log.warning("%s: %s", self.task.series.name, problem)
            facts["thickness_problem"] = problem
        parcellation = self.context.parcellation
        labels = self.inputs.parcellation if isinstance(self.inputs.parcellation, str) else None
        if parcellation is not None and labels is not None and Path(labels).is_file():
            for part in parts_of(stored(labels), side, parcellation.regions):
                one, told = part.region, summary(found, part.voxels)
                rows.append(_row(parcellation.name, one.index, one.name, part.hemisphere, told))
        said = self.said(
            "distance to the white matter, projected along its slope", Units="mm",
            Within="deep grey matter and ventricles of synth's segmentation count as white matter",
            LeftOut="cerebellum and brain stem of synth's segmentation",
        )  # fmt: skip
        made = {
            "thickness": (found, said),
            "thickness_stats": (stats_table(THICKNESS_COLUMNS, rows), THICKNESS_COLUMNS),
        }
        return made, facts


def implausible(means_mm: Sequence[float | None]) -> str:
    """What is wrong with the mean thickness of the hemispheres; empty where it is an adult's."""
    low, high = _PLAUSIBLE_MM
    if all(mean is not None and low <= mean <= high for mean in means_mm):
        return ""
    told = " and ".join("none" if mean is None else f"{mean:.1f}" for mean in means_mm)
    return (
        f"a mean cortical thickness of {told} mm is not an adult's ({low:g} to {high:g} mm): do not use these numbers"
    )


def _row(parcellation: str, index: int | None, name: str, hemisphere: str, told: Any) -> list[Any]:
    return [parcellation, index, name, hemisphere, told.voxels, told.mean_mm, told.sd_mm, told.median_mm]


def _places(structures: Any) -> tuple[Any, Any, Any, Any]:
    """Masks of what the cortex surrounds, of what has no cerebral cortex, and of the left and the right cerebrum."""
    from bids_app.steps.brain_mask.synth import classes_table

    def where(*words: str) -> Any:
        return np.isin(structures, [i for i, name in classes_table() if any(word in name for word in words)])

    return (
        where("deep grey", "ventricle"), where("cerebellum", "brain stem"),
        where("left white", "left cortex", "left deep"), where("right white", "right cortex", "right deep"),
    )  # fmt: skip


def _nearest_side(left: Any, right: Any, left_number: int, right_number: int) -> Any:
    """For each voxel the hemisphere whose cerebrum is nearer (in voxels)."""
    from scipy.ndimage import distance_transform_edt

    nearer = distance_transform_edt(~left) <= distance_transform_edt(~right)
    return np.where(nearer, left_number, right_number).astype(np.uint8)


def _named(facts: dict[str, Any]) -> dict[str, Any]:
    from bids_app.workflow.interfaces.base import titled

    return titled({key: value for key, value in facts.items() if value is not None})
