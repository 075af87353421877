"""Tasks that stand on the tissue of the reference: modulated grey matter, regions of a parcellation, thickness.

Where the gate of the tissue segmentation is closed they make no file either, and the manifest says why.
"""

from __future__ import annotations

import re
from dataclasses import replace

from bids_app.outputs.tree import NATIVE, OutputSpace, Target, output_uri, target
from bids_app.steps import modulation, regions, thickness
from bids_app.workflow.plan.ledger import Ledger
from bids_app.workflow.plan.tasks import FileInput, task_name
from bids_app.workflow.plan.tissue import tissue_files


def fwhm_label(fwhm_mm: float) -> str:
    """How a kernel is called in file names: 8, or 6p5 for 6.5 mm."""
    return f"{fwhm_mm:g}".replace(".", "p")


def vbm(ledger: Ledger, space: OutputSpace) -> None:
    """Modulated and smoothed grey matter of the reference in an atlas."""
    series, settings = ledger.reference, ledger.settings
    found = tissue_files(ledger, ("probseg_gm",))
    if "vbm" not in settings.steps or space.kind != "atlas" or not found:
        return
    files = {**found, **_way(ledger, space)}
    through = tuple(files[role].path for role in ("to_atlas",))
    made = {"modulated": target("modulated_gm", series, space, transforms=through)}
    if settings.smoothing_fwhm:
        name = fwhm_label(settings.smoothing_fwhm)
        made["smoothed"] = target("smoothed_gm", series, space, variant=name, transforms=through)
    parameters = {
        "version": modulation.VERSION,
        "modulation": settings.modulation,
        "smoothing_fwhm": settings.smoothing_fwhm,
        "atlas": space.label,
    }
    ledger.add("vbm", series, made, parameters, files, space)


def parcellate(ledger: Ledger) -> None:
    """The parcellation on the reference's own grid, and the volumes of its regions."""
    parcellation, atlas = ledger.context.parcellation, ledger.context.parcellation_space
    found = tissue_files(ledger, ("probseg_gm",))
    if "regions" not in ledger.settings.steps or parcellation is None or atlas is None or not found:
        return
    series = ledger.reference
    files = {**found, **_way(ledger, atlas.output)}
    made = {role: target(role, series, variant=parcellation.name) for role in ("parcellation", "parcellation_table")}
    made["regions_stats"] = target("regions_stats", series, variant=parcellation.name)
    back = files.get("from_atlas") or files["to_atlas"]
    made = {role: _from(one, back) for role, one in made.items()}
    parameters = {
        "version": regions.VERSION,
        "parcellation": parcellation.source,
        "content": parcellation.content,
        "atlas": atlas.label,
    }
    ledger.add("regions", series, made, parameters, files)


def cortex(ledger: Ledger) -> None:
    """Cortical thickness of the reference; per region where there is a parcellation."""
    series = ledger.reference
    found = tissue_files(ledger, ("probseg_gm", "probseg_wm"))
    structures = task_name("segment", series, NATIVE)
    if "thickness" not in ledger.settings.steps or not found or not ledger.usable(structures):
        return
    files = {**found, "segmentation": ledger.file("segment", series, "segmentation")}
    made = {"thickness": target("thickness", series), "thickness_stats": target("thickness_stats", series)}
    parameters = {"version": thickness.VERSION}
    parcellated, parcellation = task_name("regions", series, NATIVE), ledger.context.parcellation
    if parcellation is not None and ledger.usable(parcellated):
        files["parcellation"] = ledger.file("regions", series, "parcellation")
        parameters["parcellation"] = parcellation.source
    ledger.add("thickness", series, made, parameters, files)


def _way(ledger: Ledger, space: OutputSpace) -> dict[str, FileInput]:
    """The transforms of the reference to an atlas and, where it is not linear, back."""
    name = task_name("atlas", ledger.reference, space)
    files = {"to_atlas": ledger.file("atlas", ledger.reference, "to_atlas", space)}
    if name in ledger.tasks and "from_atlas" in ledger.tasks[name].targets:
        files["from_atlas"] = ledger.file("atlas", ledger.reference, "from_atlas", space)
    return files


def _from(made: Target, transform: FileInput) -> Target:
    """A target with a transform among its sources; a table's sidecar is its dictionary alone."""
    if made.path.suffix == ".tsv" and re.search(r"_stats$", made.path.stem) is not None:
        return made
    return replace(made, sidecar={**made.sidecar, "Sources": [*made.sidecar["Sources"], output_uri(transform.path)]})
