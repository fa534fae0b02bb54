"""Stand-in for the organizers' 2020 script, written from its description: python train_model.py DATA MODEL"""

import os
import sys

from train_12ECG_classifier import train_12ECG_classifier

if __name__ == "__main__":
    input_directory, output_directory = sys.argv[1], sys.argv[2]
    if not os.path.isdir(output_directory):
        os.mkdir(output_directory)
    print("Running training code...")
    train_12ECG_classifier(input_directory, output_directory)
    print("Done.")
