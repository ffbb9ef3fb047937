"""ICSRec's checkpoints against a plain padded version of its encoders, and every way in which one does not fit."""

import json
import math

import polars as pl
import pytest
import torch
import torch.nn.functional as F
from icsrec import gru_weights, sas_weights, save_for_cuda
from safetensors.torch import save_file

from usermodel import manifest
from usermodel.benchmark.evaluate import evaluate, facts
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.errors import ConfigError, DataError, MismatchError, MissingError, OutputExistsError
from usermodel.events.readers import read_events
from usermodel.report.describe import describe
from usermodel.retrieval.item_index import ItemIndex
from usermodel.store.build import build_store
from usermodel.training.convert import convert
from usermodel.training.run import Run

# Twelve items, so that "10" comes before "2" among texts; a history longer than the five events that are read.
HISTORIES = [[1, 2, 3, 4], [5, 6, 7, 8, 9, 10, 11, 12, 1], [12, 11, 10], [2, 9, 4, 7], [10, 1, 2, 12, 3]]
N_ITEMS, MAX_LEN = 12, 5


def make_store(folder, histories=HISTORIES, id_type="string", rename=str):
    lines = [" ".join([f"{user}", *map(rename, own)]) for user, own in enumerate(histories, 1)]
    (folder / "events.txt").write_text("\n".join(lines) + "\n")
    log = read_events(folder / "events.txt", format="sequences", id_type=id_type)
    return build_store(log, folder / "store")


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


def left_padded(histories):
    return torch.tensor([([0] * MAX_LEN + own)[-MAX_LEN:] for own in histories])


def sas_reference(w, heads, ids):
    """Section by section as the official code: a padded rectangle, an additive mask, one query, key and value each."""
    dim = w["item_embeddings.weight"].shape[1]

    def norm(x, name):
        mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        return (x - mean) / torch.sqrt(var + 1e-12) * w[name + ".weight"] + w[name + ".bias"]

    def linear(x, name):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    def parts(x):
        return x.view(*x.shape[:2], heads, dim // heads).transpose(1, 2)

    seen = (ids > 0)[:, None, None, :] & torch.ones(MAX_LEN, MAX_LEN, dtype=torch.bool).tril()
    mask = torch.where(seen, 0.0, -10000.0)
    x = norm(w["item_embeddings.weight"][ids] + w["position_embeddings.weight"], "LayerNorm")
    for layer in range(2):
        own = f"item_encoder.layer.{layer}."
        q, k, v = (parts(linear(x, f"{own}attention.{name}")) for name in ("query", "key", "value"))
        weight = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(dim // heads) + mask, -1)
        mixed = (weight @ v).transpose(1, 2).reshape(x.shape)
        x = norm(linear(mixed, own + "attention.dense") + x, own + "attention.LayerNorm")
        h = linear(x, own + "intermediate.dense_1")
        h = h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))
        x = norm(linear(h, own + "intermediate.dense_2") + x, own + "intermediate.LayerNorm")
    return x[:, -1]


def gru_reference(w, layers, ids):
    """torch's GRU over the whole rectangle, padding included."""
    dim, hidden = w["dense.weight"].shape
    gru = torch.nn.GRU(dim, hidden, layers, bias=False, batch_first=True)
    gru.load_state_dict(
        {name.removeprefix("gru_layers."): value for name, value in w.items() if "gru" in name}
    )
    states, _ = gru(w["item_embeddings.weight"][ids])
    return F.linear(states[:, -1], w["dense.weight"], w["dense.bias"])


def scores(run, store):
    """Users' scores of the items, by the number of the item in the checkpoint."""
    encoder = UserEncoder.load(run)
    users, items = encoder.encode(store).to_numpy(), encoder.items()
    order = torch.argsort(torch.tensor([int(name) for name in items.to_polars()["item_id"]]))
    return torch.from_numpy(users) @ torch.from_numpy(items.to_numpy())[order].T


@pytest.mark.parametrize("id_type", ["string", "int"])
@pytest.mark.parametrize("heads", [1, 2, 3])
@torch.no_grad()
def test_a_sas_model_scores_as_its_padded_reference(tmp_path, heads, id_type):
    store, weights = make_store(tmp_path, id_type=id_type), sas_weights()
    save_file(weights, tmp_path / "sas.pt")
    run = convert(tmp_path / "sas.pt", store, tmp_path / "run", heads=heads)
    wanted = sas_reference(weights, heads, left_padded(HISTORIES)) @ weights["item_embeddings.weight"][1:-1].T
    torch.testing.assert_close(scores(run, store), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layers", [1, 2])
@torch.no_grad()
def test_a_gru_model_scores_as_torchs_gru_over_the_padding(tmp_path, store, layers):
    weights = gru_weights(layers=layers)
    save_file(weights, tmp_path / "gru.pt")
    run = convert(tmp_path / "gru.pt", store, tmp_path / "run", max_history=MAX_LEN)
    wanted = (
        gru_reference(weights, layers, left_padded(HISTORIES)) @ weights["item_embeddings.weight"][1:-1].T
    )
    torch.testing.assert_close(scores(run, store), wanted, atol=1e-4, rtol=1e-4)


def test_sizes_are_found_in_the_shapes(tmp_path, store):
    save_file(sas_weights(dim=8, hidden=7, layers=3, max_len=9), tmp_path / "sas")
    config = convert(tmp_path / "sas", store, tmp_path / "run").recipe.encoder
    assert (config.dim, config.hidden, config.layers, config.max_history, config.heads) == (8, 7, 3, 9, 2)
    save_file(gru_weights(dim=5, hidden=3), tmp_path / "gru")
    config = convert(tmp_path / "gru", store, tmp_path / "run", overwrite=True).recipe.encoder
    assert (config.dim, config.hidden, config.layers, config.left_pad_to) == (5, 3, 1, 50)


def test_the_result_is_a_run_like_any_other(tmp_path, store):
    path = tmp_path / "gru.pt"
    save_for_cuda(gru_weights(), path)
    convert(path, store, tmp_path / "run", max_history=MAX_LEN)
    run = Run.open(tmp_path / "run")
    assert run.meta["converted_from"] == {
        "name": "gru.pt", "sha256": manifest.sha256(path), "family": "icsrec-gru",
    }  # fmt: skip
    assert run.history() == []
    found = evaluate(run, store)
    assert found[0].n == len(HISTORIES)
    assert facts(run, store)["epochs"] == 0
    json.dumps(facts(run, store))
    assert describe(tmp_path / "run").facts["converted_from"]["name"] == "gru.pt"
    rows = ItemIndex.build(run).recommend(UserEncoder.load(run).encode(store), k=3)
    assert len(rows)
    assert sorted(entry.name for entry in (tmp_path / "run").iterdir()) == [
        "config.json", "encoder", "manifest.json", "metrics.csv",
    ]  # fmt: skip


def changed(weights, **changes):
    """Dots of names are written as __; None removes."""
    for name, value in changes.items():
        name = name.replace("__", ".")
        weights.pop(name, None)
        if value is not None:
            weights[name] = value
    return weights


@pytest.mark.parametrize(
    ("weights", "error", "sentence"),
    [
        (
            changed(sas_weights(), LayerNorm__bias=None), DataError,
            r"expected the 36 tensors of an ICSRec SAS model of 2 layers; found no LayerNorm\.bias",
        ),
        (changed(sas_weights(), head__weight=torch.zeros(2)), DataError, r"found the unknown head\.weight"),
        (
            changed(sas_weights(), item_encoder__layer__1__attention__key__bias=torch.zeros(7)), DataError,
            r"expected item_encoder\.layer\.1\.attention\.key\.bias of shape \(6,\), .*; found \(7,\)",
        ),
        (changed(sas_weights(), position_embeddings__weight=torch.zeros(5)), DataError, "to be a matrix"),
        (changed(gru_weights(), dense__bias=None), DataError, r"GRU model of 1 layers; found no dense\.bias"),
        (changed(gru_weights(), gru_layers__bias_ih_l0=torch.zeros(30)), DataError, "the unknown gru_layers"),
        (changed(gru_weights(), gru_layers__weight_ih_l0=torch.zeros(29, 6)), DataError, r"\(30, 6\).*\(29, 6\)"),
        (changed(gru_weights(), gru_layers__weight_hh_l2=torch.zeros(30, 10)), DataError, "the unknown gru_layers.weight_hh_l2"),
        (
            {"linear.weight": torch.zeros(2, 2)}, DataError,
            r"expected an ICSRec model, SAS or GRU; found the tensors linear\.weight",
        ),
        ({}, DataError, "found no tensor"),
        (
            sas_weights(n_items=11), MismatchError,
            "expected an item table of 14 rows, for the 12 items of .*store, padding and a mask; found 13 rows",
        ),
        (changed(gru_weights(), dense__bias=torch.full((6,), torch.inf)), DataError, "NaN or infinity in 'dense.bias'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_nothing_is_written(tmp_path, store, weights, error, sentence):
    save_file(weights, tmp_path / "model.pt")
    with pytest.raises(error, match=sentence) as caught:
        convert(tmp_path / "model.pt", store, tmp_path / "run")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("rename", "sentence"),
    [
        (lambda k: f"B{k:03d}", "expected item ids 1 to 12, by which .*; found 12 others, such as 'B001'"),
        (lambda k: str(k - 1), "found 1 others, such as '0'"),
        (lambda k: f"{k:02d}", "found 9 others, such as '01'"),
        (lambda k: str(k if k < 12 else 13), "found 1 others, such as '13'"),
    ],
)
def test_ids_that_are_not_1_to_n_are_refused(tmp_path, rename, sentence):
    store = make_store(tmp_path, rename=rename)
    save_file(sas_weights(), tmp_path / "sas.pt")
    with pytest.raises(DataError, match=sentence):
        convert(tmp_path / "sas.pt", store, tmp_path / "run")


@pytest.mark.parametrize(
    ("weights", "options", "sentence"),
    [
        (sas_weights(), {"heads": 4}, "--heads: expected a divisor of the width 6; found 4"),
        (sas_weights(), {"heads": 0}, "--heads"),
        (sas_weights(), {"max_history": 9}, "--max-history: expected no value for a SAS model"),
        (gru_weights(), {"heads": 2}, "--heads: expected no value for a GRU model; found 2"),
        (gru_weights(), {"max_history": 0}, "--max-history: expected at least 1"),
    ],
)
def test_numbers_that_the_model_cannot_have(tmp_path, store, weights, options, sentence):
    save_file(weights, tmp_path / "model.pt")
    with pytest.raises(ConfigError, match=sentence):
        convert(tmp_path / "model.pt", store, tmp_path / "run", **options)


def test_an_older_run_is_kept_unless_told_and_kept_when_the_new_one_fails(tmp_path, store):
    save_file(gru_weights(), tmp_path / "gru.pt")
    convert(tmp_path / "gru.pt", store, tmp_path / "run")
    with pytest.raises(OutputExistsError):
        convert(tmp_path / "gru.pt", store, tmp_path / "run")
    with pytest.raises(MissingError):
        convert(tmp_path / "none.pt", store, tmp_path / "run", overwrite=True)
    assert manifest.read(tmp_path / "run", "run", verify=True).meta["converted_from"]["name"] == "gru.pt"


def test_the_vocabulary_of_the_run_is_that_of_the_store(tmp_path, store):
    save_file(gru_weights(), tmp_path / "gru.pt")
    convert(tmp_path / "gru.pt", store, tmp_path / "run")
    weights, encoder = gru_weights()["item_embeddings.weight"], UserEncoder.load(tmp_path / "run")
    assert encoder.vocabulary.ids.to_list()[:5] == ["1", "10", "11", "12", "2"]
    vectors = encoder.items().to_polars().with_columns(pl.col("item_id").cast(pl.Int64)).sort("item_id")
    assert torch.equal(torch.tensor(vectors["embedding"].to_list()), weights[1:-1])
    assert torch.equal(encoder.module.items.weight[0], weights[0])


def test_the_card_of_a_converted_encoder_says_so_and_claims_nothing(tmp_path, store):
    save_file(sas_weights(), tmp_path / "sas.pt")
    run = convert(tmp_path / "sas.pt", store, tmp_path / "run")
    text = (run.path / "encoder" / "README.md").read_text()
    assert "converted from a checkpoint" in text
    assert f"| sha256 | {run.meta['converted_from']['sha256']} |" in text
    assert "Validation: not measured." in text
    assert "Not trained here." in text
    assert "usermodel pretrain" not in text
    assert "encoder/README.md" not in manifest.read(run.path, verify=True).files
    again = convert(tmp_path / "sas.pt", store, tmp_path / "again")
    assert (again.path / "encoder" / "README.md").read_text() == text
