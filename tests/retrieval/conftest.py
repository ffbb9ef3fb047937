"""A store, its run and its vectors, anew for each file of tests, which may damage them."""

import pytest
import tiny

from usermodel.embeddings.user_encoder import UserEncoder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieval")
    store = tiny.make_store(folder / "store")
    run = tiny.make_run(store, folder / "run")
    encoder = UserEncoder.load(run)
    encoder.export(store, folder / "emb")
    return folder, store, run, encoder
