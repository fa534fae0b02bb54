"""MODEL_CARD.md of a model folder: what a model is, what it learned from, and what it must not be used for.

    text = model_card(facts)                            # what training knows
    text = with_measurements(text, tables)              # tables that were measured later, see experiments/model_card.py

After M. Mitchell et al.: Model Cards for Model Reporting, FAT* 2019, doi:10.1145/3287560.3287596.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..data.classes import DIAGNOSES, Classes
from ..data.sources import source_of
from ..recipes import AnyRecipe, Recipe

CARD = "MODEL_CARD.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
FEW_RECORDINGS = 50  # a class with fewer is hardly learned
NOT_MEASURED = (
    "Nothing yet. What training itself knows are the metrics in `thresholds.json`, of recordings by which the "
    "thresholds were chosen; they are too good to be quoted."
)


class SourceInfo(NamedTuple):
    """A public data set of the Challenges."""

    title: str
    licence: str
    citation: str


_CHALLENGE = "CC BY 4.0, in the Challenge's release"
_PEREZ_ALDAY = "Perez Alday et al., Physiological Measurement 41 (2020) 124003, doi:10.1088/1361-6579/abc960"
_LIU = "Liu et al., J. Med. Imaging Health Inform. 8 (2018) 1368, doi:10.1166/jmihi.2018.2442"
SOURCES = {
    "cpsc_2018": SourceInfo("CPSC 2018", _CHALLENGE, _LIU),
    "cpsc_2018_extra": SourceInfo("CPSC 2018, extra recordings", _CHALLENGE, _LIU),
    "st_petersburg_incart": SourceInfo(
        "St Petersburg INCART 12-lead Arrhythmia Database", _CHALLENGE, "Tihonenko et al., doi:10.13026/C2V88N"
    ),
    "ptb": SourceInfo(
        "PTB Diagnostic ECG Database",
        _CHALLENGE,
        "Bousseljot et al., Biomedizinische Technik 40 (1995) S317, doi:10.13026/C28C71",
    ),
    "ptb-xl": SourceInfo(
        "PTB-XL", "CC BY 4.0", "Wagner et al., Scientific Data 7 (2020) 154, doi:10.1038/s41597-020-0495-6"
    ),
    "georgia": SourceInfo("Georgia 12-lead ECG Challenge Database", _CHALLENGE, _PEREZ_ALDAY),
    "chapman_shaoxing": SourceInfo(
        "Chapman-Shaoxing", "CC BY 4.0", "Zheng et al., Scientific Data 7 (2020) 48, doi:10.1038/s41597-020-0386-x"
    ),
    "ningbo": SourceInfo(
        "Ningbo First Hospital",
        "CC BY 4.0",
        "Zheng et al., Scientific Reports 10 (2020) 2898, doi:10.1038/s41598-020-59821-7",
    ),
}
# Recordings in flat folders have the letters of their names as source.
_LETTERS = {
    "A": "cpsc_2018",
    "Q": "cpsc_2018_extra",
    "I": "st_petersburg_incart",
    "S": "ptb",
    "HR": "ptb-xl",
    "E": "georgia",
}
_UNKNOWN = SourceInfo("not known to this program", "ask who gave you the data", "—")


class Part(NamedTuple):
    """The members of one recipe that are done: the epochs of each, and the parameters of one network."""

    recipe: Recipe
    epochs: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Facts:
    """What training knows about its model.

    Attributes
    ----------
    recipe : Recipe or JoinedRecipe
    classes : Classes
    parts : sequence of Part
        The members of its recipe, or of each recipe that it joins.
    seed : int
    headers : sequence of str
        Of the real recordings that members were trained and validated with, below the data folder.
    synthetic : int
        Synthetic recordings from which every member learned beside them.
    labels : bool (recordings, classes)
        Of these recordings.
    metadata : float32 (recordings, 7 or 13)
        See preprocessing.prepare.metadata_of.
    threshold_stages : sequence of (str, float)
        The stages of the search for the ensemble's thresholds, with the metric after each of them.
    threshold_recordings : int
        From so many recordings.
    version : str
        Of this package.
    known : bool (recordings, classes) or None
        Labels that are known, with a label set of the user's own; None: all of them.
    origin : str
        Where labels of the user's own were read, in words; otherwise empty.
    start : str or None
        The model from which the members started, in words.
    has_teacher : bool
        Whether the network learned from the scores of another model, which says something of unknown labels too.
    """

    recipe: AnyRecipe
    classes: Classes
    parts: Sequence[Part]
    seed: int
    headers: Sequence[str]
    synthetic: int
    labels: np.ndarray
    metadata: np.ndarray
    threshold_stages: Sequence[tuple[str, float]]
    threshold_recordings: int
    version: str
    known: np.ndarray | None = None
    origin: str = ""
    start: str | None = None
    has_teacher: bool = False


def model_card(facts: Facts) -> str:
    """The card as Markdown. Equal facts give equal texts, so it holds no date."""
    recipe, voting = facts.recipe, facts.recipe.voting
    members = sum(len(part.epochs) for part in facts.parts)
    used = (
        "the mean of the members' scores" if voting.thresholds == "ensemble" else "each member, whose majority counts"
    )
    conventions = voting.convention_recordings if voting.convention_weight else 0
    twice = ", counted once as labelled and once as others might have labelled it" if voting.other_habits else ""
    drawn = ", with labels drawn from their probabilities" if voting.label_draws else ""
    beside = f", and {conventions} synthetic ones of hospitals that write in other ways" if conventions else ""
    moved = (
        " In each recording they are moved by what else is likely in it (`thresholds/context.py`)."
        if voting.context_part and voting.convention_recordings
        else ""
    )
    stages = ", ".join(f"{stage} {value:.3f}" for stage, value in facts.threshold_stages)
    if voting.thresholds == "members" and len(facts.parts) > 1:
        used = "each member; how many of them have to agree is in `thresholds.json`"
    start = f"{facts.start} " if facts.start else ""
    sections = [
        "# Model card",
        f"An ensemble of {_count(members, 'neural network')} that names diagnoses in 12-lead ECGs: recipe "
        f"`{recipe.name}` ({recipe.summary}), trained by twelvelead {facts.version}.",
        "**For research only. This is no medical device. It must not be used to diagnose, to treat, to triage or to "
        "monitor a person.**",
        "## What it takes and gives",
        f"It takes the standard twelve leads or some of them, at any sampling frequency, and optionally age and sex; "
        f"{_inputs(facts.parts)} It gives a score between 0 and 1 and a yes or no for each of "
        f"{len(facts.classes.codes)} classes (`classes.json`).",
        "## What it learned from",
        _data(facts),
        "## How it was trained",
        f"{start}{_members(facts.parts)}, "
        f"seed {facts.seed}; every number is in `recipe.json`, every epoch in `history.csv`, and who trained on what "
        f"in `splits.json`. Source of the method: {recipe.source}.",
        f"Thresholds are of {used}. They were searched by the method `{voting.threshold_method}` with "
        f"{facts.threshold_recordings} recordings, each scored by members that had not trained on it{drawn}{twice}"
        f"{beside} (metric after each stage: {stages}).{moved}",
        "## What was measured",
        f"{BEGIN}\n{NOT_MEASURED}\n{END}",
        "## What it has not seen, and what it must not be used for",
        _limits(facts),
    ]
    return "\n\n".join(sections) + "\n"


def _inputs(parts: Sequence[Part]) -> str:
    """At which rate and in which pieces the networks take recordings."""
    texts = []
    for part in parts:
        spec = part.recipe.input
        texts.append(
            f"internally {spec.frequency_hz:g} Hz. Recordings longer than {spec.longest_s:g} s are scored in pieces of "
            f"{spec.piece_s:g} s."
            if len(parts) == 1
            else f"{spec.frequency_hz:g} Hz and {spec.piece_s:g} s for `{part.recipe.name}`"
        )
    return texts[0] if len(parts) == 1 else f"internally at a rate and in pieces of: {', '.join(texts)}."


def _members(parts: Sequence[Part]) -> str:
    """How many members there are, with their epochs and parameters; of each recipe, if there are several."""
    texts = [
        f"{_count(len(part.epochs), 'member')} {f'of `{part.recipe.name}` ' * (len(parts) > 1)}of "
        f"{_span(part.epochs)} epochs, {part.parameters:,} parameters each"
        for part in parts
    ]
    return "; ".join(texts)


def with_measurements(card: str, text: str) -> str:
    """The card with a text in the place of what was measured. A card without such a place gets a section at its end."""
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    measured = f"{BEGIN}\n{text.strip()}\n{END}"
    if not (begin and end):
        return f"{card.rstrip()}\n\n## What was measured\n\n{measured}\n"
    return before + measured + after


def _data(facts: Facts) -> str:
    """The sources with counts, licences and citations; then persons and classes."""
    counts = Counter(source_of(header, ".") for header in facts.headers)
    lines = ["| source | recordings | licence | cite |", "|---|---:|---|---|"]
    for source, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        info = SOURCES.get(_LETTERS.get(source, source), _UNKNOWN)
        name = info.title if info is not _UNKNOWN else f"`{source}`, {info.title}"
        lines.append(f"| {name} | {count:,} | {info.licence} | {info.citation} |")
    synthetic = facts.synthetic
    if synthetic:
        lines.append(f"| synthetic recordings of this package (docs/synthetic.md) | {synthetic:,} | BSD-2-Clause | — |")
    taught = "there the network learned what the teacher says" if facts.has_teacher else "taught nothing"
    empty = f"Empty cells were unknown{';' if facts.has_teacher else ' and'} {taught}."
    own = [f"Labels: {facts.origin}. {empty}", ""] if facts.origin else []
    return "\n".join([*lines, "", _people(facts.metadata), "", *own, *_class_table(facts)])


def _people(metadata: np.ndarray) -> str:
    ages = metadata[metadata[:, 1] > 0, 0] * 100
    female, male, known = (int((metadata[:, column] > 0).sum()) for column in (2, 3, 4))
    sex = f"{female:,} of females, {male:,} of males, {len(metadata) - known:,} of unknown sex"
    if not len(ages):
        return f"Recordings: {sex}; no age is known."
    low, middle, high = np.percentile(ages, (5, 50, 95))
    minors = int((ages < 18).sum())
    return (
        f"Recordings: {sex}; age {middle:.0f} years in the median, 90 % from {low:.0f} to {high:.0f}, {minors:,} of "
        f"persons under 18, {len(metadata) - len(ages):,} of unknown age."
    )


def _class_table(facts: Facts) -> list[str]:
    if facts.known is not None:
        counts = zip(facts.classes.codes, (facts.labels & facts.known).sum(axis=0), facts.known.sum(axis=0))
        rows = [f"| {in_cell(name)} | {positives:,} | {known:,} |" for name, positives, known in counts]
        return ["| class | recordings | of those where it is known |", "|---|---:|---:|", *rows]
    lines = ["| class | diagnosis | recordings |", "|---|---|---:|"]
    positives = facts.labels.sum(axis=0)
    for abbreviation, code, count in zip(facts.classes.abbreviations, facts.classes.codes, positives.tolist()):
        diagnosis = DIAGNOSES[code][1] if code in DIAGNOSES else in_cell(code)
        lines.append(f"| {in_cell(abbreviation)} | {diagnosis} | {int(count):,} |")
    return lines


def in_cell(text: str) -> str:
    """A text in a cell of a Markdown table, where a bar would begin the next cell."""
    return text.replace("|", "\\|")


def _limits(facts: Facts) -> str:
    rare = [
        abbreviation
        for abbreviation, count in zip(facts.classes.abbreviations, facts.labels.sum(axis=0))
        if count < FEW_RECORDINGS
    ]
    points = [
        "It knows no other diagnosis than its classes. That it finds nothing does not mean that the heart is healthy; "
        "it does not look for infarction, for instance, unless a class above says so.",
        "Hospitals that are not in the table above, their devices and the way in which they write diagnoses. Scores "
        "fall there; how far is in the tables above where it was measured.",
        "Persons of groups that are hardly among the recordings above, children first of all.",
        "Holter and monitor recordings, exercise tests, electrodes elsewhere than at the standard places, pictures and "
        "printed sheets of 2.5 s a lead.",
        "Scores are no calibrated probabilities unless the tables above show it.",
        "The Challenge forbids to submit a model that was trained elsewhere: "
        + ("this one started from such a model." if facts.start else "`train_model.py` never starts from one."),
    ]
    if rare:
        points.insert(1, f"Classes with fewer than {FEW_RECORDINGS} recordings are hardly learned: {', '.join(rare)}.")
    return "\n".join(f"- {point}" for point in points)


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _span(numbers: Sequence[int]) -> str:
    return "–".join(map(str, sorted({min(numbers), max(numbers)}))) if numbers else "0"
