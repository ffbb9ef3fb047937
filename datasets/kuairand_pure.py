"""KuaiRand-Pure: exposures of short videos with watch time and twelve signals; a part shown at random."""

from pathlib import Path

from usermodel.events import data_owners as owner
from usermodel.events.data_cards import Card, Counts, DataFile, Download, Layout, Tables
from usermodel.events.data_families import kuairand

CARD = Card(
    name="kuairand-pure",
    title="KuaiRand-Pure",
    source=owner.KUAIRAND_SOURCE,
    licence=owner.KUAI_LICENCE,
    licence_short=owner.KUAI_LICENCE,
    columns=owner.KUAIRAND_COLUMNS,
    layouts=(
        Layout(
            "original",
            (
                DataFile("log_standard_4_08_to_4_21_pure.csv"),
                DataFile("log_standard_4_22_to_5_08_pure.csv"),
                DataFile("log_random_4_22_to_5_08_pure.csv", is_optional=True),
                DataFile("user_features_pure.csv", is_optional=True),
                DataFile("video_features_basic_pure.csv", is_optional=True),
            ),
            Counts(27_285, 7_551, 1_436_609),
            "Counts of the 15 standard policies, from the owner's README; the random log has 1,186,059 rows.",
        ),
    ),
    tasks=("watch-time", "ctr", "next-item", "exposure-bias", "user-attribute"),
    citation=owner.KUAIRAND_CITATION,
    downloads=(
        Download(
            "https://zenodo.org/records/10439422/files/KuaiRand-Pure.tar.gz",
            "KuaiRand-Pure.tar.gz",
            "md5:0820331067a3784d9691136f772b35a7",
        ),
    ),
)


def read(folder: Path) -> Tables:
    """Logs of the standard policies as events, of the random policy as impressions."""
    return kuairand(folder, "pure")
