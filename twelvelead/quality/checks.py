"""What is unusual about a recording, in sentences for whoever reads its result.

checked = check(recording)
checked.findings        # (Finding("the signal is 3.1 s long …", severe=True), …)
checked.recording       # with all leads turned back, if they were certainly upside down
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..data.leads import LEADS
from ..data.recording import Recording
from ..preprocessing.heart_rate import rate_of
from ..preprocessing.leads import undo_arm_reversal
from ..preprocessing.prepare import POSSIBLE_MV, amplitude_of
from .beats import FREQUENCY_HZ, View, average_beat, view_of
from .inversion import all_leads_inverted, inverted_leads

SHORTEST_S = 5.0  # shorter recordings hold too few beats
# Median absolute second difference at 250 Hz, relative to the lead's 98th percentile. One lead in a thousand of the
# real recordings reaches 0.18; noise alone has 0.7.
NOISY = 0.18
SHEET_EXTENT = 0.4  # a lead of a printed sheet of three rows by four columns has a quarter of the recording
MOST_FLAT = 3  # flat or missing leads beyond which a result should not be trusted
SLOWEST, FASTEST = 25.0, 250.0  # beats a minute; outside them the sampling frequency is probably wrong


class Finding(NamedTuple):
    """Something unusual, in one sentence without a final dot.

    `severe` says that the result should not be trusted.
    """

    text: str
    severe: bool = False


@dataclass(frozen=True)
class Checked:
    """A recording with what is unusual about it; the signal is corrected where that is certain."""

    recording: Recording
    findings: tuple[Finding, ...]


def check(recording: Recording, *, undoes_arm_reversal: bool = True, needs_gain: bool = False) -> Checked:
    """Looks at a recording as a careful technician would.

    Parameters
    ----------
    recording : Recording
        With any leads and any sampling frequency.
    undoes_arm_reversal : bool
        Whether the model's own preparation exchanges the arm electrodes back (Input.undo_arm_reversal).
    needs_gain : bool
        Whether the model takes amplitudes as they are, so that a wrong gain makes its result worthless.

    Returns
    -------
    Checked
        With the recording itself, or with a copy in which all leads were turned over.
    """
    view = view_of(recording)
    if not view.present.any():
        return Checked(recording, (Finding("no lead holds a signal", severe=True),))
    findings: list[Finding] = []
    beat = average_beat(view)
    inverted = all_leads_inverted(beat, view.present)
    if inverted == "certain":
        recording = replace(recording, signal_mv=-recording.signal_mv)
        view = replace(view, signal_mv=-view.signal_mv)
        findings.append(Finding("all leads were upside down, as P and QRS show; they were turned over"))
    elif inverted == "suspected":
        findings.append(
            Finding("QRS points the wrong way in I, II, aVR, V5 and V6: all leads may be upside down", severe=True)
        )
    findings += _about_length(recording, view)
    findings += _about_leads(recording, view)
    findings += _about_gain(view, needs_gain)
    findings += _about_beats(view)
    findings += _about_electrodes(view, undoes_arm_reversal)
    return Checked(recording, tuple(findings))


def _about_length(recording: Recording, view: View) -> list[Finding]:
    seconds = recording.signal_mv.shape[1] / recording.frequency_hz
    if seconds < SHORTEST_S:
        return [Finding(f"the signal is only {seconds:.3g} s long, less than {SHORTEST_S:g} s", severe=True)]
    partial = [LEADS[k] for k in range(len(LEADS)) if view.present[k] and view.extent[k] < SHEET_EXTENT]
    if len(partial) >= 6:
        return [
            Finding(
                f"{len(partial)} leads hold a signal for a part of the time only, as on a printed sheet of 2.5 s a "
                "lead; the model takes leads that were recorded at once",
                severe=True,
            )
        ]
    gaps = [f"{LEADS[k]} {1 - view.known[k]:.0%}" for k in range(len(LEADS)) if view.present[k] and view.known[k] < 0.9]
    return [Finding(f"missing samples: {', '.join(gaps)}")] if gaps else []


def _about_leads(recording: Recording, view: View) -> list[Finding]:
    findings = []
    missing = [lead for lead in LEADS if lead not in recording.leads]
    flat = [LEADS[k] for k in range(len(LEADS)) if LEADS[k] in recording.leads and not view.present[k]]
    # Two limb leads give the other four exactly.
    lost = int((~view.present[6:]).sum()) + (0 if view.present[:6].sum() >= 2 else int((~view.present[:6]).sum()))
    for leads, words in ((missing, "not recorded"), (flat, "flat")):
        if leads:
            findings.append(Finding(f"{words}: {', '.join(leads)}"))
    if lost > MOST_FLAT:
        findings.append(
            Finding(f"{lost} leads are missing or flat and do not follow from others", severe=lost > 6 + MOST_FLAT)
        )
    magnitude = np.abs(view.signal_mv)
    size = np.percentile(magnitude, 98, axis=1)
    roughness = np.median(np.abs(np.diff(view.signal_mv, 2, axis=1)), axis=1) if magnitude.shape[1] > 2 else size * 0
    noisy = [LEADS[k] for k in np.flatnonzero(view.present & (roughness > NOISY * np.maximum(size, 1e-9)))]
    if noisy:
        findings.append(Finding(f"very noisy: {', '.join(noisy)}", severe=2 * len(noisy) >= view.present.sum()))
    return findings


def _about_gain(view: View, needs_gain: bool) -> list[Finding]:
    amplitude = amplitude_of(view.signal_mv[view.present])
    low, high = POSSIBLE_MV
    if low <= amplitude <= high:
        return []
    consequence = "the model takes amplitudes as they are" if needs_gain else "the model does not use it"
    return [
        Finding(
            f"the amplitude, {amplitude:.3g} mV, is one that no heart has ({low:g} to {high:g} mV): the gain or the "
            f"unit must be wrong; {consequence}",
            severe=needs_gain,
        )
    ]


def _about_beats(view: View) -> list[Finding]:
    rate = rate_of(view.places, FREQUENCY_HZ)
    if rate is None:
        return [Finding(f"{len(view.places)} heartbeats were found, fewer than three", severe=True)]
    if SLOWEST <= rate <= FASTEST:
        return []
    return [Finding(f"{rate:.0f} beats a minute: the sampling frequency may be wrong", severe=True)]


def _about_electrodes(view: View, undoes_arm_reversal: bool) -> list[Finding]:
    findings = []
    leads = inverted_leads(view)
    if leads:
        findings.append(Finding(f"upside down, as the other leads say: {', '.join(leads)}", severe=True))
    if undo_arm_reversal(view.signal_mv, view.present)[0] is not view.signal_mv:
        done = "; the model exchanges them back" if undoes_arm_reversal else ""
        findings.append(
            Finding(f"the right and left arm electrodes seem to be exchanged{done}", severe=not undoes_arm_reversal)
        )
    return findings
