"""The command `twelvelead report`: reads, computes, and writes one page.

write_report(Request(Path("labels"), Path("outputs"), Path("report.html"), model=Path("model")))
"""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..files import write_text
from ..terminal import say, warn
from .inputs import Inputs, Request, read_inputs
from .page import build_page, render


def write_report(request: Request) -> Path:
    """Writes the report that is asked for and returns its path.

    Raises
    ------
    UserError
        If an option is impossible, a folder or file cannot be read, or the page cannot be written.
    """
    _check(request)
    inputs = read_inputs(request)
    for note in inputs.notes:
        warn(f"note: {note}")
    page = build_page(request, inputs)
    try:
        write_text(request.out, render(page))
    except OSError as error:
        raise UserError(f"{request.out}: the report cannot be written ({error.strerror or error})") from None
    say(f"{request.out}: {_summary(inputs)}; open it in a browser")
    return request.out


def _check(request: Request) -> None:
    """Raises UserError for what can be refused before files are read and resamples are drawn, which takes minutes."""
    if request.resamples < 1:
        raise UserError(f"--resamples {request.resamples}: intervals need at least one resample")
    if request.mistakes < 0:
        raise UserError(f"--mistakes {request.mistakes}: a number of mistakes cannot be negative")
    if request.out.is_dir():
        raise UserError(f"{request.out}: this is a folder; name the page, such as {request.out / 'report.html'}")
    if not request.out.parent.is_dir():
        raise UserError(f"{request.out.parent}: there is no such folder; make it first, or name another page")
    if request.data is not None and not request.data.is_dir():
        raise UserError(f"{request.data}: there is no such folder; name the one that holds the signals")


def _summary(inputs: Inputs) -> str:
    sources, classes = len(set(inputs.sources.tolist())), len(inputs.class_names)
    return (
        f"{len(inputs.names)} recordings of {sources} source{'' if sources == 1 else 's'}, "
        f"{classes} class{'' if classes == 1 else 'es'}"
    )
