"""Loading and running under their 2020 names; the organizers' 2020 driver.py imports them from here."""

from team_code import load_model, run_model


def load_12ECG_model(input_directory):  # noqa: N802, the organizers' name
    """The trained model of a folder, for `run_12ECG_classifier`."""
    return load_model(input_directory)


def run_12ECG_classifier(data, header_data, model):  # noqa: N802, the organizers' name
    """(labels, scores, classes) of raw ADC units (leads, samples) and the lines of a header."""
    classes, labels, scores = run_model(model, header_data, data)
    return labels, scores, classes
