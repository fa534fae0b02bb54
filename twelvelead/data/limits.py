"""What one recording may cost: bounds that are checked before memory is taken.

A header or a compressed file of a few bytes can ask for any amount of memory. Thirty minutes of twelve leads at 1000 Hz
(21.6 million samples) must fit, and ten times that need not. What small files may become is bounded more tightly, so
that one of them takes less than a second and 500 MB.
"""

from __future__ import annotations

HEADER_BYTES = 4 * 2**20
SIGNAL_BYTES = 2**28  # of one signal file: the longest recording in double precision
LINE = 500  # characters of a line that is no comment; some patterns take time with its square
SIGNALS = 256  # lines of leads in a header
SEGMENTS = 100_000  # lines of segments in a header
COMMENT = 10_000  # characters of a comment
COMMENTS = 10_000  # lines of comments in a header
LINES = SEGMENTS + COMMENTS + 1000  # of a header
HIGHEST_HZ = 1e5  # sampling frequency; the filters that resample grow with it
VALUES = 2**25  # samples of all leads together
ALWAYS_ALLOWED = 2**22  # values that any file may become: 12 minutes of twelve leads at 500 Hz
PER_BYTE = 64  # values that each byte of files may become beyond that; real recordings stay below 4
SAMPLES_OUT = 2**19  # samples a lead that resampling may always make: 17 minutes at 500 Hz
TIMES_LONGER = 16  # and beyond that, in samples a lead that come in


def most_values(n_bytes: int) -> int:
    """How many values files of `n_bytes` together may become, by decompression or by gaps that a header announces."""
    return min(VALUES, max(ALWAYS_ALLOWED, PER_BYTE * n_bytes))


def most_samples_out(n_samples: int) -> int:
    """How many samples a lead resampling may make of `n_samples`: a wrong sampling frequency can ask for any number."""
    return min(VALUES // 12, max(SAMPLES_OUT, TIMES_LONGER * n_samples))
