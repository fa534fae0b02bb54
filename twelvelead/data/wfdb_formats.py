"""The signal formats of WFDB, decoded from memory: https://physionet.org/physiotools/wag/signal-5.htm

    samples = decode(data, "212", n_samples)        # all signals of the file, interleaved as they are stored

Equal to the wfdb package sample for sample, which the tests hold; that package can only read files, and only through a
header file in the same folder.
"""

from __future__ import annotations

import io

import numpy as np

# The value that stands for a missing sample in each format; format 8, which stores differences, has none.
MISSING_ADC: dict[str, int | None] = {
    "16": -(2**15),
    "61": -(2**15),
    "160": -(2**15),
    "516": -(2**15),
    "80": -(2**7),
    "508": -(2**7),
    "212": -(2**11),
    "310": -(2**9),
    "311": -(2**9),
    "24": -(2**23),
    "524": -(2**23),
    "32": -(2**31),
    "8": None,
}
FLAC = ("508", "516", "524")  # compressed: the file's size does not tell the number of samples
BYTES = {"8": 1, "80": 1, "16": 2, "61": 2, "160": 2, "212": 1.5, "310": 4 / 3, "311": 4 / 3, "24": 3, "32": 4}
_BLOCK = {"212": (2, 3), "310": (3, 4), "311": (3, 4)}  # samples that are packed together, and their bytes
_BITS = {"212": 12, "310": 10, "311": 10}


def decode(data: bytes, form: str, n_samples: int) -> np.ndarray:
    """The first `n_samples` samples of a file's bytes in a format that is not compressed, integers (n_samples,).

    Format 8 gives differences. The bytes must hold that many samples.
    """
    if form in ("16", "61", "32"):
        return np.frombuffer(data, {"16": "<i2", "61": ">i2", "32": "<i4"}[form], n_samples)
    if form == "8":
        return np.frombuffer(data, "i1", n_samples)
    if form == "80":
        return np.frombuffer(data, "u1", n_samples).astype(np.int16) - 128
    if form == "160":
        return np.frombuffer(data, "<u2", n_samples).astype(np.int32) - 32768
    if form == "24":
        return _decode_24(data, n_samples)
    return _decode_packed(data, form, n_samples)


def _decode_24(data: bytes, n_samples: int) -> np.ndarray:
    """Three bytes a sample, the lowest first."""
    low, middle, high = np.frombuffer(data, "u1", 3 * n_samples).reshape(-1, 3).T
    return low.astype(np.int32) | middle.astype(np.int32) << 8 | high.view("i1").astype(np.int32) << 16


def _decode_packed(data: bytes, form: str, n_samples: int) -> np.ndarray:
    """Formats whose samples share bytes: two of 12 bits in three bytes, or three of 10 bits in four."""
    per_block, block_bytes = _BLOCK[form]
    blocks = -(-n_samples // per_block)
    stored = np.frombuffer(data, "u1", min(len(data), blocks * block_bytes))
    padded = np.zeros(blocks * block_bytes, np.int16)  # the last block may be stored in part
    padded[: len(stored)] = stored
    parts = padded.reshape(-1, block_bytes).T
    samples = np.empty((blocks, per_block), np.int16)
    if form == "212":
        samples[:, 0] = parts[0] | (parts[1] & 15) << 8
        samples[:, 1] = parts[2] | (parts[1] >> 4) << 8
    elif form == "310":
        samples[:, 0] = parts[0] >> 1 | (parts[1] & 7) << 7
        samples[:, 1] = parts[2] >> 1 | (parts[3] & 7) << 7
        samples[:, 2] = parts[1] >> 3 | (parts[3] >> 3) << 5
    else:
        samples[:, 0] = parts[0] | (parts[1] & 3) << 8
        samples[:, 1] = parts[1] >> 2 | (parts[2] & 15) << 6
        samples[:, 2] = parts[2] >> 4 | (parts[3] & 63) << 4
    half = 1 << (_BITS[form] - 1)
    return ((samples.reshape(-1)[:n_samples] ^ half) - half).astype(np.int16)  # two's complement of 10 or 12 bits


def decode_flac(data: bytes, form: str, n_signals: int, first: int, n_samples: int, most_values: int) -> np.ndarray:
    """Samples (n_samples, n_signals) of a FLAC file (formats 508, 516, 524) from sample `first` on.

    Parameters
    ----------
    n_samples : int
        Samples of one signal to read; 0 for all. Fewer come if the file has fewer.
    most_values : int
        What all samples together may be.

    Raises
    ------
    ValueError
        If it is no such file or would become more than that.
    """
    import soundfile  # type: ignore[import-untyped]  # wfdb needs it; only this format does here

    if data[:4] != b"fLaC":
        raise ValueError("not a FLAC file")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            bits = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}.get(sound.subtype, 99)
            if bits > int(form) - 500:
                raise ValueError(f"{bits} bits a sample in format {form}")
            if sound.channels != n_signals:
                raise ValueError(f"{sound.channels} signals where the header has {n_signals}")
            there = max(sound.frames - first, 0)
            n_samples = min(n_samples or there, there)
            if n_samples * n_signals > most_values:
                raise ValueError(f"it unfolds to {n_samples * n_signals} samples, which is no recording")
            sound.seek(min(first, sound.frames))
            # soundfile shifts 8 and 24 bits to the upper end of its own types
            samples = sound.read(n_samples, dtype="int32" if bits == 24 else "int16", always_2d=True)
            return samples >> 8 if bits in (8, 24) else samples
    except (RuntimeError, OSError, OverflowError, TypeError) as error:
        raise ValueError(f"no readable FLAC file: {str(error).partition(chr(10))[0][:200]}") from None
