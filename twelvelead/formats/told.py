"""What a caller says about a signal, for what its file does not say."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..data import limits
from ..data.leads import LEADS, lead_names
from ..errors import UserError

UNITS = ("mV", "uV", "adc")
SEXES = ("female", "male", "unknown")
# How many of a unit make one millivolt. Files may use more units than a caller can name.
PER_MV = {"mv": 1.0, "uv": 1e3, "µv": 1e3, "μv": 1e3, "nv": 1e6, "v": 1e-3}
OLDEST_YEARS = 130.0


@dataclass(frozen=True)
class Told:
    """What a caller says about a recording. Nothing that is missing here and in the file is ever guessed.

    Attributes
    ----------
    frequency_hz : float or None
        Samples in one second.
    leads : tuple of str or None
        The lead of each row or column, in any spelling that headers may have.
    unit : str or None
        "mV", "uV" or "adc"; with "adc", `adc_per_mv` must be given too.
    adc_per_mv : float or None
        How many ADC units are one millivolt.
    age_years : float or None
    sex : str or None
        "female", "male" or "unknown".
    """

    frequency_hz: float | None = None
    leads: tuple[str, ...] | None = None
    unit: str | None = None
    adc_per_mv: float | None = None
    age_years: float | None = None
    sex: str | None = None

    @property
    def per_mv(self) -> float | None:
        """How many of the unit that is told are one millivolt; None if no unit is told. Values must be `checked`."""
        return None if self.unit is None else self.adc_per_mv or PER_MV[self.unit.lower()]

    def or_else(self, age_years: float | None, sex: str | None) -> Told:
        """The same, with the age and the sex that a file says where the caller says nothing; None is not said."""
        return replace(
            self,
            age_years=age_years if self.age_years is None else self.age_years,
            sex=sex if self.sex is None else self.sex,
        )


def first_line(error: Exception) -> str:
    """What an error of another package says, in one line of bounded length."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def checked(told: Told) -> Told:
    """The same, if every value that is given can be one. Names of leads come back in standard spelling.

    Raises
    ------
    UserError
        If a value is out of its range; the message names the option of the command line.
    """
    if told.frequency_hz is not None and not 1 <= told.frequency_hz <= limits.HIGHEST_HZ:
        raise UserError(f"the sampling frequency must be 1 to {limits.HIGHEST_HZ:g} Hz, not {told.frequency_hz}")
    if told.unit is not None and told.unit not in UNITS:
        raise UserError(f"unknown unit '{told.unit}'; there are: {', '.join(UNITS)}")
    if told.adc_per_mv is not None and not (told.adc_per_mv and math.isfinite(told.adc_per_mv)):
        raise UserError(f"the ADC units of one millivolt must be a number other than 0, not {told.adc_per_mv}")
    if told.unit == "adc" and told.adc_per_mv is None:
        raise UserError("with the unit adc, say how many ADC units are one millivolt (--adc-per-mv, adc_per_mv=)")
    if told.unit != "adc" and told.adc_per_mv is not None:
        raise UserError("ADC units of one millivolt are of use with the unit adc only (--unit adc, unit='adc')")
    if told.age_years is not None and not 0 <= told.age_years <= OLDEST_YEARS:
        raise UserError(f"the age must be 0 to {OLDEST_YEARS:g} years, not {told.age_years}")
    if told.sex is not None and told.sex not in SEXES:
        raise UserError(f"unknown sex '{told.sex}'; there are: {', '.join(SEXES)}")
    if told.leads is not None:
        return Told(**{**vars(told), "leads": standard_leads(told.leads)})
    return told


def standard_leads(written: tuple[str, ...]) -> tuple[str, ...]:
    """Names of leads in standard spelling; the single word `standard` stands for all twelve in their usual order.

    Raises
    ------
    UserError
        If a lead comes twice, is turned over, or none is one of the twelve.
    """
    if len(written) == 1 and written[0].strip().lower() == "standard":
        return LEADS
    read = lead_names(tuple(written))
    names = tuple(lead.name for lead in read)
    if not any(lead.known for lead in read):
        raise UserError(f"none of the leads {', '.join(written[:12])} is one of the twelve: {', '.join(LEADS)}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"lead {twice[0]} is named twice")
    turned = [lead.name for lead in read if lead.inverted]
    if turned:
        raise UserError(f"give lead {turned[0]} as it is and not turned over")
    return names
