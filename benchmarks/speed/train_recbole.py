"""RecBole's SASRec with its softmax loss: a padded row for every prefix of every history. SEQUENCES EPOCHS JSON

Runs in the environment that `make peers` builds. The same width, layers, heads and window as the recipe beside it;
batches of 256 rows. Seconds come from its trainer's loop over the training data, evaluation left out. An epoch takes
minutes, so the first 100 batches are timed and scaled up to all of them; the JSON says so.
"""

import gzip
import json
import sys
import time
from pathlib import Path

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer

source, epochs, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
folder = out.parent / "recbole"
(folder / "log").mkdir(parents=True)
opener = gzip.open if source.suffix == ".gz" else open
with opener(source, "rt") as file, (folder / "log" / "log.inter").open("w") as inter:
    inter.write("user_id:token\titem_id:token\ttimestamp:float\n")
    for line in file:
        user, *items = line.split()
        inter.writelines(f"{user}\t{item}\t{place}\n" for place, item in enumerate(items))
sys.argv = sys.argv[:1]
config = Config(
    model="SASRec",
    dataset="log",
    config_dict={
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": 50,
        "hidden_size": 64,
        "inner_size": 256,
        "n_layers": 2,
        "n_heads": 2,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "train_batch_size": 256,
        "use_gpu": False,
        "checkpoint_dir": str(folder),
        "show_progress": False,
    },
)
dataset = create_dataset(config)
train, _, _ = data_preparation(config, dataset)
model = SASRec(config, train.dataset)
trainer = Trainer(config, model)


class Part:
    """The first batches of a loader."""

    def __init__(self, n: int) -> None:
        self.n, self.sampler, self.dataset = n, train.sampler, train.dataset

    def __len__(self) -> int:
        return self.n

    def __iter__(self):
        for number, batch in enumerate(train):
            if number == self.n:
                return
            yield batch


n = min(100, len(train))
trainer._train_epoch(Part(5), 0)
seconds = []
for epoch in range(epochs):
    started = time.perf_counter()
    trainer._train_epoch(Part(n), epoch)
    seconds.append((time.perf_counter() - started) * len(train) / n)
out.write_text(
    json.dumps(
        {
            "seconds": seconds,
            "targets": len(train.dataset),
            "classes": dataset.item_num - 1,
            "batches_timed": n,
            "batches": len(train),
        }
    )
)
