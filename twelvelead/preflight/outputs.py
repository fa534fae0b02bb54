"""Output files, byte by byte.

problem_of(text, "A0001")           # None, or one line
"""

from __future__ import annotations

from pathlib import Path

from ..data.classes import EQUIVALENT, OUTPUT_CODES, SINUS_RHYTHM


def problem_of(text: str, recording: str) -> str | None:
    """What is wrong with an output file's text in the eyes of either Challenge's scorer, in one line; None if nothing.

    The four lines must be what their plainest form is: no spaces, no quotes, integer labels, the 30 codes of both years
    in our order, equivalent codes with equal values.
    """
    lines = text.split("\n")
    if len(lines) != 5 or lines[4]:
        return f"it has {len(lines) - 1} lines where 4 are due"
    if lines[0] != f"#{recording}":
        return f"its first line is {lines[0][:40]!r} where '#{recording}' is due"
    if lines[1] != ",".join(OUTPUT_CODES):
        return "its codes are not the 30 codes of both years in their order"
    labels, scores = lines[2].split(","), lines[3].split(",")
    if len(labels) != 30 or not set(labels) <= {"0", "1"}:
        return f"its labels are not 30 times 0 or 1: {lines[2][:60]}"
    try:
        numbers = [float(score) for score in scores]
    except ValueError:
        return f"its scores are no numbers: {lines[3][:60]}"
    if len(numbers) != 30 or not all(0 <= number <= 1 for number in numbers):
        return f"its scores are not 30 numbers from 0 to 1: {lines[3][:60]}"
    if lines[3] != ",".join(map(str, numbers)):
        return "its scores are not written as plain numbers"
    values = dict(zip(OUTPUT_CODES, zip(labels, numbers)))
    for code, twin in EQUIVALENT.items():
        if values[code] != values[twin]:
            return f"{code} and {twin} mean the same and have different values"
    return None


def is_sinus_rhythm_alone(text: str) -> bool:
    """Whether sinus rhythm is the only label of an output file."""
    codes, labels = (line.split(",") for line in text.split("\n")[1:3])
    return [code for code, label in zip(codes, labels) if label == "1"] == [SINUS_RHYTHM]


def problems_of_folder(outputs: Path, recordings: set[str], damaged: set[str]) -> list[str]:
    """What is wrong with the output files of a run, one line each.

    Parameters
    ----------
    outputs : Path
    recordings : set of str
        The recordings that were run; each must have its file, and no other file may lie there.
    damaged : set of str
        Those that hold no signal. They must be called sinus rhythm. Their scores, which are the same for all of them,
        are those of the fallback, which no other recording may have.
    """
    files = {path.relative_to(outputs).as_posix() for path in outputs.rglob("*") if path.is_file()}
    wanted = {f"{name}.csv" for name in recordings}
    problems = [f"{name}: there is no output" for name in sorted(wanted - files)]
    problems += [f"{name}: nobody asked for this file" for name in sorted(files - wanted)]
    texts = {name: (outputs / f"{name}.csv").read_bytes().decode() for name in recordings if f"{name}.csv" in files}
    well_formed = set()
    for name, text in sorted(texts.items()):
        problem = problem_of(text, Path(name).name)
        if problem:
            problems.append(f"{name}.csv: {problem}")
        else:
            well_formed.add(name)
    fallback = {texts[name].split("\n")[3] for name in well_formed & damaged}
    for name in sorted(well_formed):
        if name in damaged and not is_sinus_rhythm_alone(texts[name]):
            problems.append(f"{name}.csv: a recording without a signal is not called sinus rhythm")
        if name not in damaged and texts[name].split("\n")[3] in fallback:
            problems.append(f"{name}.csv: it has the scores of a recording without a signal: it fell back")
    if len(fallback) > 1:
        problems.append("recordings without a signal have different scores: something was read that is not there")
    return problems
