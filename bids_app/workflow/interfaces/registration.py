"""Interfaces of registration: a series to the session's reference, the reference to an atlas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File

from bids_app.steps import images
from bids_app.workflow.interfaces.base import (
    LesionInputSpec,
    StepInputSpec,
    StepInterface,
    conformed,
    conformed_mask,
    stored,
    titled,
)


class CoregisterInputSpec(LesionInputSpec):
    image = File(exists=True, mandatory=True)
    brain_mask = File(exists=True, mandatory=True)
    reference_image = File(exists=True, mandatory=True)
    reference_brain_mask = File(exists=True, mandatory=True)
    reference_lesion = File(exists=True)


class Coregister(StepInterface):
    """Rigid transform of a series to the session's reference."""

    input_spec = CoregisterInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.registration import register

        moving = conformed(self.inputs.image)
        fixed_lesion = self.inputs.reference_lesion
        lesions = (stored(fixed_lesion) if isinstance(fixed_lesion, str) else None, self.lesion_on(moving))
        result = register(
            conformed(self.inputs.reference_image), moving, kind="rigid",
            fixed_mask=conformed_mask(self.inputs.reference_brain_mask),
            moving_mask=conformed_mask(self.inputs.brain_mask), fixed_lesion=lesions[0], moving_lesion=lesions[1],
            **self.computing(),
        )  # fmt: skip
        facts = registration_facts(result)
        said = self.said("ANTs, Mattes mutual information", Settings=dict(result.settings), **titled(facts))
        if any(lesion is not None for lesion in lesions):
            said["Method"]["LesionLeftOut"] = True
        return {"to_reference": (result.transform, said)}, facts


class AtlasInputSpec(LesionInputSpec):
    image = File(exists=True, mandatory=True)
    brain_mask = File(exists=True, mandatory=True)


class Atlas(StepInterface):
    """Transform of the reference to an atlas, found between the two brains."""

    input_spec = AtlasInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.assets import load_space
        from bids_app.steps.registration import register

        atlas = next(each for each in self.context.spaces if each.label == self.task.space.label)
        brain, brain_mask = load_space(atlas.finest)
        mask = conformed_mask(self.inputs.brain_mask)
        moving = conformed(self.inputs.image)
        moving = images.like(np.where(images.mask_of(mask), images.array_of(moving), 0), moving)
        lesion = self.lesion_on(moving)
        result = register(
            brain, moving, kind=self.context.settings.atlas_registration, fixed_mask=brain_mask, moving_mask=mask,
            moving_lesion=lesion, **self.computing(),
        )  # fmt: skip
        facts = registration_facts(result)
        said = self.said("ANTs, Mattes mutual information", Settings=dict(result.settings), **titled(facts))
        if lesion is not None:
            said["Method"]["LesionLeftOut"] = True
        made: dict[str, Any] = {"to_atlas": (result.transform, said)}
        if "from_atlas" in self.task.targets:
            made["from_atlas"] = (result.inverse, said)
        return made, facts


class AtlasThroughTemplateInputSpec(StepInputSpec):
    to_template = File(exists=True, mandatory=True)
    template_to_atlas = File(exists=True, mandatory=True)
    template_from_atlas = File(exists=True)


class AtlasThroughTemplate(StepInterface):
    """The reference's transform to an atlas by way of the within-subject template: composed, not searched for."""

    input_spec = AtlasThroughTemplateInputSpec

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        from bids_app.steps.registration import read_transform

        to_template = read_transform(Path(self.inputs.to_template))
        said = self.said("composed: to the within-subject template, and from there")
        made: dict[str, Any] = {
            "to_atlas": (composed(to_template, read_transform(Path(self.inputs.template_to_atlas))), said)
        }
        if "from_atlas" in self.task.targets:
            back = read_transform(Path(self.inputs.template_from_atlas))
            made["from_atlas"] = (composed(back, to_template.GetInverse()), said)
        return made, {}


def composed(later: Any, first: Any) -> Any:
    """One transform that does what `first` and then `later` do to a point; without nesting, as `.h5` wants it."""
    import SimpleITK as sitk

    parts = []
    for one in (later, first):  # the last of a composite acts first
        if one.GetName() == "CompositeTransform":
            one = sitk.CompositeTransform(one)
            parts += [one.GetNthTransform(number) for number in range(one.GetNumberOfTransforms())]
        else:
            parts.append(one)
    return sitk.CompositeTransform(parts)


def registration_facts(result: Any) -> dict[str, Any]:
    return {
        "mutual_information": round(result.similarity, 4),
        "mutual_information_before": round(result.similarity_before, 4),
        "rotation_deg": round(result.rotation_deg, 2),
        "translation_mm": round(result.translation_mm, 2),
        "attempts": result.attempts,
    }
