"""Atria that do not beat but fibrillate or flutter, as dipoles in Frank's coordinates."""

from __future__ import annotations

import numpy as np


def fibrillation(rng: np.random.Generator, t_s: np.ndarray) -> np.ndarray:
    """Dipole (3, samples), mV, of fibrillating atria: waves of 4 to 9 Hz that wax, wane and never repeat.

    They are largest in V1: from coarse waves of 0.1 mV and more to fine ones that hardly show.
    """
    centre_hz = rng.uniform(4.8, 8.0)
    size = np.clip(np.exp(rng.normal(np.log(0.045), 0.5)), 0.022, 0.12)
    dipole = np.zeros((3, len(t_s)))
    for direction, part in (((-0.15, 0.25, -1.0), 1.0), ((0.2, 1.0, -0.1), 0.6)):  # V1; the leads of the foot
        slow_hz = rng.uniform(0.15, 0.9, 3)
        wander = (rng.uniform(0.3, 0.7, 3) / slow_hz) @ np.sin(
            2 * np.pi * slow_hz[:, None] * t_s + rng.uniform(0, 2 * np.pi, (3, 1))
        )
        phase = 2 * np.pi * centre_hz * t_s + wander + rng.uniform(0, 2 * np.pi)
        swell = 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.2, 0.6) * t_s + rng.uniform(0, 2 * np.pi))
        dipole += np.outer(direction, part * size * swell * (np.sin(phase) + 0.35 * np.sin(2 * phase + 0.8)))
    return dipole


def flutter(rng: np.random.Generator, t_s: np.ndarray, waves_s: np.ndarray) -> np.ndarray:
    """Dipole (3, samples), mV, of one circling front: a sawtooth in II, III and aVF, small in V1, hardly any in I.

    `waves_s` are the onsets of the flutter waves in seconds.
    """
    phase = 2 * np.pi * np.interp(t_s, waves_s, np.arange(len(waves_s)))
    teeth = np.sin(phase) + 0.42 * np.sin(2 * phase) + 0.15 * np.sin(3 * phase)  # slowly down, fast up
    upright = np.cos(phase - 0.6) + 0.35 * np.cos(2 * phase - 1.2)
    turn = 1.0 if rng.uniform() < 0.85 else -1.0  # the other way round: waves upright in the leads of the foot
    size = rng.uniform(0.075, 0.16)
    return turn * size * (np.outer((0.05, 1.0, 0.05), teeth) + np.outer((-0.05, 0.0, -0.55), upright))
