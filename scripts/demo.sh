#!/usr/bin/env bash
# The whole way on synthetic recordings: makes .venv, installs, makes recordings of five made-up hospitals, trains a small
# ensemble on four of them, classifies the fifth and scores it. From a fresh clone on a machine with Python 3.10 or newer:
#     bash scripts/demo.sh            into ./demo, under 15 minutes on two cores after the downloads
#     bash scripts/demo.sh FOLDER     into another folder
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-demo}
mkdir -p "$out"
out=$(cd "$out" && pwd)
started=$SECONDS
say() { printf '\n== %s (%d s)\n' "$1" $((SECONDS - started)); }
run() { printf '$ python %s\n' "$*"; .venv/bin/python "$@"; }

bash scripts/setup.sh requirements.txt
started=$SECONDS

say "Recordings of four hospitals to train on, and of one that training never sees: other rate, gain and files"
rm -rf "$out/train" "$out/test" "$out/outputs"
run -m twelvelead synthesize "$out/train" --hospitals alder,birch,cedar,dogwood --count 400 --seed 1
run -m twelvelead synthesize "$out/test" --hospitals elm --count 400 --seed 2
header=$(find "$out/test" -name '*.hea' | sort | sed -n 1p)  # not head: sort would die of a closed pipe
run -m twelvelead draw "$header" "$out/recording.png"

say "Training a small ensemble: 4 members of 9 epochs"
# TWELVELEAD_… variables, as the organizers' scripts leave no room for options
TWELVELEAD_SYNTHETIC=0 TWELVELEAD_MEMBERS=4 TWELVELEAD_EPOCHS=9 TWELVELEAD_WIDTH=12 TWELVELEAD_SEED=1 run train_model.py "$out/train" "$out/model"

say "Classifying the hospital that training never saw"
run driver.py "$out/model" "$out/test" "$out/outputs"

say "Scoring"
run evaluate_model.py "$out/test" "$out/outputs" "$out/scores.csv" "$out/class_scores.csv"
cat "$out/scores.csv"
echo

say "One recording by itself: what the model finds, how sure its members are, and where the score comes from"
run -m twelvelead predict "$header" --model "$out/model" --plot "$out/prediction.png" --explain NSR

say "Done"
cat <<END
recordings   $out/train, $out/test      one of them drawn: $out/recording.png
model        $out/model      how training went: $out/model/progress.png
outputs      $out/outputs    one CSV a recording
scores       $out/scores.csv, by class $out/class_scores.csv
prediction   $out/prediction.png    one recording with its probabilities
END
