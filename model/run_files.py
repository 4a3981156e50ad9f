"""The names of the files that a training run adds to its run folder."""

WEIGHTS = "model.safetensors"
VOCABULARY = "vocabulary.json"
SCALER = "scaler.json"
PREDICTIONS = "predictions"
PARTS = ("select", "calibrate", "test")  # parts whose predictions are kept
