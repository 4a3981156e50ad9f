"""A function that goes on where it was interrupted: it names a parameter `checkpoint`, a folder."""

import json


def train(config, report, checkpoint):
    """Fits y = 3x by gradient descent; its state is a number and the epoch."""
    state = checkpoint / "state.json"
    weight, begin = 0.0, 0
    if state.exists():
        weight, begin = json.loads(state.read_text())
    loss = (3 - weight) ** 2
    for epoch in range(begin, config["epochs"]):
        weight += config["learning_rate"] * (3 - weight)
        loss = (3 - weight) ** 2
        beside = state.with_suffix(".new")
        beside.write_text(json.dumps([weight, epoch + 1]))
        beside.replace(state)
        report(epoch, {"loss": loss, "begin": begin})
    return {"loss": loss}
