"""FuxiCTR fits its vocabularies and writes numbered rows for CTR models; it builds no histories. INPUT -> FOLDER

Runs in the environment that `make peers` builds. An id seen fewer than five times becomes "out of vocabulary", which is
the nearest it has to a 5-core.
"""

import sys
from pathlib import Path

from fuxictr.preprocess import FeatureProcessor, build_dataset

if __name__ == "__main__":
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    ids = "int" if "int" in source.stem else "str"
    features = [
        {"name": name, "active": True, "dtype": ids, "type": "categorical"} for name in ("user_id", "item_id")
    ]
    encoder = FeatureProcessor(
        feature_cols=features,
        # Rows need a label; the time stands in for it.
        label_col={"name": "timestamp", "dtype": "float"},
        dataset_id="log",
        data_root=str(folder),
        min_categr_count=5,
    )
    build_dataset(
        encoder,
        train_data=str(source),
        data_format=source.suffix[1:],
        data_root=str(folder),
        dataset_id="log",
    )
