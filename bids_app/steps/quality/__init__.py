"""Quality of a series in numbers: the image, its mask, its bias field, its registration, its intensities.

After MRIQC (Esteban et al. 2017, doi:10.1371/journal.pone.0184661) and the papers that the functions name. Each formula
is a plain function on arrays; `series` and `alignment` say on which images it is computed.
"""

from __future__ import annotations

from .alignment import Fixed, measure_atlas, measure_reference
from .collect import CannotMeasureError, Measured
from .flags import flags
from .series import Head, carried_priors, measure_bias, measure_image, measure_intensities, measure_shape
from .template_fit import Template, measure_template_fit

__all__ = [
    "VERSION",
    "CannotMeasureError",
    "Fixed",
    "Head",
    "Measured",
    "Template",
    "carried_priors",
    "flags",
    "measure_atlas",
    "measure_bias",
    "measure_image",
    "measure_intensities",
    "measure_reference",
    "measure_shape",
    "measure_template_fit",
]

VERSION = "2"
