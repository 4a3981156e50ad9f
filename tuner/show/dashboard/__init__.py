"""optuna-dashboard on the storage, with notes and the files of each trial."""
