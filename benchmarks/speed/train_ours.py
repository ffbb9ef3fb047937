"""A few epochs of a built-in recipe. SEQUENCES EPOCHS JSON [KEY=VALUE...]

Writes the seconds of each epoch: sampling, forward, backward and optimiser; validation is left out.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import usermodel as um
from usermodel.recipes.catalog import parse_assignments

source, epochs, out = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
with tempfile.TemporaryDirectory() as name:
    store = um.build_store(um.read_events(source, format="sequences"), Path(name) / "store")
    recipe = um.recipes.next_item().override(
        {"training.max_epochs": epochs, **parse_assignments(sys.argv[4:])}
    )
    times = []

    def validate(_encoder: object) -> dict[str, float]:
        # Called when an epoch is over; what it returns has no effect on speed.
        times.append(time.perf_counter())
        return {"ndcg@10": float(len(times))}

    started = time.perf_counter()
    run = um.pretrain(store, recipe, Path(name) / "run", validate=validate)
    split = store.split(recipe.data.split)
    result = {
        "seconds": [after - before for before, after in zip([started, *times], times, strict=False)],
        "targets": int((split.train_stop - split.start - 1).clip(min=0).sum()),
        "classes": store.n_items,
        "dim": recipe.encoder.to_dict()["dim"],
        "dropout": recipe.encoder.to_dict()["dropout"],
        "max_history": recipe.encoder.max_history,
        "parameters": run.meta["parameters"],
        "precision": run.meta["precision"],
    }
out.write_text(json.dumps(result))
