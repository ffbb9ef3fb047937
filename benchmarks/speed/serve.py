"""Serving: encoding, full-ranking evaluation, exports and retrieval, each beside its peer in the same run.

    python benchmarks/speed/serve.py --job encode --json benchmarks/results/serve-encode.json

Jobs: evaluate (Beauty test beside RecBole and RecTools, see `make peers`), encode (beside a padded eager loop), export (a
million users), faiss-by-hand (the same index through us and called by hand), million-items (recall and queries a
second beside batched flat search). `make bench-serve` runs all of them.
"""

from __future__ import annotations

import argparse
import importlib
import sys

#: Job -> its script, which takes the same options and more of its own.
JOBS = {
    "evaluate": "serve_evaluate",
    "encode": "serve_encode",
    "export": "serve_export",
    "faiss-by-hand": "serve_retrieval",
    "million-items": "serve_retrieval",
}


def main() -> None:
    """Hand everything to the script of the job."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--job", choices=sorted(JOBS), required=True)
    found, _ = parser.parse_known_args()
    script = importlib.import_module(JOBS[found.job])
    script.main()


if __name__ == "__main__":
    sys.exit(main())
