"""What a training run adds to its run folder."""

WEIGHTS = "model.safetensors"
VOCABULARY = "vocabulary.json"
SCALER = "scaler.json"
PREDICTIONS = "predictions"
PARTS = ("select", "calibrate", "test")  # the parts whose predictions a run keeps
