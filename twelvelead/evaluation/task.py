"""What the evaluator scores: the classes of a weights table, and the year whose rules apply.

task = load_task(None, "weights.csv")       # 2020 or 2021, depending on the table; "unofficial" has no table
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..data.classes import DIAGNOSES, SINUS_RHYTHM, load_weights
from ..errors import UserError

# Pairs of codes that the 2020 script merges into one class, named by the second code. (In the table of 2021 they are
# merged already, as A|B.)
MERGED_2020 = {"59118001": "713427006", "63593006": "284470004", "17338001": "427172004"}
# Codes that the organizers' tables of 2020 and 2021 list as occurring but unscored (dx_mapping_unscored.csv).
_UNSCORED = """
    368009 5609005 6374002 11157007 13640000 17366009 27885002 29320008 49260003 49578007 50799005 53741008 54016002
    54329005 55827005 55930002 57054005 60423000 61277005 61721007 65778007 67198005 74390002 74615001 75532003
    77867006 81898007 82226007 84114007 89792004 106068003 111288001 164861001 164865005 164867002 164873001
    164884008 164895002 164896001 164912004 164921003 164930006 164931005 164937009 164942001 164951009 195042002
    195060002 195080001 195101003 195126007 204384007 233892002 233897008 233917008 251120003 251139008 251164006
    251166008 251168009 251170000 251173003 251180001 251182009 251187003 251198002 251199005 251200008 251205003
    251223006 251259000 251266004 251268003 253339007 253352002 266249003 266257000 282825002 314208002 370365005
    413444003 413844008 418818005 425419005 425623009 425856008 426183003 426434006 426648003 426664006 426749004
    426761007 426995002 428417006 428750005 429622005 445211001 446358003 446813000 698247007 704997005 713422000
    67741000119109 67751000119106
"""
UNSCORED = frozenset(_UNSCORED.split())


@dataclass(frozen=True)
class Task:
    """The classes to score and the year whose rules apply.

    Attributes
    ----------
    year : {"2020", "2021", "unofficial", "own"}
        "own" for labels of the user's own, to which none of the organizers' rules apply; see own_labels.py.
    classes : tuple of str
        Names of the classes in the order of the metrics. In the unofficial phase they come from the labels.
    index : dict of str to int
        Position in `classes` of every code, merged codes included.
    weights : ndarray, float64, (classes, classes), or None
        Rewards of the Challenge metric; None in the unofficial phase and with labels of the user's own, which have no
        such metric.
    sinus_rhythm : int or None
        Position of sinus rhythm in `classes`.
    """

    year: str
    classes: tuple[str, ...] = ()
    index: dict[str, int] = field(default_factory=dict)
    weights: np.ndarray | None = None
    sinus_rhythm: int | None = None

    def knows(self, code: str) -> bool:
        """Whether the code is in any table of the Challenges."""
        return self.year == "unofficial" or code in self.index or code in DIAGNOSES or code in UNSCORED


def load_task(year: str | None, weights_path: str | Path) -> Task:
    """The task of a weights table.

    Parameters
    ----------
    year : {"2020", "2021", "unofficial"} or None
        None means 2021 for a table that joins codes as ``A|B``, otherwise 2020.
    weights_path : path
        Not read for the unofficial phase.

    Raises
    ------
    UserError
        If the table cannot be read, or the year's official script would refuse it.
    """
    if year == "unofficial":
        return Task(year)
    table = load_weights(weights_path)
    year = year or ("2021" if any(len(codes) > 1 for codes in table.rows) else "2020")
    if year == "2021":
        row_of = {"|".join(sorted(codes)): row for row, codes in enumerate(table.rows)}
        index = {code: row for row, codes in enumerate(table.rows) for code in codes}
    else:
        row_of = {}
        for row, codes in enumerate(table.rows):
            name = "|".join(codes)
            first = row_of.setdefault(MERGED_2020.get(name, name), row)
            if not (
                np.array_equal(table.matrix[row], table.matrix[first])
                and np.array_equal(table.matrix[:, row], table.matrix[:, first])
            ):
                raise UserError(
                    f"{weights_path}: {name} and {table.rows[first][0]} are one class in 2020, but their weights differ"
                )
        index = {name: place for place, name in enumerate(row_of)}
        index.update({code: index[name] for code, name in MERGED_2020.items() if name in index})
    if SINUS_RHYTHM not in row_of:
        raise UserError(f"{weights_path}: sinus rhythm, {SINUS_RHYTHM}, has no row of its own, which {year} asks for")
    rows = list(row_of.values())
    matrix = np.ascontiguousarray(table.matrix[np.ix_(rows, rows)])
    return Task(year, tuple(row_of), index, matrix, list(row_of).index(SINUS_RHYTHM))
