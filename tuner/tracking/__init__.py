"""Writes trials as W&B runs, offline by default. Only this package (and scripts' hook) imports wandb."""
