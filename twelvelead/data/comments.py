"""What the comment lines of a header say about the patient: age, sex, diagnoses.

    facts = read_comments(["#Age: 74", "#Sex: Male", "#Dx: 426783006,59118001"], notes)
    facts.age_years, facts.sex, facts.codes, facts.patient

The Challenge's form is read, and besides it what older PhysioNet databases write ("# 69 M 1085 1629 x1",
"#<age>: 65 <sex>: F <diagnoses> …", "# Age: 62  Sex: M") and other spellings that can mean one thing only. What had to
be interpreted is noted; what cannot be understood is unknown, with a note.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from . import limits
from .classes import CPSC, DIAGNOSES
from .header_fields import parse_number

OLDEST = 130.0  # years
_LONGEST_VALUE = 40  # characters of an age
_UNKNOWN = frozenset(
    """
    unknown nan none null n/a na n.a. nil ? ?? - -- . <na> nd other unspecified undefined missing unbekannt inconnu
    desconocido
    """.split()  # noqa: SIM905 (a list of words reads better as text)
) | {"", "not available", "not known"}
_AGE_KEYS = ("age", "alter", "edad", "âge", "idade", "eta", "età", "leeftijd", "patient age", "age at recording")
_SEX_KEYS = ("sex", "gender", "geschlecht", "sexo", "sexe", "sesso", "geslacht", "patient sex", "kön")
_DX_KEYS = ("dx", "dxs", "snomed", "snomed ct", "snomed-ct", "snomed codes", "snomed ct codes", "dx codes", "dx code")
_PATIENT_KEYS = ("patient", "patient id", "patientid", "subject", "subject id", "subjectid")
_KEYS = {
    **dict.fromkeys(_AGE_KEYS, "age"),
    **dict.fromkeys(_SEX_KEYS, "sex"),
    **dict.fromkeys(_DX_KEYS, "dx"),
    **dict.fromkeys(_PATIENT_KEYS, "patient"),
}
_FEMALE = frozenset(
    """
    f female fem woman women girl w weiblich frau mädchen maedchen femme féminin feminin feminine féminine fille
    femenino femenina feminino feminina mujer mulher femminile femmina donna vrouw vrouwelijk kvinna kvinde kvinnlig
    kobieta żeńska женский жен ж 女 女性
    """.split()  # noqa: SIM905 (a list of words reads better as text)
)
_MALE = frozenset(
    """
    m male man men boy männlich maennlich mannlich mann herr junge homme masculin masculine garçon
    masculino masculina hombre varón varon homem maschile maschio uomo mannelijk manlig mand
    mężczyzna męska мужской муж м 男 男性
    """.split()  # noqa: SIM905 (a list of words reads better as text)
)

_YEARS = r"(?:y|yo|y\.o\.|y/o|yr|yrs|year|years|jahre?|j|ans?|años?|anos?|anni|anno|jaar|år|lat)"
_AGE = re.compile(r"(\d+(?:[.,]\d+)?)\s*(?P<unit>[^\W\d_][^\d]*)?", re.IGNORECASE)
_YEAR_WORD = re.compile(rf"{_YEARS}\.?(?:\s*(?:old|of age|alt))?", re.IGNORECASE)
_SHARES = (  # of a year
    (re.compile(r"mo|mos|mth|mths|months?|monate?n?|mois|mes|meses|mesi|maanden", re.IGNORECASE), 1 / 12),
    (re.compile(r"w|wk|wks|weeks?|wochen?|semaines?|semanas?|settimane|weken", re.IGNORECASE), 7 / 365.25),
    (re.compile(r"d|days?|tage?n?|jours?|d[ií]as?|giorni|dagen", re.IGNORECASE), 1 / 365.25),
)
_DICOM_AGE = re.compile(r"(\d{3})([DWMY])", re.ASCII)
_OVER = re.compile(rf"(?:>|over|above|older than|über|plus de|más de)\s*(\d{{1,3}})\s*{_YEARS}?", re.IGNORECASE)
_AT_LEAST = re.compile(
    rf"(?:>=|≥|=>|at least)\s*(\d{{1,3}})\s*{_YEARS}?"
    rf"|(\d{{1,3}})\s*{_YEARS}?\s*(?:\+|and over|or over|and older|or older)",
    re.IGNORECASE,
)
_OLD_STYLE = re.compile(r"(\d{1,3})\s+([MF])(?:\s|,|$)", re.ASCII)  # MIT-BIH: "69 M 1085 1629 x1"
_IN_LINE = re.compile(r"<?\b(age|sex|gender)\b>?\s*[:=]", re.IGNORECASE)


class Facts(NamedTuple):
    """What a header says about the patient."""

    age_years: float  # NaN if unknown
    sex: str  # "female", "male" or "unknown"
    codes: tuple[str, ...]  # diagnoses, each once, in their order
    patient: str | None


def read_comments(comments: Sequence[str], notes: list[str]) -> Facts:
    """The facts in the comment lines of a header (each begins with `#`); what had to be interpreted goes to `notes`."""
    values: dict[str, str] = {}
    diagnoses: list[str] = []
    for line in comments:
        if len(line) > limits.COMMENT:
            notes.append(f"a comment of {len(line)} characters was cut off after {limits.COMMENT}")
        for key, value in _pairs(line[: limits.COMMENT]):
            if key == "dx":
                diagnoses.append(value)
            elif values.get(key, "").lower() in _UNKNOWN:
                values[key] = value
    age_years, age_note = parse_age(values.get("age", ""))
    sex, sex_note = parse_sex(values.get("sex", ""))
    codes, dx_note = parse_diagnoses(", ".join(diagnoses))
    notes.extend(note for note in (age_note, sex_note, dx_note) if note)
    patient = values.get("patient", "")
    return Facts(age_years, sex, codes, None if patient.lower() in _UNKNOWN else patient)


@lru_cache(maxsize=4096)
def _pairs(line: str) -> tuple[tuple[str, str], ...]:
    """(key, value) of what a comment line says; most lines come again in other headers, so they are kept."""
    text = line.lstrip("# \t").rstrip()
    key, sign, value = text.partition(":")
    name = _key(key) if sign else None
    if name in ("dx", "patient"):
        return ((name, value.strip()),)
    if name and not _IN_LINE.search(value):
        return ((name, value.strip()),)
    old = _OLD_STYLE.match(text)
    if old:
        return ("age", old.group(1)), ("sex", old.group(2))
    pairs = _pairs_in(text)
    if pairs or sign:
        return pairs
    key, _, value = text.replace("=", " ", 1).partition(" ")  # "#Age 74", "#Dx=426783006"
    name = _key(key)
    if (
        name == "dx"
        or (name == "age" and parse_age(value)[1] is None)
        or (name == "sex" and parse_sex(value)[1] is None)
    ):
        return ((name, value.strip()),)
    return ()


def _pairs_in(text: str) -> tuple[tuple[str, str], ...]:
    """Age and sex of a line that begins with one of them, `<age>: 65 <sex>: F <diagnoses> …` or `Age: 62  Sex: M`."""
    matches = list(_IN_LINE.finditer(text))
    if not matches or matches[0].start() > 0:
        return ()
    pairs = []
    for match, following in zip(matches, [*matches[1:], None]):
        name = "age" if match.group(1).lower() == "age" else "sex"
        rest = text[match.end() : following.start() if following else len(text)]
        value = re.split(r"\s{2,}|[,;<]", rest.strip())[0]
        if (parse_age if name == "age" else parse_sex)(value)[1]:  # other words may follow after one blank
            value = (value.split() or [""])[0]
        pairs.append((name, value))
    return tuple(pairs)


def _key(text: str) -> str | None:
    """age, sex, dx or patient, if that is what a key of a comment means."""
    key = " ".join(re.sub(r"[<>_\s]+|\((?:in )?years?\)|\(snomed[- ]?ct\)", " ", text.lower()).split())
    return _KEYS.get(key) or _KEYS.get(key.removesuffix(" in years").removesuffix(" years"))


@lru_cache(maxsize=4096)
def parse_age(text: str) -> tuple[float, str | None]:
    """Age in years, NaN if unknown, and a note if it was interpreted or cannot be understood.

    300 is PTB-XL's code for everyone over 89 and becomes 90 without a note; so does ">89", with a note.
    """
    if text.lower() in _UNKNOWN:
        return math.nan, None
    if text == "300":
        return 90.0, None
    if len(text) > _LONGEST_VALUE:
        return math.nan, f"age {text[:20]!r} … read as unknown"
    shown, text = text[:20], text.strip(". ")
    dicom = _DICOM_AGE.fullmatch(text)
    over, at_least, plain = _OVER.fullmatch(text), _AT_LEAST.fullmatch(text), _AGE.fullmatch(text)
    years, repaired = math.nan, True
    if dicom:
        years = int(dicom.group(1)) * {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}[dicom.group(2)]
    elif over:
        years = int(over.group(1)) + 1.0
    elif at_least:
        years = float(at_least.group(1) or at_least.group(2))
    elif plain:
        unit = (plain.group("unit") or "").strip()
        share = next((share for words, share in _SHARES if words.fullmatch(unit.rstrip("."))), None)
        if not unit.strip(".") or _YEAR_WORD.fullmatch(unit):
            years, repaired = parse_number_or_nan(plain.group(1)), "," in plain.group(1)
        elif share:
            years = parse_number_or_nan(plain.group(1)) * share
    if not 0 <= years <= OLDEST:
        return math.nan, f"age {shown!r} read as unknown"
    return years, f"age {shown!r} read as {years:.3g} years" if repaired else None


def parse_number_or_nan(text: str) -> float:
    """A number, or NaN where a text is none or may be two."""
    try:
        return parse_number(text)
    except ValueError:
        return math.nan


@lru_cache(maxsize=4096)
def parse_sex(text: str) -> tuple[str, str | None]:
    """ "female", "male" or "unknown", and a note if the text cannot be understood. 0 and 1 mean either in some file."""
    word = text.lower().strip("\"'.()[]<>{} ")
    if word in _UNKNOWN or text.lower() in _UNKNOWN:
        return "unknown", None
    if word in _FEMALE:
        return "female", None
    if word in _MALE:
        return "male", None
    return "unknown", f"sex {text[:20]!r} read as unknown"


# Diagnoses

_CODE_OF = {abbreviation.lower(): code for code, (abbreviation, _) in DIAGNOSES.items()}
_CODE_OF.update({name.lower(): code for code, (_, name) in DIAGNOSES.items()})
_CODE_OF_TEXT_LABEL = {label.lower(): code for label, code in CPSC.items()}
_SNOMED_TERM = re.compile(r"(\d{6,18}) ?\|([^|,;]*)\|")  # 164889003 |Atrial fibrillation|
_SNOMED_CODE = re.compile(r"(?<![\w.])\d{6,18}(?![\w.]|\.\d)", re.ASCII)
_NEGATION = re.compile(r"\b(?:no|not|without|exclud\w*|rule\w* out|ohne|kein\w*|sans|sin)\b|\?", re.IGNORECASE)
_DECORATIONS = " \t\"'`´‘’“”()[]{}<>.:"


@lru_cache(maxsize=4096)
def parse_diagnoses(text: str) -> tuple[tuple[str, ...], str | None]:
    """SNOMED CT codes of a list of diagnoses, each once, and a note if anything had to be interpreted.

    Codes are separated by commas in the Challenge; other separators (`;`, `|`, blanks), decorations (quotes, brackets,
    `SNOMED:`) and the abbreviations and names of our own table (`NSR`, `AF`) are read too. What cannot be understood
    stays as it is written, and so do the text labels of the Challenge's unofficial phase (`Normal`, `I-AVB`) where a
    header has nothing else: `Classes.index` knows them, and output files then have to use them.
    """
    pieces = [piece.strip() for piece in text.split(",")]
    pieces = [piece for piece in pieces if piece.lower() not in _UNKNOWN]
    if all(piece.isascii() and piece.isdigit() for piece in pieces) or all(piece in CPSC for piece in pieces):
        return tuple(dict.fromkeys(pieces)), None
    codes: list[str] = []
    for piece in re.split("[,;\n\t|]", _SNOMED_TERM.sub(_without_term, text)):
        codes.extend(_codes_in(piece))
    read = tuple(dict.fromkeys(code for code in codes if code.lower() not in _UNKNOWN))
    if read == tuple(dict.fromkeys(pieces)):
        return read, None
    return read, f"diagnoses {text[:60]!r} read as {', '.join(read)[:200] or 'none'}"


def _without_term(match: re.Match[str]) -> str:
    """The code without the term that follows it between bars, unless that is a code itself."""
    return match.group() if match.group(2).strip().isdigit() else f"{match.group(1)},"


def _codes_in(piece: str) -> list[str]:
    """The codes in a part of a list of diagnoses that no comma divides, or the part as it is written."""
    plain = piece.strip(_DECORATIONS)
    code = _code(plain)
    if code:
        return [code]
    codes = _SNOMED_CODE.findall(plain)
    words = [word.strip(_DECORATIONS) for word in re.split(r"[\s/+&]+", plain)]
    words = [word for word in words if word and not re.fullmatch("snomed|ct|snomed-ct|sct|and|dx", word.lower())]
    if words and all(map(_code, words)):
        return [_code(word) or word for word in words]
    if len(codes) == 1 and not _NEGATION.search(plain):
        return codes  # a code with its name
    return [piece.strip()] if plain else []


def _code(word: str) -> str | None:
    """The code that a word is, or is an abbreviation or a name of."""
    if re.fullmatch(r"\d+(?:\.0+)?", word, re.ASCII):  # spreadsheets add a decimal
        return word.partition(".")[0]
    power = re.fullmatch(r"(\d)\.(\d+)[eE]\+?0*(\d{1,2})", word, re.ASCII)
    if power and len(power.group(2)) == int(power.group(3)):  # also theirs; with fewer digits some would be lost
        return power.group(1) + power.group(2)
    return _CODE_OF.get(word.lower()) or _CODE_OF_TEXT_LABEL.get(word.lower())
