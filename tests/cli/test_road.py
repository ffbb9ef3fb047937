"""The road through the command line: every command on small simulated logs, and every bad input of the first hour."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
import pytest

from usermodel.cli.main import COMMANDS, main

TINY = ["--set", "training.max_epochs=2", "--set", "encoder.dim=16", "--set", "encoder.hidden=32"]


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def usermodel(*words, cwd, code=0):
    """Run a command line in this process: importing torch anew for each would take minutes in all."""
    out, err = io.StringIO(), io.StringIO()
    argv = mock.patch.object(sys, "argv", ["usermodel", *map(str, words)])
    environment = mock.patch.dict(os.environ, {"COLUMNS": "200", "NO_COLOR": "1"})
    with (
        contextlib.chdir(cwd),
        argv,
        environment,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
    done = Done(status, out.getvalue(), err.getvalue())
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    folder = tmp_path_factory.mktemp("road")
    usermodel(
        "simulate", "-o", "logs", "--users", 200, "--items", 120, "--events", 4000, "--seed", 1, cwd=folder
    )
    columns = ["--event-type", "event_type", "--watch-time", "watch_time_ms", "--duration", "duration_ms"]
    usermodel("ingest", "logs/events.parquet", "-o", "store", *columns, "--min-user-events", 5, cwd=folder)
    usermodel("pretrain", "store", "-o", "run", "--recipe", "next-item", *TINY, cwd=folder)
    return folder


def test_describe_knows_every_artefact(road):
    usermodel("embed", "run", "store", "-o", "described", cwd=road)
    usermodel("index", "run", "-o", "described.faiss", cwd=road)
    kinds = {
        "logs": "simulated-logs",
        "store": "store",
        "run": "run",
        "described": "embeddings",
        "described.faiss": "index",
    }
    for path, kind in kinds.items():
        facts = json.loads(usermodel("describe", path, "--json", cwd=road).stdout)
        assert facts["kind"] == kind
        usermodel("describe", path, cwd=road)
    facts = json.loads(usermodel("describe", "store", "--json", cwd=road).stdout)
    assert facts["n_users"] == 200
    assert facts["n_events"] == 4000
    assert set(facts["features"]) == {"event_type", "watch_time_ms", "duration_ms"}
    assert "leave-last-out" in facts["suggested_split"]


def test_embed_writes_one_row_per_user_keyed_by_external_ids(road):
    usermodel("embed", "run", "store", "-o", "users.parquet", cwd=road)
    frame = pl.read_parquet(road / "users.parquet")
    assert frame.columns == ["user_id", "n_events", "n_unknown", "is_cold", "prediction_time", "embedding"]
    assert frame["n_unknown"].sum() == 0
    assert frame.height == 200
    assert frame["user_id"][0].startswith("u")
    usermodel("embed", "run", "store", "-o", "vectors", "--format", "npy", cwd=road)
    assert np.allclose(np.load(road / "vectors/users.npy"), frame["embedding"].to_numpy())
    assert (
        "ids need a file of their own"
        in usermodel("embed", "run", "store", "-o", "users.npy", cwd=road, code=2).stderr
    )


def test_recommend_leaves_out_what_was_seen_and_an_index_changes_nothing(road):
    events = pl.read_parquet(road / "logs/events.parquet")
    users = events["user_id"].unique(maintain_order=True)[:3].to_list()
    usermodel("index", "run", "-o", "items.faiss", cwd=road)
    usermodel("index", "run", "-o", "items", cwd=road)
    outputs = [
        json.loads(
            usermodel(
                "recommend",
                "run",
                "store",
                "--users",
                ",".join(users),
                "-k",
                7,
                "--format",
                "json",
                *more,
                cwd=road,
            ).stdout
        )
        for more in ([], ["--index", "items.faiss"], ["--index", "items"])
    ]
    assert outputs[0] == outputs[1] == outputs[2]
    assert len(outputs[0]) == 21
    seen = set(events.select("user_id", "item_id").iter_rows())
    assert not {(row["user_id"], row["item_id"]) for row in outputs[0]} & seen
    assert [row["rank"] for row in outputs[0][:7]] == [1, 2, 3, 4, 5, 6, 7]
    (road / "ids.txt").write_text("\n".join(users))
    usermodel("recommend", "run", "store", "--users", "ids.txt", "-o", "best.parquet", cwd=road)
    assert pl.read_parquet(road / "best.parquet").height == 30
    usermodel("recommend", "run", "store", "--users", users[0], "-o", "best.csv", cwd=road)
    assert pl.read_csv(road / "best.csv").columns == ["user_id", "rank", "item_id", "score"]
    assert (
        ".json, .csv or .parquet"
        in usermodel(
            "recommend", "run", "store", "--users", users[0], "-o", "best.txt", cwd=road, code=2
        ).stderr
    )
    nobody = usermodel("recommend", "run", "store", "--users", "nobody", cwd=road, code=2).stderr
    assert "found 'nobody', which is neither" in nobody


def test_evaluate_writes_one_flat_object(road):
    usermodel("evaluate", "run", "store", "--task", "next-item", "--json", "scores.json", cwd=road)
    scores = json.loads((road / "scores.json").read_text())
    names = {"hit@5", "ndcg@5", "hit@10", "ndcg@10", "hit@20", "ndcg@20", "mrr"}
    assert names <= scores.keys()
    assert scores["definitions"].keys() == names
    assert scores["split"] == "test"
    assert scores["n"] == scores["n_users"] == 200
    assert scores["n_unknown_targets"] == 0
    assert 0 <= scores["ndcg@10"] <= scores["hit@10"] <= 1


def test_evaluate_refuses_another_store(road):
    """Same items, other events: its targets may have been training data."""
    usermodel("ingest", "logs/events.parquet", "-o", "plain", cwd=road)
    error = usermodel("evaluate", "run", "plain", cwd=road, code=2).stderr
    assert "expected the store of the run" in error


def test_a_saved_recipe_replays_bit_for_bit(road):
    usermodel("pretrain", "store", "-o", "again", "--recipe", "run/config.json", cwd=road)
    assert (road / "run/encoder/model.safetensors").read_bytes() == (
        road / "again/encoder/model.safetensors"
    ).read_bytes()


def test_finished_run_resumes_to_nothing_and_is_not_replaced_by_accident(road):
    before = (road / "run/manifest.json").read_bytes()
    usermodel("pretrain", "store", "-o", "run", "--resume", cwd=road)
    error = usermodel("pretrain", "store", "-o", "run", *TINY, cwd=road, code=2).stderr
    assert "--resume" in error
    assert "--overwrite" in error
    assert (road / "run/manifest.json").read_bytes() == before


def test_recipe_errors_name_the_key(road):
    error = usermodel("pretrain", "store", "-o", "no", "--set", "encoder.dmi=8", cwd=road, code=2).stderr
    assert "encoder.dmi" in error
    assert "Did you mean 'dim'?" in error
    error = usermodel("pretrain", "store", "-o", "no", "--set", "encoder.dim=wide", cwd=road, code=2).stderr
    assert "encoder.dim" in error
    assert (
        "Did you mean 'next-item'?"
        in usermodel("pretrain", "store", "-o", "no", "--recipe", "nextitem", cwd=road, code=2).stderr
    )
    assert not (road / "no").exists()


BAD_LOGS = {
    "missing file": (None, [], ["log.csv", "no such file"]),
    "missing column": (
        "user_id,item,timestamp\na,b,1700000000\n",
        [],
        ["log.csv", "'item_id'", "'item'", "--item"],
    ),
    "empty file": ("", [], ["log.csv", "no row"]),
    "header only": ("user_id,item_id,timestamp\n", [], ["log.csv", "no row"]),
    "not a time": (
        "user_id,item_id,timestamp\na,b,1700000000\na,c,yesterday\n",
        [],
        ["log.csv", "'timestamp'", "'yesterday'", "log.csv:3"],
    ),
    "mixed units": (
        "user_id,item_id,timestamp\na,b,1700000000\na,c,1700000000000\n",
        [],
        ["1 in s", "1 in ms", "log.csv:3"],
    ),
    "naive text": ("user_id,item_id,timestamp\na,b,2024-01-01 10:00:00\n", [], ["--tz"]),
    "wrong separator": ("user_id;item_id;timestamp\na;b;1700000000\n", [], ["'user_id;item_id;timestamp'"]),
    "k-core leaves nothing": (
        "user_id,item_id,timestamp\na,b,1700000000\n",
        ["--min-user-events", "5"],
        ["--min-user-events"],
    ),
}


@pytest.mark.parametrize("case", BAD_LOGS)
def test_bad_logs_exit_2_with_one_message_and_leave_nothing(case, tmp_path):
    text, options, words = BAD_LOGS[case]
    if text is not None:
        (tmp_path / "log.csv").write_text(text)
    done = usermodel("ingest", "log.csv", "-o", "store", *options, cwd=tmp_path, code=2)
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == (["log.csv"] if text is not None else [])


def test_a_store_with_one_user_cannot_pretrain(tmp_path):
    rows = "".join(f"a,i{n},{1_700_000_000 + n}\n" for n in range(9))
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n" + rows)
    usermodel("ingest", "log.csv", "-o", "store", cwd=tmp_path)
    error = usermodel("pretrain", "store", "-o", "run", cwd=tmp_path, code=2).stderr
    assert "1 of 1 users" in error
    assert not (tmp_path / "run").exists()


def test_a_flipped_bit_in_a_store_is_an_integrity_error(road, tmp_path):
    usermodel("ingest", road / "logs/events.parquet", "-o", tmp_path / "store", cwd=road)
    items = tmp_path / "store/items.npy"
    data = bytearray(items.read_bytes())
    data[-1] ^= 1
    items.write_bytes(data)
    assert "sha256" in usermodel("pretrain", "store", "-o", "run", cwd=tmp_path, code=4).stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, tmp_path):
    assert f"{command} [OPTIONS]" in usermodel(command, "--help", cwd=tmp_path).stdout


def test_usage_errors_exit_2(tmp_path):
    assert "No such option" in usermodel("ingest", "--nope", cwd=tmp_path, code=2).stderr
    usermodel("nonsense", cwd=tmp_path, code=2)


def test_the_installed_command(tmp_path):
    """One real process: the entry point, the exit code, nothing on standard output."""
    command = [Path(sys.executable).parent / "usermodel", "ingest", "absent.csv", "-o", "store"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: absent.csv: expected a log file; found no such file.")


def test_dry_run_shows_the_plan_and_writes_nothing(tmp_path):
    (tmp_path / "log.csv").write_text("uid,vid,ts\na,b,1700000000\na,c,oops\n")
    names = ["--user", "uid", "--item", "vid", "--time", "ts"]
    shown = usermodel("ingest", "log.csv", "--dry-run", *names, cwd=tmp_path).stdout
    for word in (
        "log.csv",
        "csv",
        "uid",
        "2023-11-14 22:13:20",
        "s (1 rows lie between 1990 and 2100",
        "1 bad rows",
    ):
        assert word in shown
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    assert "--dry-run" in usermodel("ingest", "log.csv", cwd=tmp_path, code=2).stderr


@pytest.mark.parametrize(
    ("command", "defaults"),
    [
        ("simulate", ["40 a user"]),
        ("pretrain", ["next-item"]),
        ("finetune", ["label, target", "that of the task"]),
        ("convert", ["2", "50"]),
        ("embed", ["parquet"]),
        ("index", ["inner-product for items, cosine for users"]),
        ("evaluate", ["test", "bootstrap"]),
        ("recommend", ["a table; for -o by the suffix"]),
        ("similar", ["a table; for -o by the suffix"]),
    ],
)
def test_help_shows_what_an_option_is_when_left_out(tmp_path, command, defaults):
    shown = " ".join(usermodel(command, "--help", cwd=tmp_path).stdout.replace("│", " ").split())
    for default in defaults:
        assert f"[default: ({default})]" in shown


def test_simulate_names_its_options(tmp_path):
    words = ("simulate", "-o", "logs", "--users", 100, "--items")
    assert "[48<=x<=1000000]" in usermodel("simulate", "--help", cwd=tmp_path).stdout
    assert "greater than or equal to 48" in usermodel(*words, 47, cwd=tmp_path, code=2).stderr
    usermodel(*words, 48, "--events", 500, cwd=tmp_path)
    for events, do in (
        (499, "Raise --events, or lower --users."),
        (1201, "Lower --events, or raise --users or --items."),
    ):
        words = ("simulate", "-o", "more", "--users", 100, "--items", 48, "--events", events)
        said = usermodel(*words, cwd=tmp_path, code=2).stderr
        assert "error: --events: expected 500 to 1,200" in said
        assert do in said


def test_bad_rows_can_be_set_aside_and_every_row_is_accounted_for(tmp_path):
    (tmp_path / "log.csv").write_text(
        "user_id,item_id,timestamp\na,b,1700000000\na,b,1700000000\na,c,oops\n,c,1700000000\n"
    )
    store = ["-o", "store", "--duplicates", "drop"]
    assert (
        "log.csv:4: column 'timestamp'" in usermodel("ingest", "log.csv", *store, cwd=tmp_path, code=2).stderr
    )
    said = usermodel("ingest", "log.csv", *store, "--bad-rows", "quarantine", cwd=tmp_path).stderr
    assert "read 4 rows = accepted 1 + duplicates 1 + quarantined 2" in said
    lines = [json.loads(line) for line in (tmp_path / "store/quarantine.jsonl").read_text().splitlines()]
    assert [(one["code"], one["line"], one["raw"]) for one in lines] == [("D012", 4, "oops"), ("D010", 5, "")]
    assert (tmp_path / "store/quarantine.jsonl").stat().st_mode & 0o077 == 0
    said = usermodel("ingest", "log.csv", "-o", "other", "--bad-rows", "drop", cwd=tmp_path).stderr
    assert "read 4 rows = accepted 2 + dropped 2\n1 rows repeat another one exactly" in said
    assert not (tmp_path / "other/quarantine.jsonl").exists()


def test_append_accounts_for_the_rows_of_the_new_log_alone(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\na,b,1700000000\na,b,1700000000\na,c,oops\n")
    (tmp_path / "day.csv").write_text(
        "user_id,item_id,timestamp\n,b,1700000001\na,d,1700000002\na,d,1700000002\na,e,oops\n"
    )
    usermodel("ingest", "log.csv", "-o", "store", "--bad-rows", "quarantine", cwd=tmp_path)
    append = ("append", "store", "day.csv", "--bad-rows", "quarantine", "-o")
    assert usermodel(*append, "kept", cwd=tmp_path).stderr.splitlines()[:3] == [
        "read 4 rows = accepted 2 + quarantined 2",
        "1 rows repeat another one exactly; --duplicates drop leaves them out",
        "added 2 events, 0 new users, 1 new items",
    ]
    said = usermodel(*append, "once", "--duplicates", "drop", cwd=tmp_path).stderr
    assert "read 4 rows = accepted 1 + duplicates 1 + quarantined 2\nadded 1 events" in said
