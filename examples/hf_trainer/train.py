"""Trains a tiny BERT, made here and not downloaded, with Hugging Face's Trainer and `report_to="wandb"`."""

from dataclasses import dataclass

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    HfArgumentParser,
    Trainer,
    TrainingArguments,
    set_seed,
)

WORDS, LENGTH = 20, 8


@dataclass
class Arguments(TrainingArguments):
    """Every option of TrainingArguments, with the defaults of this task."""

    output_dir: str = "output"
    report_to: str = "wandb"
    learning_rate: float = 3e-3
    num_train_epochs: float = 6
    per_device_train_batch_size: int = 32
    per_device_eval_batch_size: int = 256
    eval_strategy: str = "epoch"
    logging_strategy: str = "epoch"
    save_strategy: str = "no"
    use_cpu: bool = True
    disable_tqdm: bool = True


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


def accuracy(prediction):
    return {"accuracy": float(np.mean(prediction.predictions.argmax(-1) == prediction.label_ids))}


def main():
    (args,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    set_seed(args.seed)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=WORDS,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=LENGTH,
        )
    )
    trainer = Trainer(
        model,
        args,
        train_dataset=FirstWordAgain(512, seed=0),
        eval_dataset=FirstWordAgain(256, seed=1),
        compute_metrics=accuracy,
    )
    trainer.train()


if __name__ == "__main__":
    main()
