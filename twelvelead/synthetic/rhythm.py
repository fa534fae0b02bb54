"""When the heart beats: P waves, QRS complexes and pacing spikes of each rhythm.

All times are in seconds from the beginning of the recording. Rhythms start before it and end after it, so that a
recording is cut out of a beating heart. Rates and intervals are those of Surawicz, Knilans: Chou's Electrocardiography
in Clinical Practice (6th edition).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .ectopy import add_atrial_beats, add_ventricular_beats, draw_pattern

BEFORE_S, AFTER_S = 3.0, 2.0
BEATS_PER_MINUTE = {
    "NSR": (60, 99),
    "SB": (40, 58.5),
    "STach": (101.5, 150),
    "SA": (58, 92),
    "AF": (52, 150),
    "EAR": (52, 95),
}


@dataclass(frozen=True)
class Breath:
    """Respiration: it speeds the sinus node, turns the heart and moves the electrodes."""

    frequency_hz: float
    phase: float

    def at(self, t_s: np.ndarray) -> np.ndarray:
        """Its state, from -1 to 1, at times in seconds."""
        return np.sin(2 * np.pi * self.frequency_hz * t_s + self.phase)


@dataclass
class Rhythm:
    """Onsets (s) of P waves and of QRS complexes by kind, of spikes, and what the atria do besides."""

    # P is "sinus", "ectopic", "retrograde" or "low"; QRS is "conducted", "aberrant", "PVC", "paced" or "escape".
    # "second ectopic" and "second PVC" come from another place than the first.
    p: dict[str, np.ndarray] = field(default_factory=dict)
    qrs: dict[str, np.ndarray] = field(default_factory=dict)
    spikes: np.ndarray = field(default_factory=lambda: np.zeros(0))
    atria: str = ""  # "fibrillation", "flutter" or nothing
    flutter_s: np.ndarray = field(default_factory=lambda: np.zeros(0))  # onsets of the flutter waves

    def beats(self) -> np.ndarray:
        """Onsets of all QRS complexes in their order, s."""
        return np.sort(np.concatenate(list(self.qrs.values())))


def rhythm_of(
    rng: np.random.Generator, findings: frozenset[str], seconds: float, breath: Breath, pr_s: float
) -> Rhythm:
    """The rhythm that the findings (abbreviations) name; sinus rhythm where they name none.

    `pr_s` is the PR interval at 70 beats a minute.
    """
    if "PR" in findings:
        return _paced(rng, seconds, breath)
    if "Brady" in findings:
        return _bradycardia(rng, seconds, breath, pr_s)
    if "AVB2" in findings:
        return _second_degree(rng, seconds, breath, pr_s)
    if "AVB3" in findings:
        return _third_degree(rng, seconds, breath)
    if "AFL" in findings:
        return _flutter(rng, seconds)
    if "SVT" in findings:
        return _supraventricular_tachycardia(rng, seconds)
    if "AF" in findings:
        low, high = BEATS_PER_MINUTE["AF"]
        rate = np.clip(rng.normal(92, 24), low, high)
        rhythm = Rhythm(qrs={"conducted": _irregular(rng, 60 / rate, seconds)}, atria="fibrillation")
    elif "JR" in findings:
        rhythm = _junctional(rng, rng.uniform(38, 98), seconds, breath)
    else:
        rhythm = _sinus(rng, findings, seconds, breath, pr_s)
    if "PVC" in findings:
        conducted, early = add_ventricular_beats(rng, rhythm.qrs["conducted"], seconds, draw_pattern(rng))
        rhythm.qrs |= {"conducted": conducted, **_from_places(rng, "PVC", early)}
    return rhythm


def _from_places(rng: np.random.Generator, kind: str, early: np.ndarray) -> dict[str, np.ndarray]:
    """Premature beats by the place that they come from: one, or now and then two that take turns at random."""
    if len(early) < 2 or rng.uniform() >= 0.2:
        return {kind: early}
    second = rng.uniform(size=len(early)) < 0.5
    second[:2] = rng.permutation([False, True])
    return {kind: early[~second], f"second {kind}": early[second]}


def _sinus(rng, findings, seconds, breath, pr_s) -> Rhythm:
    name = next((rhythm for rhythm in ("STach", "SB", "SA", "EAR") if rhythm in findings), "NSR")
    low, high = BEATS_PER_MINUTE[name]
    rate = rng.uniform(low, high)
    if name == "NSR":
        rate = np.clip(rng.normal(74, 10), low, high)
    elif name in ("STach", "SB"):  # most are close to the limit
        limit, far = (low, high) if name == "STach" else (high, low)
        rate = limit + (far - limit) * rng.beta(1.1, 2.4)
    if name == "SB" and "SA" in findings:
        rate = min(rate, 50.0)  # its fastest beats are still slow
    rr_s = 60 / rate
    # an arrhythmia changes RR by 0.12 s or more; a rhythm without one by less
    swing_s = rng.uniform(0.15, 0.42) if "SA" in findings else 0.004 + min(rng.exponential(0.03), 0.09)
    p = sinus_node(rng, rate, swing_s / (2 * rr_s), seconds, breath)
    pr_s = np.clip(pr_s - 0.0005 * (rate - 70), 0.07 if "WPW" in findings else 0.12, None)  # faster, shorter
    early = blocked = np.zeros(0)
    if "PAC" in findings:
        p, early, blocked = add_atrial_beats(rng, p, rr_s, seconds, draw_pattern(rng))
    kind = "low" if "EAR" in findings else "sinus"
    ectopic = _from_places(rng, "ectopic", np.sort(np.concatenate([early, blocked])))
    rhythm = Rhythm(p={kind: p, **ectopic}, qrs={"conducted": p + pr_s})
    if rng.uniform() < 0.12:  # a premature beat finds a bundle branch refractory
        rhythm.qrs["aberrant"] = early + max(pr_s, 0.13)
    else:
        rhythm.qrs["conducted"] = np.sort(np.concatenate([p + pr_s, early + max(pr_s, 0.13)]))
    return rhythm


def sinus_node(rng: np.random.Generator, rate: float, depth: float, seconds: float, breath: Breath) -> np.ndarray:
    """P onsets: the moments when the phase, the integral of the momentary rate, passes a whole number.

    `rate` in beats a minute; `depth` is the part of it by which the breath changes it.
    """
    t = np.arange(-BEFORE_S, seconds + AFTER_S, 0.02)
    slow = np.sin(2 * np.pi * rng.uniform(0.05, 0.12) * t + rng.uniform(0, 2 * np.pi))
    momentary = rate / 60 * (1 + depth * breath.at(t) + rng.uniform(0.002, 0.012) * slow)
    phase = np.cumsum(momentary) * 0.02 + rng.uniform()
    p = np.interp(np.arange(np.ceil(phase[0]), phase[-1]), phase, t)
    return p + rng.normal(0, 0.002, len(p))


def _irregular(rng, rr_s, seconds) -> np.ndarray:
    """QRS onsets of fibrillation: every interval drawn anew, none shorter than the AV node allows."""
    count = int((seconds + BEFORE_S + AFTER_S) / rr_s * 1.6) + 8
    shortest = 0.30
    shape = ((rr_s - shortest) / (rng.uniform(0.15, 0.26) * rr_s)) ** 2
    beats = np.cumsum(shortest + (rr_s - shortest) * rng.gamma(shape, 1 / shape, count)) - BEFORE_S
    return beats[beats < seconds + AFTER_S]


def _flutter(rng, seconds) -> Rhythm:
    """Atria at 220 to 340 a minute; the AV node passes every second, third or fourth wave, or changes its mind."""
    cycle_s = 60 / rng.uniform(220, 340)
    waves = np.arange(-BEFORE_S - rng.uniform(0, cycle_s), seconds + AFTER_S, cycle_s)
    if rng.uniform() < 0.6:
        ratios = np.full(len(waves), rng.choice([2, 3, 4], p=[0.45, 0.15, 0.40]))
    else:
        ratios = rng.choice([2, 3, 4, 5], len(waves), p=[0.3, 0.2, 0.4, 0.1])
    passed = np.cumsum(ratios)
    beats = waves[passed[passed < len(waves)]] + rng.uniform(0.1, 0.9) * cycle_s
    return Rhythm(qrs={"conducted": beats + rng.normal(0, 0.004, len(beats))}, atria="flutter", flutter_s=waves)


def _supraventricular_tachycardia(rng, seconds) -> Rhythm:
    """Regular, narrow and fast; P is hidden in QRS or follows it."""
    rr_s = 60 / rng.uniform(140, 215)
    beats = np.arange(-BEFORE_S - rng.uniform(0, rr_s), seconds + AFTER_S, rr_s)
    beats = beats + rng.normal(0, 0.002, len(beats))
    p = beats + rng.uniform(0.07, 0.11) if rng.uniform() < 0.5 else np.zeros(0)
    return Rhythm(p={"retrograde": p}, qrs={"conducted": beats})


def _junctional(rng, rate, seconds, breath) -> Rhythm:
    """The AV junction leads: the atria, reached from below, beat within QRS, shortly before it or after it."""
    beats = sinus_node(rng, rate, 0.004, seconds, breath)
    distance_s = {"hidden": None, "before": -rng.uniform(0.06, 0.11), "after": rng.uniform(0.08, 0.13)}[
        str(rng.choice(["hidden", "before", "after"], p=[0.5, 0.25, 0.25]))
    ]
    p = np.zeros(0) if distance_s is None else beats + distance_s
    return Rhythm(p={"retrograde": p}, qrs={"conducted": beats})


def _second_degree(rng, seconds, breath, pr_s) -> Rhythm:
    """PR that grows until a beat falls out (Wenckebach), a beat that falls out without warning, or two P to one QRS."""
    kind = str(rng.choice(["Wenckebach", "Mobitz", "2:1"], p=[0.45, 0.15, 0.40]))
    p = sinus_node(rng, rng.uniform(64, 98), 0.01, seconds, breath)
    if kind == "2:1":
        return Rhythm(p={"sinus": p}, qrs={"conducted": p[::2] + pr_s})
    cycle = int(rng.integers(3, 6))  # of so many P waves one is not conducted
    place = (np.arange(len(p)) + int(rng.integers(cycle))) % cycle
    grown = np.array([0.0, *np.cumsum(0.09 * 0.6 ** np.arange(cycle - 1))])[place] if kind == "Wenckebach" else 0.0
    conducted = place < cycle - 1
    return Rhythm(p={"sinus": p}, qrs={"conducted": (p + pr_s + grown)[conducted]})


def _third_degree(rng, seconds, breath) -> Rhythm:
    """Atria and ventricles beat on their own: an escape rhythm of the junction, narrow, or of a ventricle, wide."""
    p = sinus_node(rng, rng.uniform(64, 98), 0.02, seconds, breath)
    wide = rng.uniform() < 0.4
    beats = sinus_node(rng, rng.uniform(28, 42) if wide else rng.uniform(36, 55), 0.004, seconds, breath)
    return Rhythm(p={"sinus": p}, qrs={"escape" if wide else "conducted": beats})


def _bradycardia(rng, seconds, breath, pr_s) -> Rhythm:
    """Bradycardia that is not the sinus node's: of the junction, or an AV block, or slowly conducted fibrillation."""
    kind = str(rng.choice(["junctional", "2:1", "complete", "fibrillation"], p=[0.4, 0.2, 0.2, 0.2]))
    if kind == "2:1":
        p = sinus_node(rng, rng.uniform(70, 98), 0.01, seconds, breath)
        return Rhythm(p={"sinus": p}, qrs={"conducted": p[::2] + pr_s})
    if kind == "fibrillation":
        return Rhythm(qrs={"conducted": _irregular(rng, 60 / rng.uniform(38, 48), seconds)}, atria="fibrillation")
    if kind == "junctional":
        return _junctional(rng, rng.uniform(34, 49), seconds, breath)
    p = sinus_node(rng, rng.uniform(70, 98), 0.02, seconds, breath)
    return Rhythm(p={"sinus": p}, qrs={"conducted": sinus_node(rng, rng.uniform(34, 49), 0.004, seconds, breath)})


def _paced(rng, seconds, breath) -> Rhythm:
    """A pacemaker: in the ventricle alone (the atria fibrillate or rest, and it may beat on demand only), after each P,
    in both, or in the atrium."""
    mode = str(rng.choice(["VVI", "demand", "VDD", "DDD", "AAI"], p=[0.26, 0.16, 0.24, 0.24, 0.10]))
    rate = rng.choice([60.0, 65.0, 70.0, 75.0, 80.0]) if rng.uniform() < 0.5 else rng.uniform(55, 95)
    if mode == "demand":
        return _paced_on_demand(rng, 60 / min(rate, 80.0), seconds)
    if mode == "VDD":
        p = sinus_node(rng, max(rate, 60.0), 0.015, seconds, breath)
        spikes = p + rng.uniform(0.12, 0.20)
        return Rhythm(p={"sinus": p}, qrs={"paced": spikes + 0.012}, spikes=spikes)
    spikes = np.arange(-BEFORE_S - rng.uniform(0, 60 / rate), seconds + AFTER_S, 60 / rate)
    if mode == "VVI":
        atria = str(rng.choice(["fibrillation", ""], p=[0.7, 0.3]))
        return Rhythm(qrs={"paced": spikes + 0.012}, spikes=spikes, atria=atria)
    p = spikes + 0.01
    if mode == "AAI":
        return Rhythm(p={"sinus": p}, qrs={"conducted": p + rng.uniform(0.17, 0.24)}, spikes=spikes)
    second = spikes + rng.uniform(0.15, 0.22)
    return Rhythm(p={"sinus": p}, qrs={"paced": second + 0.012}, spikes=np.concatenate([spikes, second]))


def _paced_on_demand(rng, escape_s, seconds) -> Rhythm:
    """Slowly conducted fibrillation: where no beat comes for `escape_s`, the pacemaker makes one."""
    natural = _irregular(rng, escape_s * rng.uniform(0.85, 1.1), seconds)
    conducted, paced = [natural[0]], []
    last = natural[0]
    for t in natural[1:]:
        while t - last > escape_s:
            last += escape_s
            paced.append(last)
        if t - last > 0.35:  # a pacemaker's beat leaves the AV node refractory
            conducted.append(t)
            last = t
    spikes = np.array(paced or [last + escape_s])
    return Rhythm(qrs={"conducted": np.array(conducted), "paced": spikes + 0.012}, spikes=spikes, atria="fibrillation")
