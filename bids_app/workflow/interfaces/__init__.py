"""Nipype interfaces, one for each step. No science, no names."""

from bids_app.workflow.interfaces.base import StepInterface
from bids_app.workflow.interfaces.diffusion import LesionMask, MeasureMap, SharedBias, SharedDeface, SharedMask
from bids_app.workflow.interfaces.measure import Measure
from bids_app.workflow.interfaces.morphometry import Regions, Thickness, Vbm
from bids_app.workflow.interfaces.native import Bias, Deface, Denoise, Mask, Segment
from bids_app.workflow.interfaces.registration import Atlas, AtlasThroughTemplate, Coregister
from bids_app.workflow.interfaces.spaces import Normalize, Resample
from bids_app.workflow.interfaces.tissue import SegmentTissue, TissueInSpace
from bids_app.workflow.plan import Task
from bids_app.workflow.plan.tissue import TISSUE

__all__ = ["INTERFACES", "StepInterface", "interface_of"]

#: The interface of each step.
INTERFACES: dict[str, type[StepInterface]] = {
    "mask": Mask,
    "deface": Deface,
    "lesion": LesionMask,
    "denoise": Denoise,
    "bias": Bias,
    "coregister": Coregister,
    "atlas": Atlas,
    "resample": Resample,
    "normalize": Normalize,
    "segment": Segment,
    "vbm": Vbm,
    "regions": Regions,
    "thickness": Thickness,
    "measure": Measure,
}

#: Those of an image that takes mask, face and bias field from another one of its diffusion group.
_OF_FOLLOWERS: dict[str, type[StepInterface]] = {"mask": SharedMask, "deface": SharedDeface, "bias": SharedBias}


#: Those of the tissue segmentation.
_OF_TISSUE: dict[str, type[StepInterface]] = {"segment": SegmentTissue, "resample": TissueInSpace}


def interface_of(task: Task) -> type[StepInterface]:
    """The interface that does a task."""
    part = task.series.diffusion
    if part is not None and part.role == "adc" and task.step == "measure":
        return MeasureMap
    if task.variant == TISSUE:
        return _OF_TISSUE[task.step]
    if task.series.follows and task.step in _OF_FOLLOWERS:
        return _OF_FOLLOWERS[task.step]
    if "through" in task.parameters:
        return AtlasThroughTemplate
    return INTERFACES[task.step]
