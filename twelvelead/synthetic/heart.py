"""The electric heart: one dipole that moves through P, QRS, ST and T, seen by twelve leads.

The dipole d(t) is in millivolts, in Frank's coordinates: x to the patient's left, y to the foot, z to the back. It is a
sum of waves, each a smooth bump of time in a fixed direction; bumps that follow each other in different directions
make the loops of a vectorcardiogram. Waves are rows of an array with six columns:

    centre, rise, fall (ms, from the onset of P or of QRS), x, y, z (mV)

A bump is a raised cosine: it begins at centre - rise and ends at centre + fall, so intervals are exact by construction.
The wave tables below were drawn after the median vector loops of public recordings of each pattern (PTB-XL in Challenge
format, by the pseudo-inverse of Dower's matrix) and then by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.leads import LIMB_FROM_I_II

# Lead vectors of I, II, V1 to V6 in Frank's coordinates. Dower, Machado, Osborne: "On deriving the electrocardiogram
# from vectorcardiographic leads", Clin Cardiol 3 (1980) 87-95.
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)

# The twelve leads out of the eight independent ones (Einthoven, Goldberger).
TWELVE = np.zeros((12, 8))
TWELVE[0:6, 0:2] = LIMB_FROM_I_II
TWELVE[6:, 2:] = np.eye(6)

P_SINUS = np.array(
    [
        [35, 35, 36, 0.045, 0.095, -0.060],  # right atrium: to the foot and the front
        [64, 34, 40, 0.080, 0.060, 0.020],
    ]
)  # left atrium: to the left and the back
P_RETROGRADE = np.array([[38, 36, 40, 0.0, -0.11, -0.02], [58, 34, 40, 0.03, -0.05, 0.03]])

QRS = {
    "normal": np.array(
        [
            [19, 19, 18, -0.07, -0.06, -0.30],  # septum, from the left: to the right and the front
            [37, 21, 17, 0.95, 0.60, 0.02],  # apex and front wall
            [46, 19, 22, 0.28, 0.20, 0.70],  # left free wall
            [62, 17, 21, -0.12, -0.08, 0.32],
        ]
    ),  # base, last
    # the left ventricle's front and upper part comes late: first to the foot, then up and to the left
    "LAnFB": np.array(
        [
            [18, 18, 16, -0.07, 0.14, -0.24],
            [38, 21, 20, 0.98, 0.02, 0.15],
            [53, 17, 25, -0.02, -0.52, 0.42],
            [68, 22, 22, -0.12, -0.25, 0.20],
        ]
    ),
    # the septum is crossed from the right: no septal q, slow and notched
    "LBBB": np.array(
        [
            [24, 24, 26, 0.16, 0.10, 0.16],
            [50, 32, 34, 0.40, 0.20, 0.15],
            [70, 50, 70, 0.02, 0.10, 1.55],
            [94, 34, 36, 0.45, 0.00, 0.20],
        ]
    ),
    # wide and notched, with the septal vector of normal conduction
    "NSIVCB": np.array(
        [
            [19, 19, 15, -0.06, 0.0, -0.25],
            [43, 25, 26, 0.95, 0.42, 0.25],
            [62, 24, 32, 0.05, 0.18, 1.05],
            [86, 22, 27, 0.05, -0.14, 0.35],
        ]
    ),
    # from the electrode at the apex of the right ventricle: upwards and backwards, slow throughout
    "paced": np.array(
        [
            [50, 50, 46, 0.30, -0.22, 0.35],
            [84, 54, 50, 0.22, -0.75, 0.95],
            [116, 46, 46, 0.04, -0.50, 0.50],
            [145, 36, 42, -0.04, -0.25, 0.15],
        ]
    ),
}
# What a blocked right bundle adds at the end: the right ventricle alone, to the right and to the front.
RBBB_END = np.array([[80, 28, 30, -0.36, -0.08, -0.66], [108, 30, 36, -0.34, -0.05, -0.52]])
IRBBB_END = np.array([[66, 22, 32, -0.30, -0.08, -0.28]])
# A ventricular ectopic beat spreads away from where it begins: (direction at first, direction later).
PVC_ORIGINS = {
    "right outflow": ((0.25, 1.0, 0.65), (0.30, 0.70, 0.90)),
    "right apex": ((0.45, -0.7, 0.6), (0.1, -0.9, 0.9)),
    "left front": ((-0.6, 0.8, -0.6), (-0.5, 0.5, -0.8)),
    "left back": ((-0.1, -0.9, -0.8), (-0.6, -0.6, -0.6)),
    "left side": ((-0.9, 0.2, 0.5), (-0.9, 0.0, 0.4)),
}
T_TANGENT = 0.5 + 1 / np.pi  # this part of `fall` past its peak, the tangent to a raised cosine meets the baseline


@dataclass(frozen=True)
class Beat:
    """One kind of ventricular beat: `t` holds the waves of ST, T and U for RR = 1 s, from QRS onset; `delay_ms` is what
    a wide QRS adds to QT and no rate takes away."""

    qrs: np.ndarray
    t: np.ndarray
    delay_ms: float = 0.0

    def at(self, stretch: np.ndarray, gain: np.ndarray, turn_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Waves of QRS and of ST-T, each (beats, waves, 6).

        ST-T is stretched in time by `stretch` (beats,), all are scaled by `gain` (beats,) and turned in the frontal
        plane by `turn_deg` (beats,).
        """
        qrs = np.repeat(self.qrs[None], len(stretch), axis=0)
        t = np.repeat(self.t[None], len(stretch), axis=0)
        t[:, :, :3] *= stretch[:, None, None]
        t[:, :, 0] += self.delay_ms
        turn = gain[:, None, None] * rotation(2, turn_deg).transpose(0, 2, 1)
        for waves in (qrs, t):
            waves[:, :, 3:] = waves[:, :, 3:] @ turn
        return qrs, t


def bumps(t_ms: np.ndarray, waves: np.ndarray) -> np.ndarray:
    """Raised cosines (…, waves, time) at times (…, time), for waves (…, waves, 6)."""
    x = t_ms[..., None, :] - waves[..., 0, None]
    x /= np.where(x < 0, waves[..., 1, None], waves[..., 2, None])
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(x, -1, 1))


def add_waves(dipole: np.ndarray, frequency_hz: float, onset_s: np.ndarray, waves: np.ndarray) -> None:
    """Adds beats to the dipole (3, samples): their waves (beats, waves, 6) at their onsets (beats,) in seconds."""
    if not len(onset_s):
        return
    begin_ms, end_ms = (waves[..., 0] - waves[..., 1]).min(), (waves[..., 0] + waves[..., 2]).max()
    first = np.ceil((onset_s + begin_ms / 1000) * frequency_hz).astype(int)
    samples = first[:, None] + np.arange(int((end_ms - begin_ms) / 1000 * frequency_hz) + 1)
    t_ms = (samples / frequency_hz - onset_s[:, None]) * 1000
    beats = np.matmul(waves[..., 3:].transpose(0, 2, 1), bumps(t_ms, waves))  # (beats, 3, time)
    for start, beat in zip(first, beats):
        low, high = max(start, 0), min(start + beat.shape[1], dipole.shape[1])
        if low < high:
            dipole[:, low:high] += beat[:, low - start : high - start]


def area(waves: np.ndarray) -> np.ndarray:
    """Time integral of the waves' vectors, (3,), in mV ms."""
    return ((waves[:, 1] + waves[:, 2]) / 2) @ waves[:, 3:]


def lead_vectors(rng: np.random.Generator) -> np.ndarray:
    """Lead vectors (8, 3) of I, II, V1 to V6 of one person: Dower's, with electrodes placed as a nurse places them.

    Chest electrodes lie further around the chest or less far, higher or lower, nearer to the heart or further away.
    """
    vectors = DOWER.copy()
    chest = DOWER[2:]
    neighbour = np.gradient(chest, axis=0)  # one place further around the chest
    shift = rng.normal(0, 0.15) + rng.normal(0, 0.12, 6)
    vectors[2:] = (chest + np.clip(shift, -0.45, 0.45)[:, None] * neighbour) * np.exp(rng.normal(0, 0.15, 6))[:, None]
    vectors[2] *= 0.8  # V1 is smaller in public recordings than by Dower
    # An electrode above its place sees what points to the foot go away from it; V1 and V2 are often too high.
    height = rng.normal(0, 0.08, 6) + rng.normal(0, 0.08)
    height[:2] += rng.uniform(0, 0.25) * (rng.uniform() < 0.25)
    vectors[2:, 1] -= height
    # In public recordings everything is larger in lead I, and a little smaller in II, than by Dower.
    vectors[:2] *= np.exp(rng.normal(0, 0.10)) * np.array([[1.25], [0.92]])
    return vectors


def rotation(axis: int, degrees: float | np.ndarray) -> np.ndarray:
    """Rotation matrices (…, 3, 3) about x (0), y (1) or z (2)."""
    angle = np.radians(degrees)
    matrix = np.zeros((*np.shape(angle), 3, 3))
    one, two = [k for k in range(3) if k != axis]
    matrix[..., axis, axis] = 1
    matrix[..., one, one] = matrix[..., two, two] = np.cos(angle)
    matrix[..., one, two], matrix[..., two, one] = -np.sin(angle), np.sin(angle)
    return matrix


def seen_by(vectors: np.ndarray, waves: np.ndarray) -> np.ndarray:
    """The waves of one beat in twelve leads, (12, ms), a sample a millisecond."""
    t_ms = np.arange(0.0, (waves[:, 0] + waves[:, 2]).max())
    return TWELVE @ vectors @ waves[:, 3:].T @ bumps(t_ms, waves)


def turn_to_axis(waves: np.ndarray, vectors: np.ndarray, axis_deg: float) -> float:
    """The angle, in degrees, by which the heart must turn in the frontal plane so that the QRS axis is `axis_deg`.

    The axis is the cardiologist's: net QRS (R minus the deepest of Q and S) in I against that in aVF.
    """
    angles = np.arange(-150.0, 150.5, 2.0)
    t_ms = np.arange(0.0, (waves[:, 0] + waves[:, 2]).max(), 2.0)
    loop = waves[:, 3:].T @ bumps(t_ms, waves)  # (3, time)
    limb = TWELVE[[0, 5]] @ vectors @ rotation(2, angles) @ loop  # I and aVF, (angles, 2, time)
    net = limb.max(axis=2) + limb.min(axis=2)
    found = np.degrees(np.arctan2(net[:, 1] * 2 / np.sqrt(3), net[:, 0]))  # aVF is measured on a shorter scale than I
    away = np.abs((found - axis_deg + 180) % 360 - 180)
    return float(angles[np.argmin(away + 0.01 * np.abs(angles))])  # of equal ones, the smaller turn


def individual(rng: np.random.Generator, waves: np.ndarray, duration_ms: float, vectors: np.ndarray) -> np.ndarray:
    """One person's version of a QRS: each wave a little earlier or later, larger, turned; and the duration asked for.

    The duration is from the first to the last moment at which any lead deviates by 4 % of the largest deflection.
    """
    waves = waves.copy()
    waves[:, 0] += rng.normal(0, 1.5, len(waves))
    waves[:, 1:3] *= np.exp(rng.normal(0, 0.07, (len(waves), 2)))
    waves[:, 3:] *= np.exp(rng.normal(0, 0.18, (len(waves), 1)))
    waves[:, 3:] += rng.normal(0, 0.09, (len(waves), 3)) * np.linalg.norm(waves[:, 3:], axis=1, keepdims=True)
    # a small late or early piece of muscle: the slurs and notches that no two people share
    centre, width = rng.uniform(25, 0.8 * (waves[:, 0] + waves[:, 2]).max()), rng.uniform(9, 15)
    waves = np.vstack([waves, [centre, width, width, *rng.normal(0, 0.05, 3)]])
    waves[:, 0] -= (waves[:, 0] - waves[:, 1]).min()
    seen = np.abs(seen_by(vectors, waves)).max(axis=0)
    visible = np.flatnonzero(seen > 0.04 * seen.max())
    waves[:, 0] -= visible[0]
    waves[:, :3] *= duration_ms / (visible[-1] - visible[0] + 1)
    return waves


def repolarisation(
    t_vector: np.ndarray,
    st_vector: np.ndarray,
    qtc_ms: float,
    qrs_ms: float,
    *,
    broad: float = 1.0,
    u_vector: np.ndarray | None = None,
    shape: tuple[tuple[float, float], ...] = ((0.0, 1.0),),
) -> np.ndarray:
    """ST, T and U waves for RR = 1 s: slow rise, faster fall, T's end (by the tangent) at `qtc_ms`.

    Parameters
    ----------
    t_vector, st_vector : (3,)
        At the peak of T, and shortly after the end of QRS; mV.
    qtc_ms, qrs_ms : float
        From QRS onset to the end of T, and to the end of QRS.
    broad : float
        Factor on the duration of T.
    u_vector : (3,), optional
        At the peak of U.
    shape : tuple
        Humps of T as (ms from the peak, part of `t_vector`); one hump is the normal T.
    """
    rise, fall = 112 * broad, 94 * broad
    peak = qtc_ms - T_TANGENT * fall
    t_vector = t_vector / 1.2  # ST climbs into T, which adds to its peak
    front, left = t_vector * (0.25, 0.25, 0.8), t_vector * (0.75, 0.75, 0.3)  # T turns from the front to the left
    waves = [
        [peak - 50 * broad, 170 * broad, 180 * broad, *(0.25 * t_vector)],
        [qrs_ms + 25, 60, max(peak - qrs_ms - 40, 70), *st_vector],
    ]
    for away, part in shape:
        waves += [[peak - 20 + away, rise, fall, *(part * front)], [peak + away, rise, fall, *(part * left)]]
    if u_vector is not None:
        waves.append([peak + 160, 70, 90, *u_vector])
    return np.array(waves, dtype=float)
