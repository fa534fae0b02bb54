"""The twelve leads: their order, how the limb leads follow from I and II, and the many ways to spell their names.

lead_names(["I", "avr", "C1", "MDC_ECG_LEAD_V2", "-aVR", "resp"])
# Lead("I"), Lead("aVR"), Lead("V1", repaired), Lead("V2", repaired), Lead("aVR", repaired, inverted), Lead("resp",
# known=False)
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
CHEST_LEADS = range(LEADS.index("V1"), len(LEADS))  # their places in LEADS

# The six limb leads, in the order of LEADS, as combinations of I and II (Einthoven, Goldberger), float64 (6, 2):
# III = II − I, aVR = −(I + II)/2, aVL = I − II/2, aVF = II − I/2.
LIMB_FROM_I_II = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])
LIMB_FROM_I_II.setflags(write=False)

_STANDARD = {lead.lower(): lead for lead in LEADS}

# Words that accompany a lead's name in files from many systems and countries and do not change what it means: "lead",
# the names of standards (ISO 11073 writes MDC_ECG_LEAD_I, SCP-ECG readers write SCPECG:I), units.
_COMPANIONS = frozenset(
    """
    lead leads ecg ekg ekv mdc scp scpecg elec potl abl abltg ableitung ableitungen kanal channel ch chan
    derivation derivación derivacion derivação derivacao derivazione deriv dér der dériv dérivation
    odprowadzenie odpr avledning afledning avleiding afleiding elektroda отведение отв відведення отвеждане
    derivasyon derivația derivaţia derivatia svod zvod odvod elvezetés elvezetes kytkentä kytkenta απαγωγή απαγωγη
    standardableitung extremitätenableitung extremitaetenableitung ref
    limb standard einthoven goldberger wilson extremity extremität extremitäten extr
    precordial precordiale précordiale chest brustwand brustwandableitung thoracic
    signal analog analogue raw filtered filt in
    mv uv mcv µv μv nv v volt volts millivolt millivolts microvolt microvolts mikrovolt nanovolt nanovolts millivolts
    """.split()  # noqa: SIM905 (a list of words reads better as text)
)
# Prefixes that are also written without a separator, as in "ecgV1" and "LeadII".
_ATTACHED = re.compile(r"(?:mdc_ecg_lead_|scpecg|lead|ecg|ekg|abl)(?=(?:i{1,3}|av[rlf]|[vc]0?[1-6])(?![a-z0-9]))")
_ATTACHED_WORDS = re.compile(
    "胸?导联|胸?導聯|胸部|標準|誘導|第|リード|(?:사지|흉부)?유도"
)  # "lead" where words are written without blanks between
_INDEX = re.compile(r"^(?:\d{1,2}\s*[:.)]\s+(?=\S)|\d{1,2}[:)](?=\S)|[(\[]\d{1,2}[)\]]\s*(?=\S))")  # "1: I", "(1) I"
_WORDS = re.compile(r"[^\W_]+")
_BETWEEN = re.compile(r"[\s_:;.,()\[\]{}\"'`´‘’“”„|/*\\-]*")  # what may stand between and around words
_MINUS = re.compile(r"[-\u2212\u2013]\s?(?=a\s?v\s?r\b)")
_TRAILING_MINUS = re.compile(r"[-\u2013]\W*$")
_INVERTED = re.compile(r"\b(?:inverted|inverse|invers|invertiert|inverted|inv|negative|negativ|neg|minus)\b")
_LEAD = re.compile(r"(?:d\s?|l)?(i{1,3})|d\s?([123])|a\s?v\s?([rlf])|v\s?0?([1-6])|c0?([1-6])")
_BOTH_NAMES = re.compile(r"(v0?([1-6])) c0?\2|c0?([1-6]) v0?\3")  # "V1 (C1)"
# Beside these names C3 and C4 are electrodes of an electroencephalogram, and C1 to C12 numbers of channels.
_NOT_CHEST = re.compile(r"(?:eeg\s*)?(?:(?:fp|[fpto])\d{1,2}|[fcpo]z|eog.*|emg.*|eeg.*|c0|c[7-9]|c\d\d+)(?:\W.*)?")


_LONGEST_NAME = 80  # characters


class Lead(NamedTuple):
    """What a name in a header means."""

    name: str  # in standard spelling, or as written where it is none of the twelve
    known: bool = True  # one of the twelve
    repaired: bool = False  # the name was written in another way than as the standard name in some case
    inverted: bool = False  # the signal is the lead turned over, as -aVR in Cabrera's order


@lru_cache(maxsize=1024)
def lead_names(written: tuple[str, ...]) -> tuple[Lead, ...]:
    """The leads behind the names of one header's signals, in their order.

    All names are needed at once: C1 to C6 are the chest leads V1 to V6 (the electrodes' names of IEC 60601-2-25),
    unless others of the names show that they are electrodes of an electroencephalogram or numbers of channels. "C1"
    beside
    "V1" is unknown too.
    """
    leads = [_lead_name(name) for name in written]
    chest = [k for k, lead in enumerate(leads) if lead.repaired and lead.name[0] == "V" and _is_c_name(written[k])]
    if chest:
        others = [name for k, name in enumerate(written) if k not in chest]
        taken = {leads[k].name for k in range(len(leads)) if k not in chest and leads[k].known}
        foreign = any(_NOT_CHEST.fullmatch(name.strip().lower()) for name in others)
        for k in chest:
            if foreign or leads[k].name in taken:
                leads[k] = Lead(written[k].strip(), known=False)
    return tuple(leads)


@lru_cache(maxsize=4096)
def _lead_name(written: str) -> Lead:
    name = written.strip()
    standard = _STANDARD.get(name.lower())
    if standard:
        return Lead(standard)
    unknown = Lead(name, known=False)
    if len(name) > _LONGEST_NAME:
        return unknown
    text = unicodedata.normalize("NFKC", name).casefold().replace("\u2212", "-")
    text = _ATTACHED_WORDS.sub(" ", text)
    text = _INDEX.sub("", text.partition("#")[0].strip())
    if _has_leading_minus(text):
        return _inverted_avr(text, unknown)
    if _TRAILING_MINUS.search(text):  # a polarity or the start of something that is cut off
        return unknown
    text, count = _INVERTED.subn(" ", text)
    lead = _only_lead_in(text)
    if lead is None:
        return unknown
    if count:
        return Lead("aVR", repaired=True, inverted=True) if lead == "aVR" else unknown
    return Lead(lead, repaired=True)


def _has_leading_minus(text: str) -> bool:
    """Whether a minus stands directly before a word and after a blank or at the start: a sign and no hyphen."""
    return re.search(r"(?:^|[\s:(\[])[-\u2013]\s?\w", text) is not None


def _inverted_avr(text: str, unknown: Lead) -> Lead:
    """-aVR is a lead of its own in Cabrera's order: aVR turned over. Other leads with a minus are not known."""
    match = _MINUS.search(text)
    if match and _only_lead_in(text[: match.start()] + text[match.end() :]) == "aVR":
        return Lead("aVR", repaired=True, inverted=True)
    return unknown


def _only_lead_in(text: str) -> str | None:
    """The standard lead if a text holds its name and otherwise only words that often accompany it."""
    text = _ATTACHED.sub(lambda match: match.group() + " ", text)
    if _BETWEEN.fullmatch(_WORDS.sub("", text)) is None:
        return None
    words = _WORDS.findall(text)
    # a single "v" may be the unit volt or a part of a lead's name, as in "V 1" and "a V R"
    left = [
        word
        for k, word in enumerate(words)
        if not _is_companion(word, words[k - 1] if k else "") or (word == "v" and _begins_a_lead(words, k))
    ]
    both = _BOTH_NAMES.fullmatch(" ".join(left))
    match = _LEAD.fullmatch((both.group(1) or f"v{both.group(3)}") if both else " ".join(left))
    if match is None:
        return None
    roman, digit, limb, chest, electrode = match.groups()
    if roman or digit:
        return roman.upper() if roman else "I" * int(digit)
    return f"aV{limb.upper()}" if limb else f"V{chest or electrode}"


def _is_companion(word: str, before: str) -> bool:
    """Whether a word does not change which lead is meant; "ch3" and the 3 of "channel 3" are numbers of channels."""
    return (
        word in _COMPANIONS
        or re.fullmatch(r"ch\d{1,2}", word) is not None
        or (before in ("ch", "chan", "channel", "kanal") and word.isdigit())
    )


def _begins_a_lead(words: list[str], k: int) -> bool:
    """Whether the word "v" at place k belongs to a lead's name: a number or a limb letter follows."""
    return k + 1 < len(words) and re.fullmatch(r"0?[1-6]|[rlf]", words[k + 1]) is not None


def _is_c_name(written: str) -> bool:
    """Whether a name that was read as a chest lead calls it C1 … C6."""
    text = unicodedata.normalize("NFKC", written).casefold()
    return re.search(r"(?<![a-z])v[\s_.-]*0?[1-6](?!\d)", text) is None
