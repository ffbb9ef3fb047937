"""KuaiRand-27K: exposures of short videos with watch time and twelve signals; a part shown at random."""

from pathlib import Path

import polars as pl

from usermodel.events import data_owners as owner
from usermodel.events import raw_files as raw
from usermodel.events.data_cards import Card, Counts, DataFile, Download, Layout, Published, Tables
from usermodel.events.data_families import kuai_events, kuai_tables, kuairand

CARD = Card(
    name="kuairand-27k",
    title="KuaiRand-27K",
    source=owner.KUAIRAND_SOURCE,
    licence=owner.KUAI_LICENCE,
    licence_short=owner.KUAI_LICENCE,
    columns=owner.KUAIRAND_COLUMNS,
    layouts=(
        Layout(
            "original",
            (
                DataFile("log_standard_4_08_to_4_21_27k_part*.csv"),
                DataFile("log_standard_4_22_to_5_08_27k_part*.csv"),
                DataFile("log_random_4_22_to_5_08_27k.csv", is_optional=True),
                DataFile("user_features_27k.csv", is_optional=True),
                DataFile("video_features_basic_27k.csv", is_optional=True),
            ),
            Counts(27_285, 32_038_725, 322_278_385),
            "Counts of the 15 standard policies, from the owner's README; the random log has 1,186,059 rows.",
        ),
        Layout(
            "likehate15",
            (
                DataFile(
                    "processed_standard_kcore_15.tsv.gz",
                    "f7613917e7d9d491803c32190c1b0b65507fe56efec85af3af397317ba1abd86",
                    991697,
                ),
                DataFile(
                    "user_features_pure.csv.gz",
                    "43ff62655dc07d7efe04850af721490b361782338daad678b96815afd16c5d17",
                    626180,
                    True,
                ),
                DataFile(
                    "video_features_basic_pure.csv.gz",
                    "3fb23c1bda3280014b47b564ca500552a9e71243e57ba4df670e2af7ebecb2db",
                    145763,
                    True,
                ),
            ),
            Counts(664, 9_359, 41_828),
            "Only exposures with a like or a hate, of users who gave both (15-core of the likes, all hates): the play "
            "times are conditional on an opinion. Rows are not sorted by time.",
        ),
    ),
    tasks=("watch-time", "ctr", "next-item", "exposure-bias", "user-attribute"),
    citation=owner.KUAIRAND_CITATION,
    published=(
        Published(
            "layout likehate15, like against hate, class-0 f1: random .531, LightGBM .611, XGBoost .624, CatBoost .600, "
            "TabPFN-2.6 .720",
            "results/ of github.com/alessandrosocc/predict_explicit_negative_feedback_kuairand",
        ),
    ),
    downloads=(
        Download(
            "https://zenodo.org/records/10439422/files/KuaiRand-27K.tar.gz",
            "KuaiRand-27K.tar.gz",
            None,
        ),
    ),
)


def read(folder: Path) -> Tables:
    """Logs of the standard policies as events, of the random policy as impressions; or the like-and-hate excerpt."""
    excerpt = raw.maybe(folder, "processed_standard_kcore_15.tsv")
    if excerpt is None:
        return kuairand(folder, "27k")
    rows = raw.read_text_table(excerpt, separator="\t", quoted=False)
    opinions = {"1": ("1", "0"), "0": ("0", "1")}
    signals = [
        pl.col("label").replace_strict({label: pair[k] for label, pair in opinions.items()}).alias(name)
        for k, name in enumerate(("is_like", "is_hate"))
    ]
    users, items = kuai_tables(folder, "pure")
    notes = ("An excerpt selected by explicit feedback: no basis for watch-time claims about the whole log.",)
    events = kuai_events(rows.with_columns(signals))
    return Tables(events, "ms", layout="likehate15", users=users, items=items, notes=notes)
