"""When the heart beats: P waves, QRS complexes and pacing spikes of each rhythm; waves of fibrillation and flutter.

All times are in seconds from the beginning of the recording. Rhythms start before it and end after it, so that a
recording is cut out of a beating heart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

BEFORE_S, AFTER_S = 3.0, 1.0
BEATS_PER_MINUTE = {"NSR": (60, 99), "SB": (40, 58), "STach": (102, 145), "SA": (62, 90), "AF": (58, 145)}


@dataclass(frozen=True)
class Breath:
    """Respiration: it speeds the sinus node, turns the heart and moves the electrodes."""

    frequency_hz: float
    phase: float

    def at(self, t_s: np.ndarray) -> np.ndarray:
        return np.sin(2 * np.pi * self.frequency_hz * t_s + self.phase)


@dataclass
class Rhythm:
    """Onsets (s) of P waves and of QRS complexes by kind, of spikes, and what the atria do besides."""

    p: dict[str, np.ndarray] = field(default_factory=dict)  # "sinus", "ectopic", "retrograde"
    qrs: dict[str, np.ndarray] = field(default_factory=dict)  # "conducted", "PVC", "paced"
    spikes: np.ndarray = field(default_factory=lambda: np.zeros(0))
    atria: str = ""  # "fibrillation", "flutter" or nothing
    flutter_s: np.ndarray = field(default_factory=lambda: np.zeros(0))  # onsets of the flutter waves


def rhythm_of(
    rng: np.random.Generator, findings: frozenset[str], seconds: float, breath: Breath, pr_s: float
) -> Rhythm:
    """The rhythm that the findings (abbreviations) name; sinus rhythm where they name none.

    `pr_s` is the PR interval at 70 beats a minute.
    """
    if "PR" in findings:
        return _paced(rng, seconds, breath)
    if "Brady" in findings:
        return _slow(rng, seconds, breath, pr_s)
    if "AFL" in findings:
        return _flutter(rng, seconds)
    if "AF" in findings:
        rr_s = 60 / rng.uniform(*BEATS_PER_MINUTE["AF"])
        rhythm = Rhythm(qrs={"conducted": _irregular(rng, rr_s, seconds)}, atria="fibrillation")
    else:
        rhythm = _sinus(rng, findings, seconds, breath, pr_s)
    if "PVC" in findings:
        _add_ventricular_beats(rng, rhythm, seconds)
    return rhythm


def _sinus(rng, findings, seconds, breath, pr_s) -> Rhythm:
    name = next((rhythm for rhythm in ("STach", "SB", "SA") if rhythm in findings), "NSR")
    rate = rng.uniform(*BEATS_PER_MINUTE[name])
    depth = rng.uniform(0.16, 0.26) if "SA" in findings else rng.uniform(0.005, 0.03)
    if name == "SB" and "SA" in findings:
        rate = min(rate, 52.0)  # its fastest beats are still slow
    p = _sinus_node(rng, rate, depth, seconds, breath)
    rr_s = 60 / rate
    pr_s = np.clip(pr_s - 0.0005 * (rate - 70), 0.12, None)  # faster, shorter
    early = np.zeros(0)
    if "PAC" in findings:
        coupling = rng.uniform(0.55, 0.72)
        for k in _places(rng, p, rr_s, seconds, _times(rng, seconds)):
            # the early beat sets the sinus node back, which begins its cycle anew: no compensatory pause
            t = p[k] + coupling * (p[k + 1] - p[k])
            p[k + 1 :] += t + rng.uniform(1.0, 1.1) * rr_s - p[k + 1]
            early = np.append(early, t)
    beats = np.sort(np.concatenate([p + pr_s, early + max(pr_s, 0.13)]))
    return Rhythm(p={"sinus": p, "ectopic": early}, qrs={"conducted": beats})


def _add_ventricular_beats(rng, rhythm: Rhythm, seconds: float) -> None:
    """Ectopic beats of the ventricles. The atria go on as before, but the beat that follows finds the ventricles
    refractory: the pause compensates."""
    beats = rhythm.qrs["conducted"]
    rr_s = float(np.median(np.diff(beats)))
    coupling = rng.uniform(0.52, 0.68) if rr_s > 0.7 else rng.uniform(0.62, 0.72)
    places = _places(rng, beats, rr_s, seconds, _times(rng, seconds))
    early = np.array([beats[k] + coupling * min(rr_s, beats[k + 1] - beats[k]) for k in places])
    blocked = np.any([(beats > t) & (beats < t + 0.8 * rr_s) for t in early], axis=0)
    rhythm.qrs = {"conducted": beats[~blocked], "PVC": early}


def _sinus_node(rng, rate, depth, seconds, breath) -> np.ndarray:
    """P onsets: the moments when the phase, the integral of the momentary rate, passes a whole number."""
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
    shape = ((rr_s - shortest) / (rng.uniform(0.17, 0.26) * rr_s)) ** 2
    beats = np.cumsum(shortest + (rr_s - shortest) * rng.gamma(shape, 1 / shape, count)) - BEFORE_S
    return beats[beats < seconds + AFTER_S]


def _flutter(rng, seconds) -> Rhythm:
    """Atria at 240 to 340 a minute; the AV node passes every second, third or fourth wave, or changes its mind."""
    cycle_s = 60 / rng.uniform(240, 340)
    waves = np.arange(-BEFORE_S - rng.uniform(0, cycle_s), seconds + AFTER_S, cycle_s)
    if rng.uniform() < 0.65:
        ratios = np.full(len(waves), rng.choice([2, 3, 4], p=[0.45, 0.15, 0.40]))
    else:
        ratios = rng.choice([2, 3, 4, 5], len(waves), p=[0.3, 0.2, 0.4, 0.1])
    passed = np.cumsum(ratios)
    beats = waves[passed[passed < len(waves)]] + rng.uniform(0.1, 0.9) * cycle_s
    return Rhythm(qrs={"conducted": beats + rng.normal(0, 0.004, len(beats))}, atria="flutter", flutter_s=waves)


def _slow(rng, seconds, breath, pr_s) -> Rhythm:
    """Bradycardia that is not the sinus node's: a junctional rhythm, or an AV block of the second or third degree."""
    kind = rng.choice(["junctional", "2:1", "complete"], p=[0.5, 0.25, 0.25])
    if kind == "2:1":
        p = _sinus_node(rng, rng.uniform(72, 98), 0.01, seconds, breath)
        return Rhythm(p={"sinus": p}, qrs={"conducted": p[::2] + pr_s})
    beats = _sinus_node(rng, rng.uniform(34, 49), 0.004, seconds, breath)
    if kind == "complete":
        p = _sinus_node(rng, rng.uniform(72, 98), 0.02, seconds, breath)
        return Rhythm(p={"sinus": p}, qrs={"conducted": beats})
    hidden = rng.uniform() < 0.5  # the atria, reached from below, beat within QRS or right after it
    p = np.zeros(0) if hidden else beats + rng.uniform(0.08, 0.13)
    return Rhythm(p={"retrograde": p}, qrs={"conducted": beats})


def _paced(rng, seconds, breath) -> Rhythm:
    """A pacemaker: in the ventricle alone (the atria fibrillate or rest), after each P, in both, or in the atrium."""
    mode = rng.choice(["VVI", "VDD", "DDD", "AAI"], p=[0.42, 0.22, 0.26, 0.10])
    rate = rng.uniform(58, 84)
    if mode == "VDD":
        p = _sinus_node(rng, rate, 0.015, seconds, breath)
        spikes = p + rng.uniform(0.13, 0.18)
        return Rhythm(p={"sinus": p}, qrs={"paced": spikes + 0.012}, spikes=spikes)
    spikes = np.arange(-BEFORE_S - rng.uniform(0, 60 / rate), seconds + AFTER_S, 60 / rate)
    if mode == "VVI":
        atria = rng.choice(["fibrillation", ""], p=[0.7, 0.3])
        return Rhythm(qrs={"paced": spikes + 0.012}, spikes=spikes, atria=str(atria))
    p = spikes + 0.01
    if mode == "AAI":
        return Rhythm(p={"sinus": p}, qrs={"conducted": p + rng.uniform(0.17, 0.21)}, spikes=spikes)
    second = spikes + rng.uniform(0.15, 0.20)
    return Rhythm(p={"sinus": p}, qrs={"paced": second + 0.012}, spikes=np.concatenate([spikes, second]))


def _times(rng, seconds) -> int:
    """How many ectopic beats: at least one, in ten seconds seldom more than three."""
    return 1 + rng.poisson(0.11 * seconds)


def _places(rng, beats, rr_s, seconds, count) -> list[int]:
    """Indices of beats after which an ectopic beat comes: inside the recording, and not in neighbouring intervals."""
    free = [k for k in range(len(beats) - 1) if 0.1 <= beats[k] <= seconds - 2.1 * rr_s - 0.2]
    if not free:  # a slow heart in a short recording
        free = [int(np.clip(np.searchsorted(beats, 0.4 * seconds) - 1, 0, len(beats) - 2))]
    chosen: list[int] = []
    for k in rng.permutation(free)[: 3 * count]:
        if len(chosen) < count and all(abs(k - other) > 1 for other in chosen):
            chosen.append(int(k))
    return sorted(chosen)


def fibrillation(rng: np.random.Generator, t_s: np.ndarray) -> np.ndarray:
    """Dipole (3, samples) of fibrillating atria: waves of 4 to 9 Hz that wax, wane and never repeat; largest in V1."""
    centre_hz = rng.uniform(4.8, 8.0)
    size = rng.uniform(0.035, 0.085)
    dipole = np.zeros((3, len(t_s)))
    for direction, part in (((-0.15, 0.25, -1.0), 1.0), ((0.2, 1.0, -0.1), 0.6)):  # V1; the leads of the foot
        wander = sum(
            rng.uniform(0.3, 0.7) / f * np.sin(2 * np.pi * f * t_s + rng.uniform(0, 2 * np.pi))
            for f in rng.uniform(0.15, 0.9, 3)
        )
        phase = 2 * np.pi * centre_hz * t_s + wander + rng.uniform(0, 2 * np.pi)
        swell = 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.2, 0.6) * t_s + rng.uniform(0, 2 * np.pi))
        dipole += np.outer(direction, part * size * swell * (np.sin(phase) + 0.35 * np.sin(2 * phase + 0.8)))
    return dipole


def flutter(rng: np.random.Generator, t_s: np.ndarray, waves_s: np.ndarray) -> np.ndarray:
    """Dipole (3, samples) of one circling front: a sawtooth in II, III and aVF, small waves in V1, hardly any in I."""
    phase = 2 * np.pi * np.interp(t_s, waves_s, np.arange(len(waves_s)))
    teeth = np.sin(phase) + 0.42 * np.sin(2 * phase) + 0.15 * np.sin(3 * phase)  # slowly down, fast up
    upright = np.cos(phase - 0.6) + 0.35 * np.cos(2 * phase - 1.2)
    turn = 1.0 if rng.uniform() < 0.85 else -1.0  # the other way round: waves upright in the leads of the foot
    size = rng.uniform(0.075, 0.14)
    return turn * size * (np.outer((0.05, 1.0, 0.05), teeth) + np.outer((-0.05, 0.0, -0.55), upright))
