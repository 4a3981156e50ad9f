"""Boosts trees on synthetic data; W&B's callback for XGBoost logs every round."""

import numpy as np
import wandb
import xgboost
from wandb.integration.xgboost import WandbCallback

DEFAULTS = {"eta": 0.3, "max_depth": 4, "subsample": 1.0, "rounds": 20}


def make_data(rows, seed):
    chance = np.random.default_rng(seed)
    features = chance.standard_normal((rows, 8))
    signal = features[:, 0] * features[:, 1] + features[:, 2]
    return xgboost.DMatrix(features, label=signal + 0.3 * chance.standard_normal(rows) > 0)


def main():
    with wandb.init(project="trees", config=DEFAULTS):
        config = wandb.config
        train, val = make_data(2000, 0), make_data(500, 1)
        xgboost.train(
            {
                "objective": "binary:logistic",
                "eval_metric": "logloss",
                "eta": config.eta,
                "max_depth": config.max_depth,
                "subsample": config.subsample,
                "seed": 0,
                "nthread": 1,
            },
            train,
            num_boost_round=config.rounds,
            evals=[(train, "train"), (val, "val")],
            verbose_eval=False,
            callbacks=[WandbCallback(log_feature_importance=False)],
        )


if __name__ == "__main__":
    main()
