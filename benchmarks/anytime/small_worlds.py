"""Two small trainings that are not our network's, whose learning curves bench_anytime.py replays as well.

The data comes with scikit-learn: its digits, and the problem of Hastie et al. (2009), equation 10.2, on which
boosting is usually shown. Each function trains one configuration and gives a value after each epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

DEFAULTS: dict[str, dict[str, Any]] = {  # what scikit-learn's own classifiers take, in the worlds' names
    "digits": {
        "learning_rate": 1e-3,
        "log2_width": 7,
        "layers": 1,
        "batch_size": 128,
        "optimizer": "adam",
        "activation": "relu",
        "dropout": 0.0,
        "weight_decay": 1e-4,
    },
    "boosting": {
        "learning_rate": 0.1,
        "log2_leaves": 5,
        "min_samples_leaf": 20,
        "l2_regularization": 1e-3,
        "max_features": 1.0,
        "max_bins": 255,
    },
}
TRAINED_ON = 400  # of the 1,797 digits: with more, most configurations are as good as each other
ROUNDS = 8  # trees that count as an epoch


def digits(config: Mapping[str, Any], epochs: int, seed: int) -> list[float]:
    """Accuracy of a small network on scikit-learn's digits, after each epoch."""
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    torch.manual_seed(seed)
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x = torch.tensor(images[order] / 16, dtype=torch.float32)
    y = torch.tensor(labels[order])
    kinds = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
    layers: list[nn.Module] = []
    inputs, width = 64, 2 ** config["log2_width"]
    for _ in range(config["layers"]):
        layers += [nn.Linear(inputs, width), kinds[config["activation"]]()]
        layers.append(nn.Dropout(config["dropout"]))
        inputs = width
    network = nn.Sequential(*layers, nn.Linear(inputs, 10))
    settings = {"lr": config["learning_rate"], "weight_decay": config["weight_decay"]}
    optimizer: torch.optim.Optimizer
    match config["optimizer"]:
        case "sgd":
            optimizer = torch.optim.SGD(network.parameters(), momentum=0.9, **settings)
        case "rmsprop":
            optimizer = torch.optim.RMSprop(network.parameters(), **settings)
        case _:
            optimizer = torch.optim.Adam(network.parameters(), **settings)
    values = []
    for _ in range(epochs):
        network.train()
        for batch in torch.randperm(TRAINED_ON).split(config["batch_size"]):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            right = (network(x[TRAINED_ON:]).argmax(1) == y[TRAINED_ON:]).float().mean()
        values.append(round(float(right), 5))
    return values


def boosting(config: Mapping[str, Any], epochs: int, seed: int) -> list[float]:
    """Log loss of gradient boosting on Hastie's problem, after each ROUNDS trees; overfitting raises it."""
    from sklearn.datasets import make_hastie_10_2
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import log_loss

    x, y = make_hastie_10_2(4000, random_state=0)
    settings = {name: value for name, value in config.items() if name != "log2_leaves"}
    model = HistGradientBoostingClassifier(
        **settings,
        max_leaf_nodes=2 ** config["log2_leaves"],
        max_iter=ROUNDS * epochs,
        early_stopping=False,
        random_state=seed,
    )
    model.fit(x[:1000], y[:1000])
    staged = [log_loss(y[1000:], proba[:, 1]) for proba in model.staged_predict_proba(x[1000:])]
    return [round(float(loss), 5) for loss in staged[ROUNDS - 1 :: ROUNDS]]
