"""The scored diagnoses: SNOMED CT codes, which of them mean the same, and the weights between them.

table = load_weights(WEIGHTS)            # the 2020 table (27 codes) or the 2021 one (26 rows)
classes = scored_classes(table)          # 24 classes of 2020, equivalent codes merged
labels = classes.labels([("713427006",), ("426783006", "164889003")])    # (2, 24) bool
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import UserError

PACKAGE = Path(__file__).resolve().parent.parent
# An installed package contains the weights table; a checkout has it beside the package, where the organizers expect it.
WEIGHTS = (PACKAGE if (PACKAGE / "weights.csv").is_file() else PACKAGE.parent) / "weights.csv"

SINUS_RHYTHM = "426783006"  # the reference class of the Challenge metric

# Pairs of codes that are one class in a model: code → the canonical code of the class. The first three pairs are scored
# as one diagnosis in both years, the fourth in 2021 only. In 2020, 733534002 was not scored; it is complete left bundle
# branch block, so we count it as left bundle branch block.
EQUIVALENT = {"59118001": "713427006", "63593006": "284470004", "17338001": "427172004", "733534002": "164909002"}

# The 30 codes scored in 2020 or 2021, in the order of our output rows.
DIAGNOSES = {
    "270492004": ("IAVB", "1st degree AV block"),
    "164889003": ("AF", "atrial fibrillation"),
    "164890007": ("AFL", "atrial flutter"),
    "426627000": ("Brady", "bradycardia"),
    "713427006": ("CRBBB", "complete right bundle branch block"),
    "713426002": ("IRBBB", "incomplete right bundle branch block"),
    "445118002": ("LAnFB", "left anterior fascicular block"),
    "39732003": ("LAD", "left axis deviation"),
    "164909002": ("LBBB", "left bundle branch block"),
    "251146004": ("LQRSV", "low QRS voltages"),
    "698252002": ("NSIVCB", "nonspecific intraventricular conduction disorder"),
    "10370003": ("PR", "pacing rhythm"),
    "284470004": ("PAC", "premature atrial contraction"),
    "427172004": ("PVC", "premature ventricular contractions"),
    "164947007": ("LPR", "prolonged PR interval"),
    "111975006": ("LQT", "prolonged QT interval"),
    "164917005": ("QAb", "Q wave abnormal"),
    "47665007": ("RAD", "right axis deviation"),
    "59118001": ("RBBB", "right bundle branch block"),
    "427393009": ("SA", "sinus arrhythmia"),
    "426177001": ("SB", "sinus bradycardia"),
    "426783006": ("NSR", "sinus rhythm"),
    "427084000": ("STach", "sinus tachycardia"),
    "63593006": ("SVPB", "supraventricular premature beats"),
    "164934002": ("TAb", "T wave abnormal"),
    "59931005": ("TInv", "T wave inversion"),
    "17338001": ("VPB", "ventricular premature beats"),
    "733534002": ("CLBBB", "complete left bundle branch block"),
    "6374002": ("BBB", "bundle branch block"),
    "365413008": ("PRWP", "poor R wave progression"),
}
OUTPUT_CODES = tuple(DIAGNOSES)

# The nine classes of the unofficial phase of 2020: the text labels of that time's headers, and their codes since.
CPSC = {
    "AF": "164889003",
    "I-AVB": "270492004",
    "LBBB": "164909002",
    "Normal": SINUS_RHYTHM,
    "PAC": "284470004",
    "PVC": "164884008",
    "RBBB": "59118001",
    "STD": "429622005",
    "STE": "164931005",
}
# Codes that other sources use for one of the nine. Ventricular ectopics (164884008) are none of the 24 scored classes.
CPSC_EQUIVALENT = {
    "713427006": "59118001",
    "63593006": "284470004",
    "427172004": "164884008",
    "17338001": "164884008",
    "733534002": "164909002",
}
LABEL_SETS = ("challenge", "cpsc")
# The label set of a model whose classes come from the user's own labels; see own_labels.py. It is also the `year` of
# such classes, since none of the Challenges' rules apply to them.
OWN = "own"

# Codes that say which rhythm a recording has. A recording without any of them leaves its rhythm unstated: annotators of
# CPSC and Georgia write sinus rhythm only where there is nothing else to write. Single extra beats are no rhythm.
# The unscored ones are those of the organizers' table dx_mapping_unscored of 2020.
RHYTHMS = frozenset(
    {
        SINUS_RHYTHM,
        "426177001",  # sinus bradycardia
        "427084000",  # sinus tachycardia
        "427393009",  # sinus arrhythmia
        "426627000",  # bradycardia
        "10370003",  # pacing rhythm
        *("164889003", "426749004", "282825002", "314208002"),  # atrial fibrillation: any, chronic, paroxysmal, rapid
        *("164890007", "195080001"),  # atrial flutter; flutter and fibrillation
        *("426761007", "67198005", "713422000"),  # supraventricular tachycardia, paroxysmal; atrial tachycardia
        *("29320008", "426664006", "426648003", "426995002"),  # junctional rhythm, accelerated, tachycardia, escape
        *("49260003", "81898007", "164895002", "425856008", "164896001", "111288001"),  # ventricular rhythms
        *("11157007", "251180001", "251168009", "251173003"),  # bigeminy and trigeminy
        *("27885002", "195042002", "54016002", "65778007"),  # complete and second degree AV block, sinoatrial block
        *("251268003", "251266004"),  # pacing of the atrium, of the ventricle
        *("195101003", "74615001", "60423000"),  # wandering pacemaker, brady-tachy syndrome, sinus node dysfunction
    }
)

# Classes that a source never annotates among its public recordings; some of them were never looked for. Counted in the
# organizers' tables dx_mapping_scored of 2020 and 2021, with equivalent codes taken together. A key lists all names
# that sources.source_of can return for the source.
_NEVER = {
    "cpsc_2018 A": "AFL BBB Brady IRBBB LAD LAnFB LQRSV NSIVCB PR PRWP PVC LPR LQT QAb RAD SA SB STach TAb TInv",
    "cpsc_2018_extra Q": "BBB LAD LAnFB LQRSV PRWP LPR",
    "st_petersburg_incart I": "AFL LBBB IAVB IRBBB LAD LAnFB LQRSV NSR PR PRWP PVC LPR LQT QAb RAD SB TAb",
    "ptb S": "Brady LBBB CRBBB IAVB IRBBB LAD LAnFB LQRSV NSIVCB PAC PR PRWP PVC LPR LQT QAb RAD SA SB TAb TInv",
    "ptb-xl HR": "BBB Brady PRWP PVC",
    "georgia E": "PR PRWP LPR",
    "chapman_shaoxing": "BBB Brady IRBBB LAnFB PR PRWP SA",
    "ningbo": "AF",
}
_CODE = {abbreviation: code for code, (abbreviation, _) in DIAGNOSES.items()}
NEVER_ANNOTATED = {
    source: frozenset(_CODE[abbreviation] for abbreviation in never.split())
    for sources, never in _NEVER.items()
    for source in sources.split()
}


@dataclass(frozen=True)
class WeightTable:
    """The content of a weights.csv.

    Attributes
    ----------
    rows : tuple of tuples of str
        The codes of each row; several if the file joins them as ``A|B``.
    matrix : ndarray, float64, (rows, rows)
        Reward of the Challenge metric for label j and output k at [j, k].
    """

    rows: tuple[tuple[str, ...], ...]
    matrix: np.ndarray


def load_weights(path: str | Path) -> WeightTable:
    """Reads a Challenge weights table (2020: one code a row; 2021: equivalent codes as ``A|B``).

    Raises
    ------
    UserError
        If the file is missing, is not a square table of numbers with the same codes on both sides in the same
        order, or lacks sinus rhythm.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: the weights table cannot be read ({error}); restore weights.csv") from None
    names = [cell.strip() for cell in lines[0][1:]] if lines else []
    if not names or len(lines) != len(names) + 1 or [line[0].strip() for line in lines[1:]] != names:
        raise UserError(
            f"{path}: the weights table must have the same codes as rows and as columns, in one order; "
            f"it has {max(len(lines) - 1, 0)} rows and {len(names)} columns"
        )
    if any(len(line) != len(names) + 1 for line in lines):
        raise UserError(f"{path}: a row of the weights table has too few or too many cells")
    try:
        matrix = np.array([[float(cell) for cell in line[1:]] for line in lines[1:]], dtype=np.float64)
    except ValueError as error:
        raise UserError(f"{path}: a cell of the weights table is not a number ({error})") from None
    if not np.isfinite(matrix).all():
        raise UserError(f"{path}: the weights table holds NaN or infinite cells")
    rows = tuple(tuple(code.strip() for code in name.split("|")) for name in names)
    codes = [code for row in rows for code in row]
    if len(set(codes)) != len(codes):
        raise UserError(f"{path}: the weights table names a code twice")
    if SINUS_RHYTHM not in codes:
        raise UserError(f"{path}: the weights table lacks sinus rhythm, {SINUS_RHYTHM}, the metric's reference class")
    return WeightTable(rows, matrix)


@dataclass(frozen=True)
class Classes:
    """The classes of a model: one SNOMED CT code or name for each, and the rewards between them.

    Attributes
    ----------
    codes : tuple of str
        Canonical code of each class; an equivalent code belongs to the same class. With a label set of the user's own,
        the names of its classes, which may be any text.
    weights : ndarray, float64, (classes, classes)
        Rewards of the Challenge metric. The nine classes of the unofficial phase and the user's own classes have no
        rewards; for them this is the identity.
    outputs : tuple of str
        The columns of an output row: codes, text labels of the unofficial phase, or names as own_labels.written gives
        them.
    year : str
        Whose metrics score the classes: "2020", "unofficial", or "own" for a label set of the user's own.
    metric : str
        With the year "own", the name of the metric in thresholds.objectives.OWN_METRICS; otherwise empty.
    """

    codes: tuple[str, ...]
    weights: np.ndarray
    outputs: tuple[str, ...] = OUTPUT_CODES
    year: str = "2020"
    metric: str = ""

    @property
    def are_own(self) -> bool:
        """Whether the classes are those of a label set of the user's own."""
        return self.year == OWN

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of the class of each code, equivalent codes and the labels of the unofficial phase included.

        The user's own classes are what they are called, and nothing is equivalent to them.
        """
        index = {code: k for k, code in enumerate(self.codes)}
        if self.are_own:
            return index
        if self.year == "unofficial":
            others = {**CPSC, **CPSC_EQUIVALENT}
        else:
            codes = {**CPSC, **{name: code for code, (name, _) in DIAGNOSES.items() if name in CPSC}}
            others = {**EQUIVALENT, **{label: EQUIVALENT.get(code, code) for label, code in codes.items()}}
        index.update({code: index[twin] for code, twin in others.items() if twin in index})
        return index

    @property
    def _index_of_outputs(self) -> dict[str, int]:
        """Position of the class of each column of an output row."""
        return {column: k for k, column in enumerate(self.outputs)} if self.are_own else self.index

    @property
    def sinus_rhythm(self) -> int:
        """Position of sinus rhythm. Raises KeyError where the classes have none."""
        return self.index[SINUS_RHYTHM]

    @property
    def abbreviations(self) -> tuple[str, ...]:
        """Short name of each class."""
        if self.year == "unofficial":
            label_of = {code: label for label, code in CPSC.items()}
            return tuple(label_of[code] for code in self.codes)
        return tuple(DIAGNOSES[code][0] if code in DIAGNOSES else code for code in self.codes)

    def labels(self, codes_of_recordings: Iterable[Sequence[str]]) -> np.ndarray:
        """Labels, bool (recordings, classes), from the codes of each recording; codes of no class are ignored."""
        codes_of_recordings = list(codes_of_recordings)
        labels = np.zeros((len(codes_of_recordings), len(self.codes)), dtype=bool)
        for row, codes in zip(labels, codes_of_recordings):
            for code in codes:
                k = self.index.get(code)
                if k is not None:
                    row[k] = True
        return labels

    def laid_out(self, values: np.ndarray, codes: tuple[str, ...], missing) -> np.ndarray:
        """Values of the classes, (…, classes), rearranged as columns for `codes`, (…, codes).

        Equivalent codes get the same value; a code of no class gets `missing`.
        """
        return _laid_out(values, [self.index.get(code) for code in codes], missing)

    def as_output(self, values: np.ndarray, missing) -> np.ndarray:
        """Values of the classes, (…, classes), rearranged as an output row, (…, outputs)."""
        return _laid_out(values, [self._index_of_outputs.get(column) for column in self.outputs], missing)

    def of_output(self, values: np.ndarray, codes: tuple[str, ...]) -> np.ndarray:
        """Values of output rows, (…, outputs), rearranged as columns for `codes`, (…, codes).

        A code for which there is no output gets 0.
        """
        of_outputs = self._index_of_outputs
        column_of = {of_outputs[code]: k for k, code in enumerate(self.outputs) if code in of_outputs}
        padded = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)  # the last column, -1, is 0
        columns = [column_of.get(self.index[code], -1) if code in self.index else -1 for code in codes]
        return padded[..., columns]

    def spelled_as(self, codes_of_recordings: Iterable[Sequence[str]]) -> Classes:
        """The same classes, with output rows in the spelling of the recordings' headers.

        Only the nine classes have two spellings, codes and text labels. The scorer of the unofficial phase ignores an
        output row's names: it takes its columns for the sorted labels that occur in the headers.
        """
        if self.year != "unofficial":
            return self
        text = any(code in CPSC for codes in codes_of_recordings for code in codes)
        return replace(self, outputs=tuple(sorted(CPSC if text else CPSC.values())))

    def to_dict(self) -> dict:
        """Plain JSON values."""
        values = dict(codes=self.codes, weights=self.weights.tolist(), outputs=self.outputs, year=self.year)
        return {**values, "metric": self.metric} if self.are_own else values

    @staticmethod
    def from_dict(values: dict) -> Classes:
        """The classes that `to_dict` wrote; further keys are ignored."""
        return Classes(
            tuple(values["codes"]),
            np.array(values["weights"], dtype=np.float64),
            tuple(values["outputs"]),
            values["year"],
            values.get("metric", ""),
        )


def _laid_out(values: np.ndarray, places: Sequence[int | None], missing) -> np.ndarray:
    """Columns of values, (…, classes), at these places, (…, places); `missing` where a place is None."""
    values = np.asarray(values)
    out = np.full((*values.shape[:-1], len(places)), missing, dtype=values.dtype)
    for column, place in enumerate(places):
        if place is not None:
            out[..., column] = values[..., place]
    return out


def classes_for(label_set: str, table: WeightTable) -> Classes:
    """The classes of a recipe's label set: "challenge", those of the weights table, or "cpsc", the nine classes.

    Raises
    ------
    UserError
        If there is no such set, or the table is not a Challenge table.
    """
    if label_set == "challenge":
        return scored_classes(table)
    if label_set == "cpsc":
        return Classes(tuple(CPSC.values()), np.eye(len(CPSC)), tuple(sorted(CPSC.values())), "unofficial")
    raise UserError(f"unknown label set '{label_set}'; there are: {', '.join(LABEL_SETS)}")


def scored_classes(table: WeightTable) -> Classes:
    """The classes of a weights table, equivalent codes merged (2020: 27 codes become 24 classes).

    Raises
    ------
    UserError
        If equivalent codes have different weights, or a row joins codes that are not equivalent: then the table is not
        a Challenge table.
    """
    first: dict[str, int] = {}  # canonical code → the first row that has it, in the order of the table
    for row, codes in enumerate(table.rows):
        for code in codes:
            canonical = EQUIVALENT.get(code, code)
            other = first.setdefault(canonical, row)
            if other != row and not (
                np.array_equal(table.matrix[row], table.matrix[other])
                and np.array_equal(table.matrix[:, row], table.matrix[:, other])
            ):
                raise UserError(f"weights table: {code} means the same as {canonical} but has other weights")
    rows = list(first.values())
    if len(set(rows)) != len(rows):
        raise UserError(
            "weights table: a row joins codes that are different diagnoses for this project: "
            + ", ".join("|".join(table.rows[row]) for row in rows if rows.count(row) > 1)
        )
    return Classes(tuple(first), table.matrix[np.ix_(rows, rows)])
