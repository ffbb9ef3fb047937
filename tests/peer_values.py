"""A toy case, and what other tools' own code makes of it; `tests/tasks/test_presets.py` holds the printed values.

Run each in the environment of its tool (``make peers``): ``python tests/peer_values.py recbole``, ``rectools``, ``fuxictr``.
MatchBox is no package: ``python tests/peer_values.py matchbox FILE`` with its ``matchbox/metrics.py``.
"""

import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

USERS, ITEMS, KS = 12, 15, (1, 3, 5)


def histories() -> list[list[int]]:
    """Items of each user, oldest first; the last is the test target. Those of users 2 and 7 repeat."""
    rows = [[(3 * u + 4 * t) % ITEMS for t in range(4 + u % 5)] for u in range(USERS)]
    rows[2][-1], rows[7][-1] = rows[2][0], rows[7][1]
    return rows


def scores() -> np.ndarray:
    """``[users, items]``, all different within a user, so that no tool has to order a tie; some targets rank high."""
    u, i = np.arange(USERS)[:, None], np.arange(ITEMS)[None, :]
    table = ((7 * i + 5 * u + 3 * i * i + u * i) % 31) + i / 100 + 0.001
    for user, row in enumerate(histories()):
        table[user, row[-1]] += 6 * (user % 4)
    return table


def recbole() -> dict[str, float]:
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.evaluator import Collector, Evaluator

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "toy"
        folder.mkdir()
        lines = ["user_id:token\titem_id:token\ttimestamp:float"]
        lines += [f"{u}\t{i}\t{t}" for u, row in enumerate(histories()) for t, i in enumerate(row)]
        (folder / "toy.inter").write_text("\n".join(lines) + "\n")
        settings = {
            "data_path": name,
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
            "topk": list(KS),
            "metrics": ["Hit", "Recall", "NDCG", "MAP", "MRR", "GAUC", "ItemCoverage", "AveragePopularity"],
            "train_neg_sample_args": None,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "use_gpu": False,
        }
        config = Config(model="SASRec", dataset="toy", config_dict=settings)
        train, _, test = data_preparation(config, create_dataset(config))
        collector, evaluator, data = Collector(config), Evaluator(config), train.dataset
        collector.data_collect(train)
        users, items = (data.field2id_token[field][1:].astype(int) for field in ("user_id", "item_id"))
        table = torch.full((USERS + 1, ITEMS + 1), -torch.inf)
        table[1:, 1:] = torch.from_numpy(scores()[users][:, items]).float()
        for batch, _, positive_u, positive_i in test:
            collector.eval_batch_collect(table[batch["user_id"]], batch, positive_u, positive_i)
        # Not get_data_struct(): version 1.2.1 calls .cpu() on the numbers that ItemCoverage and AveragePopularity need.
        return dict(evaluator.evaluate(collector.data_struct))


def rectools() -> dict[str, float]:
    import pandas as pd
    from rectools import metrics as m
    from rectools.models.rank import Distance, TorchRanker
    from scipy import sparse

    rows = histories()
    before = [(u, i) for u, row in enumerate(rows) for i in row[:-1]]
    viewed = sparse.csr_matrix((np.ones(len(before)), tuple(zip(*before, strict=True))), shape=(USERS, ITEMS))
    ranker = TorchRanker(Distance.DOT, "cpu", scores().astype(np.float32), np.eye(ITEMS, dtype=np.float32))
    u, i, _ = ranker.rank(np.arange(USERS), max(KS), viewed)
    reco = pd.DataFrame({"user_id": u, "item_id": i})
    reco["rank"] = reco.groupby("user_id").cumcount() + 1
    target = pd.DataFrame({"user_id": range(USERS), "item_id": [row[-1] for row in rows]})
    train = pd.DataFrame(
        [(u, i) for u, row in enumerate(rows) for i in row[:-2]], columns=["user_id", "item_id"]
    )
    kinds = {"hit": m.HitRate, "recall": m.Recall, "ndcg": m.NDCG, "map": m.MAP, "mrr": m.MRR}
    kinds |= {"coverage": m.CatalogCoverage, "novelty": m.MeanInvUserFreq, "arp": m.AvgRecPopularity}
    wanted = {f"{name}@{k}": kind(k=k) for name, kind in kinds.items() for k in KS}
    found = m.calc_metrics(wanted, reco, target, prev_interactions=train, catalog=range(ITEMS))
    return {name: float(value) for name, value in found.items()}


def fuxictr() -> dict[str, float]:
    from fuxictr.metrics import evaluate_metrics

    rows = []
    for user, row in enumerate(histories()):
        left = [item for item in range(ITEMS) if item not in row[:-1]]
        rows += [(user, item == row[-1], scores()[user, item]) for item in left]
    group, label, score = (np.array(column) for column in zip(*rows, strict=True))
    return dict(evaluate_metrics(label.astype(float), score, ["gAUC", "avgAUC", "MRR", "NDCG(k=3)"], group))


def matchbox() -> dict[str, float]:
    spec = importlib.util.spec_from_file_location("matchbox_metrics", sys.argv[2])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows = histories()
    names = [f"{kind}(k={k})" for kind in ("HitRate", "Recall", "NDCG", "MAP", "MRR") for k in KS]
    before, target = [row[:-1] for row in rows], [[row[-1]] for row in rows]
    return module.evaluate_metrics(scores(), np.eye(ITEMS), before, target, list(range(USERS)), names)


if __name__ == "__main__":
    tool = {"recbole": recbole, "rectools": rectools, "fuxictr": fuxictr, "matchbox": matchbox}[sys.argv[1]]
    sys.stdout.write(json.dumps({name: float(value) for name, value in tool().items()}, indent=1) + "\n")
