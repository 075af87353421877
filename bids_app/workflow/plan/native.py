"""Tasks in a series' native space: mask, face, bias field, lesions, tissue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bids_app.inputs.series import Series
from bids_app.outputs.tree import NATIVE, output_uri, product_uri, raw_uris, target
from bids_app.workflow.plan.ledger import Ledger
from bids_app.workflow.plan.tasks import FileInput, task_name


def native(ledger: Ledger, series: Series) -> None:
    """Mask, deface and bias field: in native space, each series alone."""
    if series.follows:
        _follow(ledger, series)
        return
    extraction = ledger.context.extraction_for(series)
    parameters = {**extraction.parameters(), **ledger.computing}
    made = {"brain_mask": target("brain_mask", series)}
    skull = sees_the_skull(ledger, series)
    if skull:
        made["intracranial_mask"] = target("intracranial_mask", series)
    ledger.add("mask", series, made, {**parameters, "mask": extraction.content}, raw=True)

    mask = {"brain_mask": ledger.file("mask", series, "brain_mask")}
    if ledger.settings.deface:
        made = {"face_mask": target("face_mask", series), "defaced": target("defaced", series)}
        # Only where it is given, so that what passes the face check is the same with and without it.
        allowed = {"allow_face": True} if ledger.settings.allow_face else {}
        inside = {"intracranial_mask": ledger.file("mask", series, "intracranial_mask")} if skull else {}
        ledger.add("deface", series, made, allowed, {**mask, **inside}, raw=True)

    image = {"image": ledger.file("deface", series, "defaced")} if ledger.settings.deface else {}
    sources = [product_uri("defaced", series)] if ledger.settings.deface else raw_uris(series)
    if ledger.settings.denoise and series.diffusion is None:  # see `denoise`
        denoise(ledger, series, {**mask, **image}, sources)
        image = {"image": ledger.file("denoise", series, "denoised")}
        sources = [product_uri("denoised", series)]
    preproc = target("preproc", series)
    preproc = replace(preproc, sidecar={**preproc.sidecar, "Sources": [*sources, product_uri("biasfield", series)]})
    made = {"biasfield": target("biasfield", series), "preproc": preproc}
    parameters = {"contrast": series.contrast, "contrast_agent": series.contrast_agent}
    ledger.add("bias", series, made, parameters, {**mask, **image, **ledger.lesion(series, at_once=True)}, raw=True)


def denoise(ledger: Ledger, series: Series, files: Mapping[str, FileInput], sources: list[str]) -> None:
    """The defaced image without noise, for everything that follows; the mask and the face were found in the raw one.

    No image of a diffusion group: an ADC is a ratio of two of them, which must be filtered alike or not at all, and
    their noise is best told from signal in all directions of the acquisition, before they are averaged.
    """
    made = target("denoised", series)
    made = replace(made, sidecar={**made.sidecar, "Sources": sources})
    ledger.add("denoise", series, {"denoised": made}, {"contrast": series.contrast}, files, raw=True)


def _follow(ledger: Ledger, series: Series) -> None:
    """The same for an image that takes mask, face and, but for an ADC, bias field from its diffusion group."""
    lead, role = ledger.lead(series), series.diffusion.role if series.diffusion else ""
    leader_mask = {"leader_mask": ledger.file("mask", lead, "brain_mask")}
    parameters = ledger.context.extraction_for(series).parameters()
    ledger.add("mask", series, {"brain_mask": target("brain_mask", series)}, parameters, leader_mask, raw=True)
    files = {"brain_mask": ledger.file("mask", series, "brain_mask")}
    preproc, field = target("preproc", series), product_uri("biasfield", lead)
    image = {}
    if ledger.settings.deface:
        made = {"face_mask": target("face_mask", series), "defaced": target("defaced", series)}
        allowed = {"allow_face": True} if ledger.settings.allow_face else {}
        face = {**files, "leader_face": ledger.file("deface", lead, "face_mask")}
        ledger.add("deface", series, made, allowed, face, raw=True)
        image = {"image": ledger.file("deface", series, "defaced")}
        sources = [product_uri("defaced", series)]
    else:
        sources = raw_uris(series)
    if role != "adc":
        files["leader_field"] = ledger.file("bias", lead, "biasfield")
        sources.append(field)
    preproc = replace(preproc, sidecar={**preproc.sidecar, "Sources": sources})
    ledger.add("bias", series, {"preproc": preproc}, {"role": role}, {**files, **image}, raw=True)


def lesion(ledger: Ledger, series: Series) -> None:
    """The lesion masks that were drawn on a series, as one on its grid."""
    drawn = [lesion for lesion in ledger.lesions if lesion.series == series.name]
    if not drawn:
        return
    made = target("lesion_mask", series)
    sources = [f"bids:raw:{lesion.relative}" for lesion in drawn if not lesion.relative.startswith("lesion:")]
    made = replace(made, sidecar={**made.sidecar, "Sources": [*made.sidecar["Sources"], *sources]})
    contents = {f"raw:{lesion.relative}": ledger.inputs[lesion.relative].sha256 for lesion in drawn}
    given = {"masks": tuple(str(lesion.path) for lesion in drawn)}
    ledger.add("lesion", series, {"lesion_mask": made}, given, raw=True, contents=contents)


def segment(ledger: Ledger, series: Series) -> None:
    """Tissue classes and, where the mask's step has none, intracranial mask, from the raw image of any contrast.

    The reference of a session that is part of a within-subject template is looked at without its bias field, in the
    template's pose and grid, so that nothing but the head differs between sessions.
    """
    if "segment" not in ledger.settings.steps and task_name("segment", series, NATIVE) not in ledger.manifest.tasks:
        return
    roles = ["segmentation", "segmentation_table"]
    if not sees_the_skull(ledger, series):
        roles.append("intracranial_mask")
    made = {role: target(role, series) for role in roles}
    files = ledger.template() if series is ledger.reference else {}
    if files:
        files["image"] = ledger.file("bias", series, "preproc")
    through = [output_uri(file.path) for file in files.values()]
    for role, one in made.items():
        made[role] = replace(one, sidecar={**one.sidecar, "Sources": [*one.sidecar["Sources"], *through]})
    if not series.follows:
        ledger.add("segment", series, made, ledger.computing, files, raw=not files)


def sees_the_skull(ledger: Ledger, series: Series) -> bool:
    """Whether the brain mask of a series comes with an intracranial one, in this run or from an earlier one."""
    if "mask" in ledger.settings.steps:
        return ledger.context.extraction_for(series).method == "synth"
    record = ledger.manifest.tasks.get(task_name("mask", series, NATIVE))
    path = str(target("intracranial_mask", series).path)
    return record is not None and path in {file.path for file in record.files}
