"""How well the tissues stand out of noise and of each other: formulas on the intensities of each tissue and of air.

They are MRIQC's (Esteban et al. 2017, doi:10.1371/journal.pone.0184661), but for two of the ITU AI4H specification of
structural MRI data, which are named apart. SD is the sample's standard deviation; MAD is the median absolute deviation
times 1.4826, so that both are the same for a normal distribution.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .collect import CannotMeasureError

Values = NDArray[Any]

#: Dietrich et al. 2007, equation A.12: the noise of air follows a Rayleigh distribution; 1 / sqrt(2 / (4 - pi)).
DIETRICH = float(np.sqrt((4 - np.pi) / 2))
_MAD_TO_SD = 1.4826  # of a normal distribution


def mad(values: Values) -> float:
    """Median absolute deviation from the median, times 1.4826."""
    return _MAD_TO_SD * float(np.median(np.abs(values - np.median(values))))


def sd(values: Values) -> float:
    """Standard deviation of a sample, with n - 1."""
    return float(np.std(values, dtype=np.float64, ddof=1))


def snr(tissue: Values) -> float:
    """Signal-to-noise ratio in one tissue: median / (SD sqrt(n / (n - 1))), SD with n; that is, over SD with n - 1."""
    return _ratio(float(np.median(tissue)), sd(tissue), "the tissue has one intensity")


def snr_dietrich(tissue: Values, air: Values) -> float:
    """Signal over the noise in air: 0.6551 median / MAD of air (Dietrich et al. 2007, doi:10.1002/jmri.20969)."""
    return _ratio(DIETRICH * float(np.median(tissue)), mad(air), "the air has no noise: it was set to one value")


def snr_brain_over_air(brain: Values, air: Values) -> float:
    """Mean of the brain over the standard deviation of air (ITU AI4H); not comparable with the two others."""
    return _ratio(float(brain.mean(dtype=np.float64)), sd(air), "the air has no noise: it was set to one value")


def cnr(white: Values, grey: Values, air: Values) -> float:
    """Contrast-to-noise ratio: |median WM - median GM| / sqrt(var air + var WM + var GM) (Magnotta and Friedman 2006).

    doi:10.1007/s10278-006-0264-x; with the tissues' variances, as MRIQC has it.
    """
    noise = np.sqrt(sd(air) ** 2 + sd(white) ** 2 + sd(grey) ** 2)
    return _ratio(_distance(white, grey), float(noise), "the tissues have one intensity each")


def cnr_over_grey_sd(white: Values, grey: Values) -> float:
    """|mean GM - mean WM| / SD of GM (ITU AI4H)."""
    distance = abs(float(grey.mean(dtype=np.float64)) - float(white.mean(dtype=np.float64)))
    return _ratio(distance, sd(grey), "the grey matter has one intensity")


def cjv(white: Values, grey: Values) -> float:
    """Coefficient of joint variation: (MAD WM + MAD GM) / |median WM - median GM| (Ganzetti et al. 2016).

    doi:10.3389/fninf.2016.00010.
    """
    return _ratio(mad(white) + mad(grey), _distance(white, grey), "grey and white matter have one median")


def coefficient_of_variation(values: Values) -> float:
    """SD / mean."""
    return _ratio(sd(values), float(values.mean(dtype=np.float64)), "its mean is 0")


def wm2max(white: Values, image: Values) -> float:
    """Median of white matter over the 99.95th percentile of the whole image."""
    return _ratio(float(np.median(white)), float(np.percentile(image, 99.95)), "the image has no bright voxel")


def _distance(white: Values, grey: Values) -> float:
    return abs(float(np.median(white)) - float(np.median(grey)))


def _ratio(above: float, below: float, problem: str) -> float:
    if below == 0:
        raise CannotMeasureError(problem)
    return above / below
