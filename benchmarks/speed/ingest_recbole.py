"""RecBole reads an atomic file, filters to the 5-core and prepares the training rows of a sequence model. INPUT -> FOLDER

Runs in the environment that `make peers` builds. RecBole has no store: what it would train on stays in memory, so nothing
is written beside its logs.
"""

import sys
from pathlib import Path

from recbole.config import Config
from recbole.data import create_dataset, data_preparation

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
folder.mkdir(parents=True)
# Config parses the arguments of the process as its own.
sys.argv = sys.argv[:1]
config = Config(
    model="SASRec",
    dataset=source.stem,
    config_dict={
        "data_path": str(source.parent.parent),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "user_inter_num_interval": "[5,inf)",
        "item_inter_num_interval": "[5,inf)",
        "MAX_ITEM_LIST_LENGTH": 50,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "train_neg_sample_args": None,
        "use_gpu": False,
        "checkpoint_dir": str(folder),
    },
)
dataset = create_dataset(config)
train, _, _ = data_preparation(config, dataset)
print(f"{dataset.user_num - 1} users, {dataset.item_num - 1} items, {len(train.dataset)} training rows")
