"""KuaiRand-1K: exposures of short videos with watch time and twelve signals; a part shown at random."""

from pathlib import Path

from usermodel.events import data_owners as owner
from usermodel.events.data_cards import Card, Counts, DataFile, Download, Layout, Tables
from usermodel.events.data_families import kuairand

CARD = Card(
    name="kuairand-1k",
    title="KuaiRand-1K",
    source=owner.KUAIRAND_SOURCE,
    licence=owner.KUAI_LICENCE,
    licence_short=owner.KUAI_LICENCE,
    columns=owner.KUAIRAND_COLUMNS,
    layouts=(
        Layout(
            "original",
            (
                DataFile("log_standard_4_08_to_4_21_1k.csv"),
                DataFile("log_standard_4_22_to_5_08_1k.csv"),
                DataFile("log_random_4_22_to_5_08_1k.csv", is_optional=True),
                DataFile("user_features_1k.csv", is_optional=True),
                DataFile("video_features_basic_1k.csv", is_optional=True),
            ),
            Counts(1_000, 4_369_953, 11_713_045),
            "Counts of the 15 standard policies, from the owner's README; the random log has 43,028 rows.",
        ),
    ),
    tasks=("watch-time", "ctr", "next-item", "exposure-bias", "user-attribute"),
    citation=owner.KUAIRAND_CITATION,
    downloads=(
        Download(
            "https://zenodo.org/records/10439422/files/KuaiRand-1K.tar.gz",
            "KuaiRand-1K.tar.gz",
            "md5:6b0b9c8222d67fcd4c676218edca3f1f",
        ),
    ),
)


def read(folder: Path) -> Tables:
    """Logs of the standard policies as events, of the random policy as impressions."""
    return kuairand(folder, "1k")
