"""Stand-in for the organizers' 2020 script, written from its description: python driver.py MODEL DATA OUTPUTS

Nothing is caught: a recording that raises stops the whole run.
"""

import os
import sys

import numpy as np
from scipy.io import loadmat

from run_12ECG_classifier import load_12ECG_model, run_12ECG_classifier


def load_challenge_data(mat_file):
    recording = np.asarray(loadmat(mat_file)["val"], dtype=np.float64)  # raw ADC units
    with open(mat_file.replace(".mat", ".hea")) as file:
        header_lines = file.readlines()
    return recording, header_lines


def save_challenge_predictions(output_directory, file_name, scores, labels, classes):
    recording = file_name.replace(".mat", "")
    with open(os.path.join(output_directory, f"{recording}.csv"), "w") as file:
        file.write(f"#{recording}\n")
        for row in (classes, labels, scores):
            file.write(",".join(str(value) for value in row) + "\n")


if __name__ == "__main__":
    model_directory, input_directory, output_directory = sys.argv[1:4]
    recordings = [name for name in os.listdir(input_directory)  # unsorted, one level
                  if name.lower().endswith("mat") and not name.startswith(".")]
    if not os.path.isdir(output_directory):
        os.mkdir(output_directory)
    print("Loading 12ECG model...")
    model = load_12ECG_model(model_directory)
    for number, name in enumerate(recordings, start=1):
        print(f"    {number}/{len(recordings)}...")
        data, header_data = load_challenge_data(os.path.join(input_directory, name))
        labels, scores, classes = run_12ECG_classifier(data, header_data, model)
        save_challenge_predictions(output_directory, name, scores, labels, classes)
    print("Done.")
