"""Training under its 2020 name; the organizers' 2020 train_model.py imports it from here."""

from team_code import training_code


def train_12ECG_classifier(input_directory, output_directory):  # noqa: N802, the organizers' name
    """Trains on a folder of recordings and writes the model folder."""
    training_code(input_directory, output_directory)
