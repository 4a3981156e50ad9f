"""Trials as W&B runs, offline first: the only files that know wandb."""
