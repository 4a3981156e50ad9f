#!/usr/bin/env bash
# Runs the campaign in docs/results.md and writes the page. Takes two to three hours on two cores.
#
#     bash docs/campaign.sh data/mill results vocabulary_4digit_hybrid.json
#
# Can be stopped and started again at any point: studies continue, and finished evaluations are kept.
set -euo pipefail
data=${1:?a data set, such as data/mill}
export TUNER_RESULTS=${2:-results}
vocabulary=${3:-vocabulary_4digit_hybrid.json}  # published with the recordings; for the windows track
python=${PYTHON:-.venv/bin/python}
tuner="$python -m tuner"
answers=$TUNER_RESULTS/evaluations
mkdir -p "$answers"

once() {  # once NAME COMMAND…: stores the output of the command, unless it was stored before
  [ -e "$answers/$1.json" ] && return
  echo "== $1"
  "${@:2}" > "$answers/$1.partial" || return  # explicit, because bash does not stop at errors within `&&`
  mv "$answers/$1.partial" "$answers/$1.json"
}

# Studies, ensemble, decoder, and at most 15 minutes for the claims that are still open.
# only once: the next commands calibrate the bundle, and with a changed bundle the decoder's studies would start again
[ -e "$answers/studies.done" ] || $tuner study all --data "$data" --agents 2
touch "$answers/studies.done"
$tuner export loss_weighting --output "$TUNER_RESULTS/winner.yaml"

# The baselines, and single networks with 40 epochs: default and winner, on both tracks.
once baseline $tuner model baseline --data "$data" --json
once baseline_windows $tuner model baseline --data "$data" --track windows --json
# the position tells most of the line, so fewer inputs are dropped (chosen on select and calibrate)
windows=(--set track=windows --set machine_position=true --set "vocabulary_file=$vocabulary"
  --set feature_dropout=0.2 --set context_before=64)
train() { once "$1" env OMP_NUM_THREADS=1 $tuner model train --data "$data" --json "${@:2}" --set epochs=40; }
seed_of_all() {
  train "default_seed$1" --seed "$1"
  train "winner_seed$1" --config "$TUNER_RESULTS/winner.yaml" --seed "$1"
  train "winner_windows_seed$1" --config "$TUNER_RESULTS/winner.yaml" --seed "$1" "${windows[@]}"
}
(seed_of_all 0 && train default_seed2 --seed 2) & first=$!
seed_of_all 1 && train winner_seed2 --config "$TUNER_RESULTS/winner.yaml" --seed 2
wait "$first"

# The campaign's ensemble, one network distilled from it, and its networks refitted on all recordings but test.
once calibration $tuner inference calibrate --bundle campaign --json
trained=(vocabulary_bucketing augmentation_optimization warmup_optimization architecture_sweep loss_weighting
  ensemble_members)
once compare $tuner ensemble compare --k 1,5,10,20 --study "${trained[@]}" --json
evaluate() { once "$1" $tuner inference evaluate "$data" --part test --json "${@:2}"; }
evaluate ensemble --bundle campaign
evaluate ensemble_joint --bundle campaign --joint
once distillation $tuner ensemble distill campaign --data "$data" --json
evaluate distilled --bundle campaign-distilled
[ -e "$TUNER_RESULTS/ensembles/campaign-refit-but-test/bundle.json" ] ||
  $tuner ensemble refit campaign --but-test --data "$data"
evaluate refit --bundle campaign-refit-but-test
evaluate refit_joint --bundle campaign-refit-but-test --joint

windows_run=$($python -c "import json, sys; print(json.load(open(sys.argv[1]))['run'])" "$answers/winner_windows_seed0.json")
once leads env PYTHONPATH=. $python benchmarks/bench_line_leads.py "$windows_run" --data "$data" --json

$tuner report --output "$TUNER_RESULTS/sweep_summary.pdf" --output "$TUNER_RESULTS/sweep_summary.html"
$python docs/write_results.py "$TUNER_RESULTS"
