"""Tasks of the tissue segmentation of the reference, native and in the spaces that its series meet in.

Any task of a session's reference can leave volumes for the session's table: a fact `volumes`, a list of rows with the
keys `method`, `structure`, `hemisphere` (left, right or both) and `volume_ml` (see `outputs.volumes_table`).
"""

from __future__ import annotations

from dataclasses import replace

from bids_app.outputs.tree import NATIVE, OutputSpace, output_uri, target
from bids_app.steps.tissue import VERSION
from bids_app.workflow.plan.ledger import Ledger
from bids_app.workflow.plan.tasks import FileInput, task_name

#: The variant of the step `segment` that tells grey matter, white matter and fluid apart.
TISSUE = "tissue"
#: What it makes, native; in other spaces each is the product `space_<role>`. None of these files is made where the
#: gate of the segmentation is closed (see `steps.tissue.gate`): what reads them must do without.
ROLES = ("probseg_gm", "probseg_wm", "probseg_csf", "probseg", "tissue_dseg", "tissue_table")


def tissue(ledger: Ledger) -> None:
    """Tissue of the reference, by priors of the first atlas; without its registration the task tells why not."""
    series = ledger.reference
    name = task_name("segment", series, NATIVE, TISSUE)
    if "segment" not in ledger.settings.steps and name not in ledger.manifest.tasks:
        return
    if not all(ledger.usable(task_name(step, series, NATIVE)) for step in ("mask", "bias")):
        return
    made = {role: target(role, series) for role in ROLES}
    files = {**ledger.moving(series), **_priors(ledger)}
    first = ledger.context.spaces[0] if ledger.context.spaces else None
    parameters = {
        "version": VERSION,
        "atlas": first.label if first else None,
        "registration": ledger.settings.atlas_registration,
        "contrast": series.contrast,
        "contrast_agent": series.contrast_agent,
        **ledger.computing,
    }
    through = [output_uri(file.path) for role, file in files.items() if role.endswith("atlas")]
    for role, one in made.items():
        made[role] = replace(one, sidecar={**one.sidecar, "Sources": [*one.sidecar["Sources"], *through]})
    ledger.add("segment", series, made, parameters, files, variant=TISSUE)


def tissue_files(ledger: Ledger, roles: tuple[str, ...] = ROLES) -> dict[str, FileInput]:
    """Native files of the tissue segmentation by role; empty where none is planned. The gate can leave them unmade."""
    name = task_name("segment", ledger.reference, NATIVE, TISSUE)
    if not ledger.usable(name):
        return {}
    return {role: ledger.file("segment", ledger.reference, role, variant=TISSUE) for role in roles}


def tissue_in(ledger: Ledger, space: OutputSpace) -> None:
    """The same in a space that the session's series meet in: probabilities linear, labels as labels."""
    maps = tissue_files(ledger)
    if not maps or not space.is_shared or "segment" not in ledger.settings.steps:
        return
    files = {**ledger.chain(ledger.reference, space), **maps}
    through = tuple(file.path for role, file in files.items() if role == "to_atlas")
    made = {role: target(f"space_{role}", ledger.reference, space, transforms=through) for role in ROLES}
    files = {field: file for field, file in files.items() if field not in ("face_mask", "tissue_table", "probseg")}
    ledger.add("resample", ledger.reference, made, {}, files, space, variant=TISSUE)


def _priors(ledger: Ledger) -> dict[str, FileInput]:
    """The transforms to the first atlas and, where it is not linear, back."""
    if not ledger.context.spaces:
        return {}
    space = ledger.context.spaces[0].output
    name = task_name("atlas", ledger.reference, space)
    if not ledger.usable(name):
        return {}
    return {
        role: ledger.file("atlas", ledger.reference, role, space)
        for role in ("to_atlas", "from_atlas")
        if role in ledger.tasks[name].targets
    }
