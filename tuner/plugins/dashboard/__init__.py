"""Runs optuna-dashboard on the storage. Adds notes and the files of each trial."""
