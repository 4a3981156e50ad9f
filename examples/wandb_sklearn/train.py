"""Trains a linear classifier on scikit-learn's digits, as W&B's documentation teaches: init, config, log."""

import wandb
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler

DEFAULTS = {
    "learning_rate": 0.01,
    "alpha": 1e-4,
    "penalty": "l2",
    "batch_size": 32,
    "epochs": 9,
    "seed": 0,
}


def main():
    run = wandb.init(project="digits", config=DEFAULTS)  # a sweep's parameters take the place of the defaults
    config = wandb.config

    features, labels = load_digits(return_X_y=True)
    train_x, val_x, train_y, val_y = train_test_split(features, labels, test_size=0.3, random_state=0)
    scaler = MinMaxScaler().fit(train_x)
    train_x, val_x = scaler.transform(train_x), scaler.transform(val_x)

    model = SGDClassifier(
        loss="log_loss",
        alpha=config.alpha,
        penalty=config.penalty,
        learning_rate="constant",
        eta0=config.learning_rate,
        random_state=config.seed,
    )
    for _ in range(config.epochs):
        for start in range(0, len(train_x), config.batch_size):
            batch = slice(start, start + config.batch_size)
            model.partial_fit(train_x[batch], train_y[batch], classes=range(10))
        wandb.log(
            {
                "train/loss": log_loss(train_y, model.predict_proba(train_x)),
                "val/accuracy": model.score(val_x, val_y),
            }
        )
    run.finish()


if __name__ == "__main__":
    main()
