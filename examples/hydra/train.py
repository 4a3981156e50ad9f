"""Fits a polynomial by gradient descent; Hydra composes the configuration, W&B takes the metrics."""

import hydra
import numpy as np
import wandb
from omegaconf import DictConfig, OmegaConf


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    wandb.init(project="polynomial", config=OmegaConf.to_container(cfg, resolve=True))

    chance = np.random.default_rng(cfg.seed)
    x = chance.uniform(-1, 1, 300)
    y = np.sin(3 * x) + 0.1 * chance.standard_normal(300)
    powers = np.stack([x**k for k in range(cfg.model.degree + 1)], axis=1)
    (train, val), (train_y, val_y) = np.split(powers, [200]), np.split(y, [200])

    weights = np.zeros(powers.shape[1])
    for epoch in range(cfg.epochs):
        for _ in range(100):
            gradient = train.T @ (train @ weights - train_y) / len(train)
            weights -= cfg.optimizer.lr * (gradient + cfg.optimizer.weight_decay * weights)
        wandb.log({"epoch": epoch, "val/mse": float(np.mean((val @ weights - val_y) ** 2))})
    wandb.finish()


if __name__ == "__main__":
    main()
