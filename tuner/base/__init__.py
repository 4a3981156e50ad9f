"""What every other floor of the engine builds on: errors, files, the run folder, statistics, words."""
