"""RecBole's full-sort evaluation of its SASRec on the test targets. SEQUENCES REPEAT JSON

Runs in the environment that `make peers` builds. The same width, layers, heads and window as the recipe beside it, random
weights; hit and ndcg at 5, 10, 20 and mrr. 256 users a batch, the fastest of 64 to 4,096 (its default takes twice as long).
Seconds of `Trainer.evaluate` on a loader that is ready. It masks no history
and ranks by the 20 best, so its figures mean something else than those beside it.
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

source, repeat, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
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
        "metrics": ["Hit", "NDCG", "MRR"],
        "topk": [5, 10, 20],
        "valid_metric": "NDCG@10",
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "eval_batch_size": 256,
        "use_gpu": False,
        "checkpoint_dir": str(folder),
        "show_progress": False,
    },
)
dataset = create_dataset(config)
train, _, test = data_preparation(config, dataset)
trainer = Trainer(config, SASRec(config, train.dataset))
seconds = []
# The first one is left out.
for _ in range(1 + repeat):
    started = time.perf_counter()
    trainer.evaluate(test, load_best_model=False)
    seconds.append(time.perf_counter() - started)
out.write_text(
    json.dumps({"seconds": seconds[1:], "users": len(test.dataset), "items": dataset.item_num - 1})
)
