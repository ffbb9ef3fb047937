"""Words that cards of one owner share: licences and citations, as the owner states them."""

from __future__ import annotations

from typing import Final

from usermodel.events.data_cards import Download, Published

GROUPLENS_LICENCE: Final = (
    "Research use under the terms of the README: no endorsement implied, acknowledge the data set in publications, no "
    "redistribution without separate permission, no commercial or revenue-bearing use without permission of GroupLens."
)
GROUPLENS_SHORT: Final = "research only, no redistribution"
MOVIELENS_CITATION: Final = "F. Maxwell Harper and Joseph A. Konstan. The MovieLens Datasets: History and Context. ACM TiiS 5(4), 2015."
AMAZON_LICENCE: Final = (
    "None stated by the owner beyond a request to cite; the reviews are Amazon's and their authors'."
)
AMAZON_SHORT: Final = "not stated; cite"
AMAZON_2014_SOURCE: Final = "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html"
AMAZON_2014_CITATION: Final = (
    "Ruining He and Julian McAuley. Ups and Downs. WWW 2016; Julian McAuley et al. Image-based Recommendations on Styles "
    "and Substitutes. SIGIR 2015."
)
AMAZON_COLUMNS: Final = {
    "user_id": "reviewerID",
    "item_id": "asin",
    "timestamp": "unixReviewTime (s)",
    "rating": "overall",
}
KUAI_LICENCE: Final = "CC BY-SA 4.0"
KUAIRAND_SOURCE: Final = "https://kuairand.com"
KUAIRAND_CITATION: Final = "Chongming Gao et al. KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos. CIKM 2022."
KUAIRAND_COLUMNS: Final = {
    "user_id": "user_id",
    "item_id": "video_id",
    "timestamp": "time_ms",
    "event_type": "is_hate is_follow is_forward is_comment is_like is_click, the first that is 1",
    "watch_time_ms": "play_time_ms",
    "duration_ms": "duration_ms",
}
MIND_SOURCE: Final = "https://msnews.github.io"
MIND_LICENCE: Final = "Microsoft Research License Terms: research use only; consent on the owner's page."
MIND_CITATION: Final = "Fangzhao Wu et al. MIND: A Large-scale Dataset for News Recommendation. ACL 2020."
MIND_COLUMNS: Final = {
    "user_id": "behaviors.tsv column 2",
    "item_id": "behaviors.tsv columns 4 (history) and 5 (impressions)",
    "timestamp": "position in history and clicks; shown_at of impressions: column 3",
    "event_type": "history or click",
}
MIND_BY_HAND: Final = (
    "Accept the terms on the owner's page, download train and dev, unpack each into a folder of its own."
)


def amazon_2014_download(category: str) -> tuple[Download, ...]:
    """The owner's address of a 5-core review file."""
    name = f"reviews_{category}_5.json.gz"
    return (Download(f"https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/{name}", name),)


def icsrec(figures: str) -> Published:
    """ICSRec's own table: full ranking, leave-one-out, on the sequence file."""
    return Published(
        f"ICSRec {figures}", "README and performances.md of github.com/QinHsiu/ICSRec (WSDM 2024)"
    )
