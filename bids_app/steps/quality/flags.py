"""What in a series' numbers a person should look at, in plain words. No flag ends a series."""

from __future__ import annotations

from collections.abc import Mapping

from .shapes import FACES
from .template_fit import GAMMA_ISBM_RANGE, GAMMA_OSBM_RANGE

#: Brain volume in ml that is plausible where all of the brain is in the field of view: from small children's to above
#: the largest adults' (about 900 to 1,800; a mask that took the skull in has more, one that lost a lobe less).
PLAUSIBLE_ML = (600.0, 2400.0)
#: Area in cm2 that the brain may have in an outermost slice before it counts as cut. Beyond 20 cm2 a dome of 70 mm
#: radius lacks 5 mm and 5 ml, half a percent of a brain; clinical stacks of thick slices lack less at the vertex as a
#: rule, and the brain stem (under 10 cm2 across) leaves most fields of view below.
CUT_CM2 = 20.0
# How far a series can be off: eight co-registered pairs (T2w, FLAIR, contrast-enhanced T1w; slices of 1 to 5 mm), half
# of them displaced on purpose:        right          6 mm off       10 mm off      15 degrees off
#   Dice of the two brain masks        0.970 - 0.992  0.92           0.88           0.90
#   normalised mutual information      1.06 - 1.35    1.02 - 1.04    1.01 - 1.02    1.01 - 1.03
#   brain beyond the reference's edge  0.01 - 0.07    0.21 - 0.24    0.30 - 0.32    0.24 - 0.26
#   gaps inside the reference's edge   0.05 - 0.20    0.26 - 0.33    0.36 - 0.40    0.26 - 0.34
#: Dice with the reference's mask below which the two disagree, by their alignment or by themselves.
LEAST_MASK_DICE = 0.92
#: Normalised mutual information with the reference below which the contents have hardly anything in common.
LEAST_NMI = 1.03
#: Share of a strip of 5 mm beside the reference's brain edge that a well-aligned brain does not exceed.
MOST_GAMMA = 0.3
#: How far a computed ADC may be from the scanner's own: another b-value than the one given (1000 for 2500) is more;
#: a scanner that fits all its directions, or subtracts noise, less.
MOST_ADC_RATIO = 1.15
LEAST_ADC_CORRELATION = 0.9


def flags(numbers: Mapping[str, float | None]) -> list[str]:
    """The flags of a series, most serious first.

    Parameters
    ----------
    numbers
        By the names of the data dictionary; what is missing or None raises no flag.
    """

    value = numbers.get
    result = []
    cuts = {face: value(f"fov_cut_{face}_cm2") for face in FACES}
    cut = [face for face, area in cuts.items() if area and area > CUT_CM2]
    volume = value("mask_volume_ml")
    if volume is not None and (volume > PLAUSIBLE_ML[1] or (volume < PLAUSIBLE_ML[0] and not cut)):
        size = "large" if volume > PLAUSIBLE_ML[1] else "small"
        result.append(f"the brain mask is implausibly {size} ({volume:.0f} ml)")
    overlap = value("mask_reference_dice")
    if overlap is not None and overlap < LEAST_MASK_DICE:
        result.append(f"the brain mask disagrees with the reference's (Dice {overlap:.2f})")
    shared = value("coregister_nmi")
    if shared is not None and shared < LEAST_NMI:
        result.append(f"little in common with the reference after co-registration (normalised MI {shared:.3f})")
    for name, what in (("osbm", "reaches beyond"), ("isbm", "leaves gaps in")):
        gamma = value(f"coregister_gamma_{name}")
        if gamma is not None and gamma > MOST_GAMMA:
            result.append(f"the brain {what} the reference's after co-registration ({gamma:.0%} of the edge)")
    for name, what, (_, most) in (
        ("osbm", "reaches beyond", GAMMA_OSBM_RANGE),
        ("isbm", "leaves gaps in", GAMMA_ISBM_RANGE),
    ):
        gamma = value(f"template_gamma_{name}")
        if gamma is not None and gamma > most and value("template_scaled"):  # the published brains were
            result.append(
                f"the brain {what} the atlas' more than in any of 2,888 acute strokes ({gamma:.2f}, up to {most:.2f})"
            )
    ratio, alike = value("adc_scanner_ratio"), value("adc_scanner_correlation")
    if ratio is not None and not 1 / MOST_ADC_RATIO <= ratio <= MOST_ADC_RATIO:
        result.append(f"the computed ADC is {ratio:.2f} times the scanner's: look at --b-value")
    if alike is not None and alike < LEAST_ADC_CORRELATION:
        result.append(f"the computed ADC does not follow the scanner's (correlation {alike:.2f})")
    if value("gaussianmixture_fallback"):
        result.append("its histogram has not two peaks: gaussianmixture took the mode and a robust spread")
    if cut:
        sides = " and ".join(_SIDES[face] for face in cut)
        result.append(f"the brain touches the {sides} edge of the field of view")
    return result


_SIDES = {
    "left": "left", "right": "right", "posterior": "back", "anterior": "front", "inferior": "lower",
    "superior": "upper",
}  # fmt: skip
