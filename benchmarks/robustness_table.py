"""The results of robustness.py as text: how the models were made, then a table with a row for each corruption.

This file is not a benchmark itself.
"""

from __future__ import annotations

from typing import Any

from corruptions import CLEAN
from shared import markdown


def as_markdown(results: dict[str, Any], command: str) -> str:
    """The command, the models, and the table."""
    models, rows = results["models"], results["rows"]
    titles = [model["recipe"] for model in models]
    if len(set(titles)) < len(titles):
        titles = [model["folder"] for model in models]
    lines = [f"`{command}`", ""]
    for model in models:
        network = ", ".join(f"{name} {value}" for name, value in model["network"].items())
        lines.append(
            f"- `{model['folder']}`: recipe `{model['recipe']}`, {len(model['epochs'])} members of "
            f"{'/'.join(map(str, model['epochs']))} epochs, {network}, seed {model['seed']}, "
            f"trained on {model['recordings']} recordings"
        )
    lines += [
        "",
        f"{results['recordings']} recordings of `{results['data']}`, seed {results['seed']}; in brackets "
        f"95 % intervals from {results['resamples']} resamples of the recordings, the same in every cell.",
        "",
    ]
    head, several = ["copy", "limit"], len(titles) > 1
    for title in titles:
        prefix = f"{title}: " if several else ""
        head += [f"{prefix}{results['metric']}", f"{prefix}loss", "kept"]
    table = []
    for row in rows:
        cells = [row["title"], "" if row["limit"] is None else f"{row['limit']:g}"]
        for model in row["models"]:
            cells += [
                _cell(model["score"]),
                "" if row["name"] == CLEAN else _cell(model["loss"], "+.3f"),
                {None: "", True: "yes", False: "**no**"}[model["kept"]],
            ]
        table.append(cells + ([_cell(row["difference"], "+.3f")] if several else []))
    text = "\n".join(lines) + "\n" + markdown(head + ([" − ".join(titles)] if several else []), table)
    notes = [
        f"{model['fell_back']} ({title}, {row['title']})"
        for row in rows
        for title, model in zip(titles, row["models"])
        if model["fell_back"]
    ]
    if notes:
        text += f"\nRecordings that could not be classified and count as sinus rhythm: {', '.join(notes)}.\n"
    return text


def _cell(figure: dict[str, float], form: str = ".3f") -> str:
    return f"{figure['value']:{form}} [{figure['low']:{form}}, {figure['high']:{form}}]"
