"""Examples of every command, as `twelvelead COMMAND --help` shows them."""

from __future__ import annotations

EXAMPLES = {
    "train": """
  twelvelead train training_data model
  twelvelead train training_data model --members 3 --epochs 10 --time-budget-hours 2
  TWELVELEAD_RECIPE=se-resnet twelvelead train training_data model
  twelvelead train training_data model --synthetic 4000
  twelvelead train model --no-data --synthetic 20000
  twelvelead train our_data model --labels labels.csv --init pretrained
  twelvelead train our_data model --label-field Dx --classes LVH=164873001,MI=164865005 --metric auroc""",
    "distil": """
  twelvelead distil model training_data student
  twelvelead distil model training_data student --epochs 30 --time-budget-hours 2
  twelvelead distil our_model our_recordings student --labels labels.csv""",
    "classify": """
  twelvelead classify model test_data outputs
  twelvelead classify test_data outputs
  twelvelead classify model test_data outputs --notes repaired.csv --device cpu --jobs 4
  twelvelead classify model test_data outputs --review review.csv --abstain 0.1""",
    "recalibrate": """
  twelvelead recalibrate model our_recordings our_model
  twelvelead recalibrate model our_recordings our_model --recordings 50
  twelvelead recalibrate model our_recordings our_model --labels labels.csv
  twelvelead recalibrate model our_recordings our_model --unlabelled""",
    "predict": """
  twelvelead predict A0001
  twelvelead predict A0001.hea A0002.mat --model model --out results
  twelvelead predict ecg.csv --frequency-hz 500 --unit mV --age 63 --sex female
  twelvelead predict ecg.npy --frequency-hz 500 --leads I,II,V1 --unit adc --adc-per-mv 200
  twelvelead predict A0001 --plot A0001.pdf --layout 12x1 --explain PVC
  twelvelead predict A0001.hea --json""",
    "evaluate": """
  twelvelead evaluate test_data outputs
  twelvelead evaluate test_data outputs scores.csv class_scores.csv --by-source
  twelvelead evaluate test_data outputs --compare other_outputs --json scores.json
  twelvelead evaluate test_data outputs --labels test_labels.csv --bootstrap 1000""",
    "report": """
  twelvelead report test_data outputs --out report.html
  twelvelead report test_data outputs --model model --compare other_outputs --out report.html
  twelvelead report test_data outputs --labels test_labels.csv --model our_model --out report.html
  twelvelead report headers outputs --data signals --by-source sources.csv --out report.html""",
    "crossval": """
  twelvelead crossval data results --recipe butt --recipe se-resnet --folds 5""",
    "leave-one-source-out": """
  twelvelead leave-one-source-out data results --recipe butt --recipe butt-2020 --pool-below 100""",
    "holdout": """
  twelvelead holdout data results --recipe butt --test-groups groups.csv""",
    "measure": """
  twelvelead measure model test_data
  twelvelead measure our_model test_data --labels test_labels.csv
  twelvelead measure model data --experiment left_out --table robustness.md""",
    "preflight": """
  twelvelead preflight
  twelvelead preflight recordings --minutes 2
  twelvelead preflight --docker""",
    "recipes": """
  twelvelead recipes""",
    "synthesize": """
  twelvelead synthesize recordings --count 100
  twelvelead synthesize recordings --hospitals alder,birch --count 400 --seed 1""",
    "export": """
  twelvelead export model model.onnx""",
    "completion": """
  twelvelead completion bash > ~/.local/share/bash-completion/completions/twelvelead
  twelvelead completion zsh > ~/.zfunc/_twelvelead""",
    "draw": """
  twelvelead draw data/A0001.hea A0001.png
  twelvelead draw data/A0001.hea A0001.pdf --layout 12x1 --start 10""",
}
