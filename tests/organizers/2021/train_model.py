"""Stand-in for the organizers' 2021 script, written from its description: python train_model.py DATA MODEL"""

import sys

from team_code import training_code

if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise Exception("Include the data and model folders as arguments.")
    training_code(sys.argv[1], sys.argv[2])
    print("Done.")
