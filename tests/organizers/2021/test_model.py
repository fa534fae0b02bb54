"""Stand-in for the organizers' 2021 script, written from its description: python test_model.py MODEL DATA OUTPUTS

Only run_model may fail: the recording gets an empty four-line CSV, and the exit code stays 0.
"""

import os
import sys

from helper_code import (find_challenge_files, get_leads, get_recording_id, load_header, load_recording, save_outputs,
                         sort_leads)
from team_code import load_model, run_model

if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise Exception("Include the model, data, and output folders as arguments.")
    model_directory, data_directory, output_directory = sys.argv[1:]
    header_files, recording_files = find_challenge_files(data_directory)
    if not recording_files:
        raise Exception("No data was provided.")
    os.makedirs(output_directory, exist_ok=True)

    lead_sets = sorted({sort_leads(get_leads(load_header(header_file))) for header_file in header_files})
    print("Loading models...")
    models = {leads: load_model(model_directory, leads) for leads in lead_sets}

    for number, (header_file, recording_file) in enumerate(zip(header_files, recording_files), start=1):
        print(f"    {number}/{len(header_files)}...")
        header = load_header(header_file)
        recording = load_recording(recording_file)
        try:
            classes, labels, probabilities = run_model(models[sort_leads(get_leads(header))], header, recording)
        except Exception:
            print("... failed.")
            classes, labels, probabilities = [], [], []
        name = os.path.splitext(os.path.basename(header_file))[0]
        save_outputs(os.path.join(output_directory, name + ".csv"), get_recording_id(header), classes, labels,
                     probabilities)
    print("Done.")
