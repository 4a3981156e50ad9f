"""One's own training code under the tuner: a function from a configuration to metrics, and nothing else."""


def train(config, report):
    """Fits y = 3x by gradient descent; `report` may end it early, so it is called once an epoch."""
    weight = 0.0
    for epoch in range(config["epochs"]):
        weight += config["learning_rate"] * (3 - weight) - config["decay"] * weight
        loss = (3 - weight) ** 2
        report(epoch, {"loss": loss})
    return {"loss": loss}
