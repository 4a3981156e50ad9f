"""Study files: W&B sweep files with our own keys under `tuner`. Reads, checks and describes them."""
