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
_AGE_KEYS = """
    age alter edad âge idade eta età leeftijd ålder alder wiek yaş возраст вік 年龄 年齢 나이 ikä věk vek ηλικία
    """
_SEX_KEYS = """
    sex gender geschlecht sexo sexe sesso geslacht kön køn kjønn płeć cinsiyet пол стать 性别 性別 성별 sukupuoli
    pohlaví φύλο
    """
_PATIENT_KEYS = ("patient", "patient id", "patientid", "subject", "subject id", "subjectid")
_KEYS = {
    **dict.fromkeys(_AGE_KEYS.split(), "age"),
    **dict.fromkeys(_SEX_KEYS.split(), "sex"),
    **dict.fromkeys(_PATIENT_KEYS, "patient"),
}
# What may stand around "age" and "sex" without a change of their meaning.
_AROUND_KEY = re.compile(
    r"^(?:the )?(?:patient|subject)(?:['’ ]?s)? ?(?=age|sex|gender)|^biological (?=sex)"
    r"| (?:of|at|in) (?:the )?(?:patient|subject|ecg|recording|examination|exam|acquisition|visit|birth)$"
)
_KEY_UNIT = re.compile(r"(?:[,(\[/ ] ?|in )(years?|yrs?|y|jahren?|months?|mo|weeks?|days?)[)\]]?")
_SEX_CHOICE = re.compile(r"[(\[]\w+ ?[/,|] ?\w+[)\]]")  # "Sex (M/F)"
_DX_KEY = re.compile(r"(?:dx|dxs|snomed(?:[- ]?ct)?)(?:[- ]?codes?)?|dx ?\d{1,2}")
# Keys that are also used for free text: what they say is a diagnosis if it is a code or in our own table.
_PERHAPS_DX_KEY = re.compile(r"diagnos(?:is|es|e|en|tic|tics)|labels?|(?:scored )?(?:snomed(?:[- ]?ct)? )?codes?")
_FEMALE = frozenset(
    """
    f female fem ♀ woman women girl w weiblich frau mädchen maedchen femme féminin feminin feminine féminine fille
    femenino femenina feminino feminina mujer mulher femelle femminile femmina nainen kadın donna vrouw vrouwelijk
    kvinna kvinde kvinnlig kobieta żeńska женский жен ж 女 女性
    """.split()  # noqa: SIM905 (a list of words reads better as text)
)
_MALE = frozenset(
    """
    m male masc ♂ man men boy männlich maennlich mannlich mann herr junge homme masculin masculine garçon
    masculino masculina hombre varón varon homem maschile maschio uomo mies erkek mâle mannelijk manlig mand
    mężczyzna męska мужской муж м 男 男性
    """.split()  # noqa: SIM905 (a list of words reads better as text)
)

_YEARS = r"(?:y|yo|y\.o\.|y/o|yr|yrs|year|years|jahre?|j|ans?|años?|anos?|anni|anno|jaar|år|lat|лет|года?|岁|歳|세)"
_AGE = re.compile(r"(\d+(?:[.,]\d+)?)\s*(?P<unit>[^\W\d_][^\d]*)?", re.IGNORECASE)
_YEAR_WORD = re.compile(rf"{_YEARS}\.?(?:\s*(?:old|of age|alt))?", re.IGNORECASE)
_SHARES = (  # of a year
    (re.compile(r"mo|mos|mth|mths|months?|monate?n?|mois|mes|meses|mesi|maanden", re.IGNORECASE), 1 / 12),
    (re.compile(r"w|wk|wks|weeks?|wochen?|semaines?|semanas?|settimane|weken", re.IGNORECASE), 7 / 365.25),
    (re.compile(r"h|hrs?|hours?|stunden?|heures?", re.IGNORECASE), 1 / 8766),
    (re.compile(r"d|days?|tage?n?|jours?|d[ií]as?|giorni|dagen", re.IGNORECASE), 1 / 365.25),
)
_DICOM_AGE = re.compile(r"(\d{3})([DWMY])", re.ASCII)
_OVER = re.compile(rf"(?:>|over|above|older than|über|plus de|más de)\s*(\d{{1,3}})\s*{_YEARS}?", re.IGNORECASE)
_AT_LEAST = re.compile(
    rf"(?:>=|≥|=>|at least)\s*(\d{{1,3}})\s*{_YEARS}?"
    rf"|(\d{{1,3}})\s*{_YEARS}?\s*(?:\+|and over|or over|and older|or older)",
    re.IGNORECASE,
)
# MIT-BIH: "69 M 1085 1629 x1"; also "69/M", "69M", "69 male"
_OLD_STYLE = re.compile(r"(\d{1,3})(?:\s*/\s*|\s*)(M|F|male|female|Male|Female)(?:\s|,|;|$)", re.ASCII)
_AGE_AND_SEX = re.compile(r"(age|sex|gender) ?[/,&+] ?(age|sex|gender)")
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
    text = line.lstrip("# \t").rstrip().replace("\uff1a", ":")  # the colon of Chinese and Japanese texts
    key, sign, value = text.partition(":")
    name, unit = _key(key, value) if sign else (None, "")
    if name in ("dx", "patient"):
        return ((name, value.strip()),)
    if name and not _IN_LINE.search(value):
        return ((name, _without_quotes(value) + unit),)
    old = _OLD_STYLE.match(text)
    if old:
        return ("age", old.group(1)), ("sex", old.group(2))
    pairs = _pairs_in(text) or (_age_and_sex(key, value) if sign else ())
    if pairs or sign:
        return pairs
    key, _, value = re.sub("[=;,]", " ", text, count=1).partition(" ")  # "#Age 74", "#Dx=426783006"
    name, unit = _key(key, value)
    if (
        name == "dx"
        or (name == "age" and parse_age(value.strip())[1] is None)
        or (name == "sex" and parse_sex(value)[1] is None)
    ):
        return ((name, value.strip() + unit),)
    return ()


def _age_and_sex(keys: str, values: str) -> tuple[tuple[str, str], ...]:
    """Age and sex of "Age/Sex: 74/M"."""
    names = _AGE_AND_SEX.fullmatch(keys.strip().lower())
    parts = [part for part in re.split(r"[\s/,;&+]+", values.strip()) if part]
    if names is None or len(parts) != 2:
        return ()
    kinds = ["age" if name == "age" else "sex" for name in names.groups()]
    return tuple(zip(kinds, parts)) if len(set(kinds)) == 2 else ()


def _without_quotes(value: str) -> str:
    """A value without the quotes around it."""
    value = value.strip()
    return value[1:-1].strip() if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


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


@lru_cache(maxsize=4096)
def _key(text: str, value: str) -> tuple[str | None, str]:
    """age, sex, dx or patient, if that is what a key of a comment means, and the unit that an age's key gives."""
    text = re.sub("(?<=t)(?=Age|Sex)", " ", text).lower()  # "PatientAge"
    key = " ".join(re.sub(r"[<>_\s\"']+|[(\[]snomed[- ]?(?:ct)?[)\]]", " ", text).split())
    if key in _KEYS:
        return _KEYS[key], ""
    if _DX_KEY.fullmatch(key) or (_PERHAPS_DX_KEY.fullmatch(key) and _says_a_code(value)):
        return "dx", ""
    unit = _KEY_UNIT.search(key)
    if unit:
        key = (key[: unit.start()] + key[unit.end() :]).strip()
    name = _KEYS.get(_AROUND_KEY.sub("", _SEX_CHOICE.sub("", key).strip()).strip())
    if name == "age":
        return name, f" {unit.group(1)}" if unit else ""
    return (name, "") if name == "sex" and not unit else (None, "")


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
    shown, text = text[:20], re.sub(r"\((years?|months?)\)", r"\1", text).strip(".,; ")
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
    word = text.lower().strip("\"'.,;()[]<>{} ")
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
# A code with such a word is not read: it says that the diagnosis is not there, is uncertain, or is past.
_NEGATION = re.compile(
    r"\b(?:no|not|without|absent|negative|neg|false|exclud\w*|ruled?[- ]out|rule\w* out|r/o|ohne|kein\w*|nicht|sans"
    r"|pas|sin|possibl\w*|probabl\w*|suspect\w*|suspicio\w*|likely|unlikely|maybe|questionable|resolved|history|hx|prior"
    r"|previous\w*|former\w*)\b|[?!~\u00ac]|(?<![\w)])-(?=\d)",
    re.IGNORECASE,
)
_VALUE = re.compile(r"(.*?\S)['\"]?\s*[:=]\s*\(?(\d{1,3}(?:\.\d+)?|true|false|yes|no)\)?", re.IGNORECASE | re.ASCII)
_ONLY_CODES = re.compile(r"[^\w?!~=]*\d{6,18}(?:[^\w?!~=]+\d{6,18})+[^\w?!~=]*", re.ASCII)  # "426783006-164889003"
_SHORT_NUMBER = re.compile(r"\d{1,5}(?:\.\d*)?", re.ASCII)
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
    for piece in re.split("[,;\n\t|\uff0c\uff1b\u3001]", _SNOMED_TERM.sub(_without_term, text)):
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
    value = _VALUE.fullmatch(plain)
    if value:  # "164889003: 1"; with 0, nobody knows whether it means "absent" or, as in PTB-XL, "not stated"
        positive = value.group(2).lower() in ("true", "yes") or value.group(2).strip("0.") != ""
        codes = _codes_in(value.group(1))
        readable = value.group(2).lower() not in ("false", "no") and positive and all(map(_code, codes))
        return codes if readable else [piece.strip()]
    code = _code(plain)
    if code:
        return [code]
    if _ONLY_CODES.fullmatch(plain) and not _NEGATION.search(piece):
        return _SNOMED_CODE.findall(re.sub(r"[\W_]+", " ", plain))
    codes = _SNOMED_CODE.findall(plain)
    words = [word.strip(_DECORATIONS) for word in re.split(r"[\s/+&]+", plain)]
    words = [
        word for word in words if word and not re.fullmatch("snomed|ct|snomed-ct|sct|and|und|et|e|y|dx", word.lower())
    ]
    if words and all(map(_code, words)) and not any(_SHORT_NUMBER.fullmatch(word) for word in words[1:]):
        return [_code(word) or word for word in words]
    if len(codes) == 1 and not _NEGATION.search(piece):
        return codes  # a code with its name
    return [piece.strip()] if plain else []


def _code(word: str) -> str | None:
    """The code that a word is, or is an abbreviation or a name of."""
    if re.fullmatch(r"\d+(?:\.0+)?", word, re.ASCII):  # spreadsheets add a decimal
        return word.partition(".")[0]
    power = re.fullmatch(r"(\d)\.(\d+)[eE]\+?0*(\d{1,2})", word, re.ASCII)
    if power and len(power.group(2)) == int(power.group(3)):  # also theirs; with fewer digits some would be lost
        return power.group(1) + power.group(2)
    name = " ".join(re.sub(r"[\s_-]+", " ", word.lower()).split())
    return _CODE_OF.get(word.lower()) or _CODE_OF_TEXT_LABEL.get(word.lower()) or _CODE_OF.get(name)


def _says_a_code(text: str) -> bool:
    """Whether a list of diagnoses holds a SNOMED CT code, or nothing but names of our own table."""
    if _SNOMED_CODE.search(text):
        return True
    pieces = [piece for piece in (piece.strip(_DECORATIONS) for piece in re.split("[,;|]", text)) if piece]
    return bool(pieces) and all(_code(piece) and not piece.isdigit() for piece in pieces)
