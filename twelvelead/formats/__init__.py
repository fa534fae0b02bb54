"""Files of many formats to a `Recording`: WFDB, MATLAB, CSV, NumPy, EDF and DICOM."""
