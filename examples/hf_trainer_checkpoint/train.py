"""A script with Hugging Face's Trainer that goes on where it was interrupted."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    HfArgumentParser,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

KEPT = os.environ.get("TUNER_CHECKPOINT_DIR", "output")  # 1. where the state is kept
WORDS, LENGTH = 20, 8


@dataclass
class Arguments(TrainingArguments):
    """Every option of TrainingArguments, with the defaults of this task."""

    output_dir: str = KEPT
    report_to: str = "none"
    learning_rate: float = 3e-3
    num_train_epochs: float = 6
    per_device_train_batch_size: int = 32
    per_device_eval_batch_size: int = 256
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"  # 3. the state, after each epoch …
    save_total_limit: int = 2
    use_cpu: bool = True
    disable_tqdm: bool = True


class ReportAfterSaving(TrainerCallback):
    """The Trainer evaluates before it saves: the epoch is reported once it is kept."""

    def __init__(self):
        self.losses = {}

    def on_evaluate(self, args, state, control, metrics, **more):
        self.losses[state.global_step] = metrics["eval_loss"]

    def on_save(self, args, state, control, **more):  # … before the epoch is reported
        loss = self.losses[state.global_step]
        print(json.dumps({"epoch": round(state.epoch) - 1, "eval_loss": loss}), flush=True)


class FirstWordAgain(torch.utils.data.Dataset):
    """Random sentences; the label says whether a word of the upper half comes first."""

    def __init__(self, rows, seed):
        generator = torch.Generator().manual_seed(seed)
        self.words = torch.randint(1, WORDS, (rows, LENGTH), generator=generator)
        self.labels = (self.words[:, 0] > WORDS // 2).long()

    def __len__(self):
        return len(self.words)

    def __getitem__(self, index):
        return {"input_ids": self.words[index], "labels": self.labels[index]}


def last_whole(folder):
    """The latest checkpoint; one that the script was killed in has no `trainer_state.json`, written last."""
    found = get_last_checkpoint(folder) if Path(folder).is_dir() else None
    if found is None or Path(found, "trainer_state.json").is_file():
        return found
    shutil.rmtree(found)
    return last_whole(folder)


def main():
    (args,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    set_seed(args.seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    trainer = Trainer(
        BertForSequenceClassification(BertConfig(vocab_size=WORDS, max_position_embeddings=LENGTH, **sizes)),
        args,
        train_dataset=FirstWordAgain(256, seed=0),
        eval_dataset=FirstWordAgain(128, seed=1),
        callbacks=[ReportAfterSaving()],
    )
    checkpoint = last_whole(KEPT)  # 2. an interrupted trial has left it: go on from there
    if checkpoint is not None:
        print("goes on from", checkpoint)
    trainer.train(resume_from_checkpoint=checkpoint)


if __name__ == "__main__":
    main()
