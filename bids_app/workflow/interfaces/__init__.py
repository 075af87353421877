"""Nipype interfaces, one for each step. No science, no names."""

from bids_app.workflow.interfaces.base import StepInterface
from bids_app.workflow.interfaces.measure import Measure
from bids_app.workflow.interfaces.native import Bias, Deface, Mask, Segment
from bids_app.workflow.interfaces.registration import Atlas, Coregister
from bids_app.workflow.interfaces.spaces import Normalize, Resample

__all__ = ["INTERFACES", "StepInterface"]

#: The interface of each step.
INTERFACES: dict[str, type[StepInterface]] = {
    "mask": Mask,
    "deface": Deface,
    "bias": Bias,
    "coregister": Coregister,
    "atlas": Atlas,
    "resample": Resample,
    "normalize": Normalize,
    "segment": Segment,
    "measure": Measure,
}
