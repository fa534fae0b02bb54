"""The single fields of a WFDB header line: sampling frequency, signal format, gain. Pure functions of texts.

Each function reads what can mean one thing only, also in spellings that WFDB does not know ("500Hz", "1000,0/mV",
"1 uV/bit"), and says whether it had to. What can mean nothing or two things is a ValueError: a default in its place
would change the signal.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import NamedTuple

from .limits import HIGHEST_HZ

DEFAULT_GAIN = 200.0  # ADC units per mV; WFDB's value for a gain that is 0 or missing
DEFAULT_FREQUENCY_HZ = 250.0  # WFDB's value for a sampling frequency that is missing

_NUMBER = r"[+-]?(?:\d[\d.,']*|[.,]\d+)(?:[eE][+-]?\d{1,3})?"
_RATE_UNIT = (
    r"(?:hz|hertz|sps|(?:samples?|smps?|sa|s)(?:(?:/|\s?per\s?)(?:s|sec|second))"
    r"|samples?|smps?|1?/s|1?/sec|1/second|s\^?-1|per second)"
)
_HERTZ = re.compile(rf"({_NUMBER})\s*[(\[]?(k{_RATE_UNIT}|k|{_RATE_UNIT})?[.)\]]?", re.IGNORECASE | re.ASCII)
_UNIT_ALONE = re.compile(rf"[(\[]?k?{_RATE_UNIT}[.)\]]?(?:/{_NUMBER})?", re.IGNORECASE | re.ASCII)
_FREQUENCY = re.compile(rf"(.+?)(?:/({_NUMBER})(?:\(({_NUMBER})\))?)?", re.ASCII)
_FORMAT = re.compile(r"(\d{1,3})(?:x(\d{1,6}))?(?::(\d{1,9}))?(?:\+(\d{1,12}))?", re.ASCII)
_PLAIN_GAIN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)?(?:\(([+-]?\d{1,10})\))?(?:/(\S*))?", re.ASCII)
_ADC_UNIT = r"(?:adus?|adc|lsbs?|bits?|counts?|units?|digits?|steps?|quant(?:um|a)?)"
_LOOSE_GAIN = re.compile(
    rf"({_NUMBER})?\s*(?:\(({_NUMBER})\))?\s*{_ADC_UNIT}?\s*(?:/|\bper\b)\s*(\d[\d.]*)?([^\s\d()]+)"
    rf"(?:\s*\(({_NUMBER})\))?(?!\S)",
    re.IGNORECASE,
)
_STEP = re.compile(
    rf"({_NUMBER})\s*([^\W\d_]+)\s*(?:/|\bper\b)\s*{_ADC_UNIT}\s*(?:\(({_NUMBER})\))?(?![^\W_])", re.IGNORECASE
)
_GOES_ON = re.compile(rf"[/(]|({_ADC_UNIT}\s*)?(/|per\b)", re.IGNORECASE)  # a gain with blanks in it
_NUMBER_FOLLOWS = re.compile(r"[+-]?\d{1,10}(?:\.0*)?(?!\S)", re.ASCII)  # the ADC resolution, after a gain
_FOUR_NUMBERS = re.compile(r"(?:[+-]?\d+\s+){4}", re.ASCII)
_SECOND_GAIN = re.compile(r"[+-]?[\d.,']*\d\S*/\S", re.ASCII)  # as in "1 000/mV", of which "1" is no gain
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:[.,']\d{3})+", re.ASCII)
# How many of a unit of voltage make one millivolt.
_VOLTS = {"kv": 1e-6, "v": 1e-3, "mv": 1.0, "uv": 1e3, "nv": 1e6, "pv": 1e9, "fv": 1e12}
_VOLTAGES = {
    "в": "v", "мв": "mv", "мкв": "uv", "mkv": "uv", "milliv": "mv", "microv": "uv", "mikrov": "uv",
    "volt": "v", "volts": "v", "millivolt": "mv", "millivolts": "mv", "milivolt": "mv", "milivolts": "mv",
    "mvolt": "mv", "mvolts": "mv", "microvolt": "uv", "microvolts": "uv", "mikrovolt": "uv", "uvolt": "uv",
    "uvolts": "uv", "mcv": "uv", "muv": "uv", "nanovolt": "nv", "nanovolts": "nv", "nvolt": "nv",
}  # fmt: skip

_PREFIXES = frozenset(("m", "u", "\u00b5", "\u03bc", "n", "milli", "micro", "mikro", "nano"))


class Gain(NamedTuple):
    """A gain field."""

    per_mv: float  # ADC units in one millivolt, whatever unit the header uses
    baseline: int | None  # ADC units at 0 mV, if the field says
    faults: tuple[str, ...] = ()  # what had to be repaired or assumed


class Format(NamedTuple):
    """A format field such as 16x1:0+24."""

    number: str
    samples_per_frame: int
    skew: int
    byte_offset: int


def parse_number(text: str) -> float:
    """A finite number with a point or a comma before its decimals.

    Raises
    ------
    ValueError
        If the text is no number, or if the sign in it may divide thousands: "1,000" is 1 or 1000.
    """
    plain = text.strip()
    try:
        number = float(plain)
        if math.isfinite(number) and plain.isascii() and "_" not in plain:
            return number
    except ValueError:
        pass
    if re.fullmatch(_NUMBER, plain, re.ASCII) is None:
        raise ValueError(f"{text[:30]!r} is no number")
    number = _with_unusual_signs(text, plain)
    if not math.isfinite(number):
        raise ValueError(f"{text[:30]!r} is larger than any number here")
    return number


def _with_unusual_signs(text: str, plain: str) -> float:
    """The number of a text that is none for Python: with a comma, or with signs that divide thousands."""
    signs = [sign for sign in plain if sign in ".,'"]
    if not signs:  # only its size is unusual
        return float(plain)
    mantissa = re.split("[eE]", plain)[0]
    if len(signs) == 1:
        if signs == ["'"] or _THOUSANDS.fullmatch(mantissa):
            raise ValueError(f"{text[:30]!r} may be with decimals or with thousands")
        return float(plain.replace(",", "."))
    # several signs: the last is the decimal one if it differs from the others, which then must divide thousands
    decimal, thousands = signs[-1], set(signs[:-1])
    whole, _, rest = mantissa.rpartition(decimal)
    if len(thousands) == 1 and decimal not in thousands and _THOUSANDS.fullmatch(whole) and decimal != "'":
        digits = re.sub("[.,']", "", whole)
        return float(f"{digits}.{rest}")
    if len(set(signs)) == 1 and _THOUSANDS.fullmatch(mantissa):
        return float(re.sub("[.,']", "", mantissa))
    raise ValueError(f"{text[:30]!r} is no number")


@lru_cache(maxsize=1024)
def parse_frequency(field: str) -> tuple[float, bool]:
    """Sampling frequency in Hz of `500`, `500/1000(0)`, `500Hz`, `0.5 kHz`, `500,0`, and whether it was repaired.

    A counter frequency after a slash, as WFDB defines it, is read past.

    Raises
    ------
    ValueError
        If the field is no number or none between 1 and 100,000.
    """
    match = _HERTZ.fullmatch(field.strip())
    if match is None:
        counter = _FREQUENCY.fullmatch(field.strip())
        match = _HERTZ.fullmatch(counter.group(1).strip()) if counter else None
    if match is None:
        raise ValueError(f"sampling frequency {field[:30]!r} is no number of Hz")
    text, unit = match.groups()
    frequency_hz = parse_number(text) * (1000 if (unit or "").lower().startswith("k") else 1)
    if not 1 <= frequency_hz <= HIGHEST_HZ:
        raise ValueError(f"sampling frequency {field[:30]!r} is not between 1 and {HIGHEST_HZ:,.0f} Hz")
    return frequency_hz, bool(unit) or "," in text or "'" in text


def is_unit_of_frequency(text: str) -> bool:
    """Whether a text is a unit of frequency without a number: "Hz", "samples per second", "Hz/1000" with a counter."""
    return _UNIT_ALONE.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def parse_format(field: str) -> Format | None:
    """The format field `16`, `16+24`, `212x2:5+512`; None if the text is none."""
    match = _FORMAT.fullmatch(field)
    if match is None:
        return None
    number, per_frame, skew, offset = match.groups()
    return Format(number, int(per_frame or 1) or 1, int(skew or 0), int(offset or 0))


def parse_gain(text: str) -> tuple[Gain, int] | None:
    """The gain at the start of what follows a signal's format, and how many characters it takes.

    Parameters
    ----------
    text : str
        For example `1000.0(0)/mV 16 0 -119 1716 0 II`.

    Returns
    -------
    (Gain, int) or None
        None if the text does not begin with a gain, which WFDB allows: then it is the description.

    Raises
    ------
    ValueError
        If there is a gain that cannot be understood.
    """
    field, _, followed = text.partition(" ")
    usual = _usual_gain(field)
    if usual and (not followed or _NUMBER_FOLLOWS.match(followed)):
        return usual, len(field)
    _refuse_two_meanings(field, followed)
    plain = _PLAIN_GAIN.fullmatch(field)
    step = _STEP.match(text)
    if step:
        return _gain_of_step(step), step.end()
    goes_on = _GOES_ON.match(followed.lstrip()) is not None
    if plain and not field.endswith("/") and not goes_on:
        number, baseline, unit = plain.groups()
        if not unit or _unit(unit) or not re.search(r"[()\d,]", unit):
            return _gain(float(number) if number else 0.0, baseline, unit, field), len(field)
    loose = _LOOSE_GAIN.match(text)
    if loose and (loose.group(1) or loose.group(2) or field.startswith("/")):
        return _gain_in_another_form(loose), loose.end()
    if plain and not (goes_on and plain.group(3) is None):
        gain = _gain(float(plain.group(1) or 0), plain.group(2), plain.group(3), field)
        return gain._replace(faults=gain.faults or (f"gain {field!r} read as {gain.per_mv:g} per mV",)), len(field)
    if not plain and re.match(r"[+-]?[\d.,]*\d", field) and re.fullmatch(_NUMBER, field, re.ASCII):
        gain = _gain(parse_number(field), None, None, field)
        return gain._replace(faults=gain.faults or (f"gain {field!r} read as {gain.per_mv:g} per mV",)), len(field)
    if re.match(r"[+-.,('\"]*\d", field) or ("/" in field and _unit(field.rpartition("/")[2])):
        raise ValueError(f"gain {field[:30]!r} has no number that can be understood")
    if _FOUR_NUMBERS.match(followed):  # a description does not stand before the ADC's numbers
        raise ValueError(f"gain {field[:30]!r} is no number")
    return None


def _refuse_two_meanings(field: str, followed: str) -> None:
    """Raises ValueError for "4.88 uV", which may be a gain or the voltage of one ADC unit, and for "1 000/mV"."""
    bare = re.fullmatch(rf"{_NUMBER}(?:\({_NUMBER}\))?([^\W\d_]*)", field)
    if bare is None:
        return
    following, _, further = followed.lstrip().partition(" ")
    if bare.group(1):
        unit = _unit(bare.group(1))
    elif following.lower() == "v" and re.match(r"0?[1-6rlfRLF]\b", further):  # "200 V 1": a lead
        unit = None
    else:
        unit = _unit(re.split("[/(]", following)[0])
    if unit and not _STEP.match(f"{field} {followed}"):
        written = field if bare.group(1) else f"{field} {following}"
        raise ValueError(
            f"gain {written[:30]!r} may be ADC units in one unit of voltage or the voltage of one ADC unit"
        )
    if _SECOND_GAIN.match(following):
        raise ValueError(f"gain {field[:20]!r} is followed by another, {following[:20]!r}")


def _gain_of_step(step: re.Match[str]) -> Gain:
    """The gain of a match of `_STEP`, the voltage of one ADC unit: "4.88 uV/LSB"."""
    in_one_mv, step_size = _unit(step.group(2)), parse_number(step.group(1))
    if in_one_mv is None or step_size == 0:
        raise ValueError(f"gain {step.group()[:30]!r} is no voltage of one ADC unit")
    note = f"gain {step.group()!r} read as a unit's voltage"
    return Gain(in_one_mv / step_size, _baseline(step.group(3)), (note,))


def _gain_in_another_form(loose: re.Match[str]) -> Gain:
    """The gain of a match of `_LOOSE_GAIN`: "1000 /mV", "1000 LSB/mV", "1000/mV(0)"."""
    value, late, size = loose.group(1, 5, 3)
    baseline, unit = loose.group(2) or late, loose.group(4)
    written = loose.group().strip()
    one = parse_number(size) if size else 1.0
    if one == 0:
        raise ValueError(f"gain {written[:30]!r} is no number of ADC units in a voltage")
    gain = _gain((parse_number(value) if value else 0.0) / one, baseline, unit, written)
    return gain._replace(faults=gain.faults or (f"gain {written!r} read as {gain.per_mv:g} per mV",))


@lru_cache(maxsize=1024)
def _usual_gain(field: str) -> Gain | None:
    """The gain of a field in WFDB's form with a unit of voltage or none, as nearly all headers have it; else None."""
    match = _PLAIN_GAIN.fullmatch(field)
    if match is None or not match.group(1) or not (match.group(3) is None or _unit(match.group(3))):
        return None
    return _gain(float(match.group(1)), match.group(2), match.group(3), field)


def _gain(number: float, baseline: str | None, unit: str | None, written: str) -> Gain:
    faults = []
    if not math.isfinite(number):
        raise ValueError(f"gain {written[:30]!r} is not finite")
    if number == 0:
        faults.append(f"gain {written!r} read as WFDB's default of 200")
        number = DEFAULT_GAIN
    in_one_mv = _unit(unit) if unit else 1.0
    if in_one_mv is None:
        if _is_part_of_a_voltage(unit or ""):
            raise ValueError(f"gain {written[:30]!r} has a unit that cannot be understood")
        faults.append(f"unit {unit!r} is no voltage, read as mV")
    return Gain(number * (in_one_mv or 1.0), _baseline(baseline), tuple(faults))


def _baseline(text: str | None) -> int | None:
    if text is None:
        return None
    number = parse_number(text)
    if not number.is_integer() or abs(number) >= 2**34:
        raise ValueError(f"baseline {text[:30]!r} is no whole number of ADC units")
    return int(number)


def _unit(unit: str) -> float | None:
    """How many of a unit of voltage make one millivolt; None for any other unit."""
    name = unit.strip(".,;:()[]{}'\"").casefold().replace("\u00b5", "u").replace("\u03bc", "u")
    return _VOLTS.get(_VOLTAGES.get(name, name))


def _is_part_of_a_voltage(unit: str) -> bool:
    """Whether a unit that is none of voltage has to do with voltage: "mV/cm", "xV", "m" for "mV"."""
    words = re.findall(r"[^\W\d_]+", unit.casefold())
    return any(_unit(word) or word.endswith(("v", "volt", "volts")) for word in words) or unit.casefold() in _PREFIXES
