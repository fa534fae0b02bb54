"""Premature beats: single, frequent, in couplets and salvos, every second or third; of atria and of ventricles."""

from __future__ import annotations

import numpy as np

# Frequent ones come after a fifth to a half of all beats, each at a distance of its own, so that the rhythm is as
# irregular as in fibrillation. A salvo has three to six in a row.
PATTERNS = {"single": 0.58, "bigeminy": 0.09, "trigeminy": 0.08, "couplet": 0.10, "salvo": 0.05, "frequent": 0.10}
REFRACTORY_S = 0.28  # sooner after a beat the AV node does not conduct the next one


def draw_pattern(rng: np.random.Generator) -> str:
    """How the premature beats of a recording follow each other, a name in PATTERNS."""
    return str(rng.choice(list(PATTERNS), p=list(PATTERNS.values())))


def add_atrial_beats(
    rng: np.random.Generator, p: np.ndarray, rr_s: float, seconds: float, pattern: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Premature P waves between those of the sinus node.

    An early beat sets the sinus node back, which begins its cycle anew: the pause does not compensate.

    Parameters
    ----------
    p : float (beats,)
        Onsets of the sinus P waves, s.
    rr_s : float
        Their mean distance.
    pattern : str
        A name in PATTERNS.

    Returns
    -------
    sinus, early, blocked : float arrays
        Onsets of the P waves of the sinus node, of early ones that are conducted, and of earlier ones still, which find
        the AV node refractory and have no QRS.
    """
    p = p.copy()
    early: list[float] = []
    blocked: list[float] = []
    coupling = rng.uniform(0.52, 0.78)
    some_blocked = pattern == "single" and rng.uniform() < 0.12
    reset = rng.uniform(1.0, 1.12) * rr_s
    for k in places(rng, p, rr_s, seconds, pattern):
        cycle = p[k + 1] - p[k]
        if pattern == "frequent":
            coupling = rng.uniform(0.52, 0.78)
        soonest_s = min(REFRACTORY_S, 0.8 * cycle)
        t = p[k] + max(np.clip(coupling + rng.normal(0, 0.02), 0.5, 0.8) * cycle, soonest_s)
        if some_blocked and early and rng.uniform() < 0.6:
            t = p[k] + min(0.42 * cycle, 0.36)
            blocked.append(t)
        else:
            early.append(t)
            for _ in range(in_a_row(rng, pattern) - 1):
                t += max(rng.uniform(0.55, 0.7) * cycle, soonest_s)
                early.append(t)
        p[k + 1 :] += t + reset - p[k + 1]
    return p, np.array(early), np.array(blocked)


def add_ventricular_beats(
    rng: np.random.Generator, beats: np.ndarray, seconds: float, pattern: str
) -> tuple[np.ndarray, np.ndarray]:
    """Premature beats of the ventricles between conducted ones.

    The atria go on as before, but the beat that follows finds the ventricles refractory: the pause compensates. In slow
    rhythms a premature beat now and then falls between two conducted ones and takes no beat away.

    Returns
    -------
    conducted, early : float arrays
        QRS onsets (s) of the conducted beats that are left, and of the premature ones.
    """
    rr_s = float(np.median(np.diff(beats)))
    coupling = rng.uniform(0.50, 0.68) if rr_s > 0.7 else rng.uniform(0.62, 0.74)
    interpolated = pattern == "single" and rr_s > 0.95 and rng.uniform() < 0.15
    early: list[float] = []
    blocked = np.zeros(len(beats), dtype=bool)
    for k in places(rng, beats, rr_s, seconds, pattern):
        if blocked[k]:  # a salvo has taken it
            continue
        t = beats[k] + coupling * min(rr_s, beats[k + 1] - beats[k])
        early.append(t)
        if interpolated:
            continue
        row = in_a_row(rng, pattern)
        for distance_s in rng.uniform(0.36, 0.5) * np.exp(rng.normal(0, 0.03, row - 1)):
            t += distance_s
            early.append(t)
        refractory_s = max((0.45 if row > 1 else 0.8) * rr_s, 0.3)
        blocked |= (beats > beats[k] + 0.01) & (beats < t + refractory_s)
    return beats[~blocked], np.array(early)


def in_a_row(rng: np.random.Generator, pattern: str) -> int:
    """How many premature beats follow each other at once."""
    if pattern == "salvo":
        return int(rng.integers(3, 7))
    return 2 if pattern == "couplet" else 1


def places(rng: np.random.Generator, beats: np.ndarray, rr_s: float, seconds: float, pattern: str) -> list[int]:
    """Indices of beats after which a premature one comes: inside the recording, not in neighbouring intervals.

    Of single beats, couplets and salvos there is at least one, in ten seconds seldom more than three.
    """
    free = [k for k in range(len(beats) - 1) if 0.1 <= beats[k] <= seconds - 2.1 * rr_s - 0.2]
    if not free:  # a slow heart in a short recording
        free = [int(np.clip(np.searchsorted(beats, 0.4 * seconds) - 1, 0, len(beats) - 2))]
    if pattern in ("bigeminy", "trigeminy"):
        step = 2 if pattern == "bigeminy" else 3
        chosen = free[int(rng.integers(min(step, len(free)))) :: step]
        if len(chosen) > 3 and rng.uniform() < 0.4:  # for a part of the recording only
            begin = int(rng.integers(len(chosen) - 2))
            chosen = chosen[begin : begin + int(rng.integers(3, len(chosen) + 1))]
        return chosen
    count = 1 + rng.poisson((0.04 if pattern == "salvo" else 0.11) * seconds)
    if pattern == "frequent":
        count = max(3, round(rng.uniform(0.2, 0.5) * len(free)))
    apart = {"couplet": 3, "salvo": 6}.get(pattern, 1)
    chosen = []
    for k in rng.permutation(free)[: 3 * count]:
        if len(chosen) < count and all(abs(k - other) > apart for other in chosen):
            chosen.append(int(k))
    return sorted(chosen)
