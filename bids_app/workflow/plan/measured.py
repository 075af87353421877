"""Tasks that measure a series."""

from __future__ import annotations

from bids_app.inputs.series import Series
from bids_app.outputs.tree import NATIVE
from bids_app.workflow.plan.ledger import Ledger, is_map
from bids_app.workflow.plan.tasks import FileInput, task_name
from bids_app.workflow.plan.tissue import tissue_files


def measure(ledger: Ledger, series: Series) -> None:
    """Quality numbers of a series, from what there is of its files; only the brain mask has to be."""
    files = {"brain_mask": ledger.file("mask", series, "brain_mask")}
    first = ledger.context.spaces[0] if ledger.context.spaces else None
    wanted = [("biasfield", "bias", series, NATIVE), ("segmentation", "segment", series, NATIVE)]
    lead = ledger.lead(series)
    if lead is not ledger.reference:
        wanted.append(("to_reference", "coregister", lead, NATIVE))
    if first is not None:
        wanted += [(role, "atlas", ledger.reference, first.output) for role in ("to_atlas", "from_atlas")]
    for role, step, of, space in wanted:
        name = task_name(step, of, space)
        if (
            name in ledger.tasks
            and role in ledger.tasks[name].targets
            and not {name} & {*ledger.blocked, *ledger.failed}
        ):
            files[role] = ledger.file(step, of, role, space)
    if lead is ledger.reference or "to_reference" in files:
        files |= tissue_files(ledger, ("probseg_gm", "probseg_wm", "probseg_csf"))
    if "to_reference" in files:
        files.update(ledger.fixed(ledger.reference))
    elif lead is not ledger.reference:  # there is no way to the atlas
        files = {field: file for field, file in files.items() if not field.endswith("atlas")}
    normalizer = next(iter(ledger.settings.wanted_normalizers()), None)
    parameters = {
        "reference": series is ledger.reference,
        "atlas": first.label if first else None,
        "normalize": normalizer,
        "contrast": series.contrast,
        **ledger.standard(series, normalizer),
    }
    files |= ledger.lesion(series)
    if is_map(series):
        files = {"brain_mask": files["brain_mask"], **_maps(ledger, series)}
    ledger.add("measure", series, {}, parameters, files, raw=True)


def _maps(ledger: Ledger, series: Series) -> dict[str, FileInput]:
    """An ADC map in mm^2/s, and for a computed one the scanner's own of the same group, if there is one."""
    files = {}
    group = [one for one in ledger.by_name.values() if is_map(one) and ledger.lead(one) is ledger.lead(series)]
    others = [one for one in group if one.diffusion and not one.diffusion.made_of]
    if series.diffusion and series.diffusion.made_of and others:
        files["scanner_map"] = min(others, key=lambda one: one.name)
    files["map"] = series
    named = {field: task_name("bias", one, NATIVE) for field, one in files.items()}
    usable = {field for field, name in named.items() if name in ledger.tasks and name not in ledger.failed}
    return {field: ledger.file("bias", one, "preproc") for field, one in files.items() if field in usable}
