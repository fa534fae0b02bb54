"""What a file seems to be, by its first bytes, and how its signal can be converted into a format that is read.

    kind_of(head, "scan.pdf")       # Kind("a PDF document", reader=None, advice="…")

No file is read further than its first kilobytes here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

HEAD_BYTES = 8192
READ = "WFDB (.hea with its signal), .mat, CSV, .npy, .npz, EDF, BDF or DICOM"
_PICTURE = f"it holds no samples; ask the device or its archive to export the signal as {READ}"
_VENDOR = "export it from the device's software as DICOM, EDF or CSV"
_BIOSIG = f"convert it to EDF with BioSig (save2gdf -f=EDF), or {_VENDOR}"


class Kind(NamedTuple):
    """What a file seems to be."""

    name: str
    reader: str | None = None  # which reader of formats/read.py reads it; None if none does
    advice: str = ""  # what somebody can do whose file is not read


PLAIN_TEXT = Kind("plain text", "table")
UNKNOWN = Kind("of no format that is known here", advice=f"convert it to {READ}")

_AT_START = (
    (b"\x93NUMPY", Kind("a NumPy array", "numpy")),
    (b"0       ", Kind("EDF", "edf")),
    (b"\xffBIOSEMI", Kind("BDF", "bdf")),
    (b"MATLAB 5.0 MAT-file", Kind("a MATLAB file", "matlab")),
    (
        b"\x89HDF\r\n\x1a\n",
        Kind("HDF5", advice="read the array with h5py and save it with numpy.save, or from MATLAB with save -v7"),
    ),
    (
        b"MATLAB 7.3 MAT-file",
        Kind("a MATLAB file of version 7.3, which is HDF5", advice="save it again in MATLAB with save(…, '-v7')"),
    ),
    (b"%PDF", Kind("a PDF document", advice=_PICTURE)),
    (b"\x89PNG\r\n\x1a\n", Kind("a PNG picture", advice=_PICTURE)),
    (b"\xff\xd8\xff", Kind("a JPEG picture", advice=_PICTURE)),
    (b"GIF8", Kind("a GIF picture", advice=_PICTURE)),
    (b"II*\0", Kind("a TIFF picture", advice=_PICTURE)),
    (b"MM\0*", Kind("a TIFF picture", advice=_PICTURE)),
    (b"BM", Kind("a BMP picture", advice=_PICTURE)),
    (b"ISHNE1.0", Kind("an ISHNE Holter recording", advice=_BIOSIG)),
    (b"ANN  1.0", Kind("annotations of an ISHNE Holter recording", advice="give the recording itself")),
    (b"GDF ", Kind("GDF", advice=_BIOSIG)),
    (b"\x1f\x8b", Kind("compressed with gzip", advice="unpack it with gunzip and give what is inside")),
    (b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", advice="unpack it and give the files inside")),
    (b"Rar!", Kind("a RAR archive", advice="unpack it and give the files inside")),
    (b"BZh", Kind("compressed with bzip2", advice="unpack it with bunzip2 and give what is inside")),
    (b"\xfd7zXZ\0", Kind("compressed with xz", advice="unpack it with unxz and give what is inside")),
    (b"\xd0\xcf\x11\xe0", Kind("an old Office document", advice="save the table as CSV")),
    (b"PAR1", Kind("a Parquet table", advice="save it as CSV, or its array with numpy.save")),
    (b"\x80\x04", Kind("a Python pickle", advice="save the array with numpy.save; pickles can run any code")),
    (b"\x80\x03", Kind("a Python pickle", advice="save the array with numpy.save; pickles can run any code")),
    (b"fLaC", Kind("FLAC", advice="give its WFDB header (.hea), which says what it holds")),
)
_XML = (
    (rb"<(\w+:)?AnnotatedECG", "an HL7 aECG file", _BIOSIG),
    (rb"<(\w+:)?restingecgdata", "a Philips XML file", _VENDOR),
    (rb"<(\w+:)?RestingECG", "a GE MUSE XML file", _VENDOR),
    (rb"<(\w+:)?CardiologyXML", "a GE CardioSoft XML file", _VENDOR),
    (rb"<(\w+:)?ComXMLECG|<(\w+:)?customXml", "an ECG in XML", _VENDOR),
    (rb"<svg", "an SVG picture", _PICTURE),
    (rb"<(!doctype )?html", "a web page", _PICTURE),
)


def kind_of(head: bytes, name: str) -> Kind:
    """What a file seems to be.

    Parameters
    ----------
    head : bytes
        Its first `HEAD_BYTES` bytes.
    name : str
        Its name, for the few formats that do not name themselves.
    """
    suffix = name.lower().rpartition(".")[2] if "." in name else ""
    if not head:
        return Kind("empty", advice="copy it again")
    for start, kind in _AT_START:
        if head.startswith(start):
            return kind
    if head[128:132] == b"DICM":
        return Kind("DICOM", "dicom")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(head, suffix)
    if head[16:22] == b"SCPECG" or head[14:20] == b"SCPECG":
        return Kind("SCP-ECG", advice=_BIOSIG)
    if head.startswith(b"@  MFR") or suffix == "mwf":
        return Kind("MFER", advice=_BIOSIG)
    if suffix == "mat":
        return Kind("a MATLAB file", "matlab")
    if suffix == "dat":
        return Kind(
            "a WFDB signal without its header",
            advice="put the header (.hea) of the same name beside it; it says what the bytes mean",
        )
    text = _as_text(head)
    return UNKNOWN if text is None else _text_kind(text)


def _zip_kind(head: bytes, suffix: str) -> Kind:
    if suffix == "npz" or b".npy" in head[:200]:
        return Kind("NumPy arrays", "numpy")
    if b"xl/" in head or suffix in ("xlsx", "xlsm"):
        return Kind("an Excel workbook", advice="save the sheet as CSV")
    if suffix in ("docx", "pptx", "odt", "ods"):
        return Kind("an Office document", advice="save the table as CSV")
    return Kind("a zip archive", advice="unpack it and give the files inside")


def _as_text(head: bytes) -> str | None:
    """The bytes as text, or None if they are none."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head[: len(head) // 2 * 2].decode("utf-16", "replace")
    if b"\0" in head:
        return None
    try:
        return head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start >= len(head) - 4 and len(head) == HEAD_BYTES:  # a character that the head cuts in two
            return head[: error.start].decode("utf-8-sig")
    text = head.decode("latin-1")
    share = sum(character.isprintable() or character in "\r\n\t" for character in text) / len(text)
    return text if share > 0.98 else None


def _text_kind(text: str) -> Kind:
    start = text.lstrip("\ufeff \r\n\t")
    if start.startswith("<"):
        data = text.encode("utf-8", "replace")
        for pattern, name, advice in _XML:
            if re.search(pattern, data, re.IGNORECASE):
                return Kind(name, advice=advice)
        return Kind("XML", advice=_VENDOR)
    if start.startswith(("{", "[")):
        return Kind("JSON", advice="save its array of samples as CSV or with numpy.save")
    return PLAIN_TEXT
