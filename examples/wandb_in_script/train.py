"""A sweep in a script, as W&B's documentation teaches it. Here it needs no server:

    tuner run --agents 2 examples/wandb_in_script/train.py

About 2 s a trial, most of it the import of wandb.
"""

import wandb

SWEEP = {
    "name": "valley",
    "method": "bayes",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {
        "x": {"min": -2.0, "max": 2.0},
        "y": {"min": -2.0, "max": 2.0},
        "epochs": {"value": 5},
    },
}


def main():
    """One trial: Rosenbrock's valley, reached a little closer with each epoch."""
    with wandb.init(project="valley") as run:
        x, y = run.config.x, run.config.y
        for epoch in range(run.config.epochs):
            run.log({"loss": (1 - x) ** 2 + 100 * (y - x**2) ** 2 + 1 / (epoch + 1)})


if __name__ == "__main__":
    sweep_id = wandb.sweep(sweep=SWEEP, project="valley")
    wandb.agent(sweep_id, function=main, count=5)
