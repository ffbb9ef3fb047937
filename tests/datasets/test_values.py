"""The values that each mapping makes of twenty invented rows: ids as written, times to the microsecond, units, gaps."""

import math

import polars as pl
import pytest

from usermodel.events.data_sets import read_data_set

S = 1_000_000


@pytest.fixture
def read(raw_folder):
    """Name -> the prepared set, read from the owner's format."""
    return lambda name, files=None: read_data_set(name, raw_folder(name, files))


def rows(prepared, n, *columns):
    """The first events as they go into the store."""
    frame = prepared.log.frame.collect().with_columns(pl.col("user_id", "item_id").cast(pl.String))
    return frame.select("user_id", "item_id", "timestamp", *columns).head(n).rows()


def check_movielens_csv(prepared):
    assert rows(prepared, 3, "rating") == [
        ("007", "31", 1260759144 * S, 2.5),
        ("7", "31", 1260759144 * S, 0.5),
        ("7", "1029", 1260759179 * S, 5.0),
    ]
    assert prepared.tables.items.rows() == [
        ("31", "Dangerous Minds (1995)", "Drama"),
        ("1029", "Dumbo, the Film (1941)", "Animation|Drama"),
    ]


def test_movielens_100k(read):
    prepared = read("movielens-100k")
    assert rows(prepared, 3, "rating") == [
        ("196", "242", 881250949 * S, 3.0),
        ("007", "242", 881250949 * S, 1.0),
        ("7", "302", 891717742 * S, 5.0),
    ]
    assert prepared.tables.users.row(1) == ("007", "24", "F", "other", "T8H1N")
    assert prepared.tables.items.rows() == [
        ("242", "Kolya (1996)", "24-Jan-1997", "Comedy"),
        ("302", "Là (1997)", "01-Jan-1997", "Action|Drama"),
    ]


def test_movielens_1m(read):
    prepared = read("movielens-1m")
    assert rows(prepared, 3, "rating") == [
        ("1", "1193", 978300760 * S, 5.0),
        ("1", "661", 978302109 * S, 3.0),
        ("007", "1193", 978300760 * S, 1.0),
    ]
    assert prepared.tables.users.row(1) == ("007", "M", "56", "16", "70072-1234")
    assert prepared.tables.items.rows() == [("1193", "Misérables, Les: The Film (1995)", "Drama|Musical")]


def test_movielens_1m_pairs(read):
    prepared = read("movielens-1m", {"ml-1m_sasrec.txt.gz": "1 5\n1 3\n2 5\n1 5\n"})
    assert prepared.tables.layout == "sasrec"
    assert rows(prepared, 4) == [("1", "5", 0), ("1", "3", 1), ("2", "5", 0), ("1", "5", 2)]


def test_movielens_20m(read):
    check_movielens_csv(read("movielens-20m"))


def test_movielens_25m(read):
    check_movielens_csv(read("movielens-25m"))


def check_amazon(prepared):
    assert rows(prepared, 3, "rating") == [
        ("A1", "0007", 1370131200 * S, 5.0),
        ("A1", "B000X", 1370131200 * S, 1.0),
        ("A2", "0007", 946684800 * S, 4.0),
    ]
    assert prepared.tables.items.rows() == [("0007", "It's a book", None, 9.99), ("B000X", None, None, None)]


def test_amazon_beauty(read):
    check_amazon(read("amazon-beauty"))


def test_amazon_sports(read):
    check_amazon(read("amazon-sports"))


def test_amazon_toys(read):
    check_amazon(read("amazon-toys"))


def test_amazon_games(read):
    check_amazon(read("amazon-games"))


def test_amazon_sequences(read):
    prepared = read("amazon-toys", {"Toys_and_Games.txt": "1 10 7 10\n2 7\n"})
    assert prepared.tables.layout == "sequences"
    assert rows(prepared, 4) == [("1", "10", 0), ("1", "7", 1), ("1", "10", 2), ("2", "7", 0)]


def test_amazon_2023(read):
    prepared = read("amazon-2023")
    assert rows(prepared, 2, "rating") == [
        ("AE2", "B07Q7Q3V5V", 1549866158332_000, 5.0),
        ("AE2", "0007", 1549866158331_000, 1.0),
    ]


def test_amazon_2023_ratings(read):
    """The owner's rating tables of the 0-core and the 5-core."""
    text = "user_id,parent_asin,rating,timestamp\nAF,B0,4.0,1588615855070\nAF,007,2.0,1588615855071\n"
    prepared = read("amazon-2023", {"5core/All_Beauty.csv.gz": text})
    assert prepared.tables.layout == "ratings"
    assert rows(prepared, 2, "rating") == [
        ("AF", "B0", 1588615855070_000, 4.0),
        ("AF", "007", 1588615855071_000, 2.0),
    ]


def test_yelp(read):
    prepared = read("yelp")
    assert rows(prepared, 2, "rating") == [
        ("mh_-eMZ6", "XQfw", 1531001351 * S, 3.0),
        ("OyoG", "7ATY", 1325604498 * S, 5.0),
    ]
    assert prepared.tables.items.row(0) == ("XQfw", "Turning Point", "Wayne", "PA", None)


def test_steam(read):
    prepared = read("steam")
    assert rows(prepared, 3, "watch_time_ms") == [
        ("Chaos Syren", "725280", 1513468800 * S, 360_000),
        ("Ariman1", "328100", 1501632000 * S, 47_520_000),
        ("007", "725280", 1416009600 * S, None),
    ]
    assert prepared.tables.left_out == {"no name or no day": 1}
    assert prepared.checks["events"][1] == 20


def test_lastfm(read):
    prepared = read("lastfm")
    assert rows(prepared, 3, "rating") == [
        ("2", "51", 0, 13883.0),
        ("2", "52", 1, 11690.0),
        ("002", "51", 0, 1.0),
    ]
    assert prepared.tables.items.rows() == [("51", 'Duran "Duran'), ("52", "Morcheeba")]


def test_gowalla(read):
    prepared = read("gowalla")
    assert rows(prepared, 3) == [
        ("0", "22847", 1287532527 * S),
        ("0", "420315", 1287440263 * S),
        ("1", "22847", 1287358923 * S),
    ]
    assert prepared.tables.items.row(0) == ("22847", "30.2359091167", "-97.7951395833")


def test_gowalla_lists(read):
    files = {"train.txt": "0 5 6\n1 7\n", "valid.txt": "0 9\n", "test.txt": "0 8\n1\n"}
    prepared = read("gowalla", files)
    assert prepared.tables.layout == "lightgcn"
    assert sorted(rows(prepared, 9)) == [
        ("0", "5", 0),
        ("0", "6", 1),
        ("0", "8", 3),
        ("0", "9", 2),
        ("1", "7", 0),
    ]


def test_citeulike_a(read):
    prepared = read("citeulike-a")
    assert rows(prepared, 5) == [
        ("0", "495", 0),
        ("0", "1631", 1),
        ("0", "7", 2),
        ("1", "7", 0),
        ("1", "495", 1),
    ]
    assert prepared.tables.items.rows() == [("0", ["17", "42"]), ("1", []), ("2", ["5"])]


def test_tenrec(read):
    prepared = read("tenrec")
    assert rows(prepared, 4, "event_type") == [
        ("5", "100", 0, "click"),
        ("5", "007", 1, "exposure"),
        ("5", "101", 2, "follow"),
        ("6", "100", 0, "like"),
    ]
    assert prepared.tables.users.head(2).rows() == [("5", "1", "3"), ("6", "2", "6")]
    assert prepared.tables.items.filter(pl.col("item_id") == "100")["video_category"].to_list() == ["1"]


def test_tenrec_articles(read):
    """Columns in another order, fewer signals, numbers written as 1.0."""
    text = "user_id,item_id,click,gender,age,exposure_count,category_second,category_first\n3,8,1.0,1,5,9,1,2\n3,9,0.0,1,5,9,1,2\n"
    prepared = read("tenrec", {"QB-article.csv": text})
    assert rows(prepared, 2, "event_type") == [("3", "8", 0, "click"), ("3", "9", 1, "exposure")]


def test_kuairec(read):
    prepared = read("kuairec")
    assert rows(prepared, 2, "watch_time_ms", "duration_ms") == [
        ("0", "3649", 1593878903_438_000, 13838, 10867),
        ("0", "9598", 1593879221_300_000, 13665, 10984),
    ]
    assert prepared.tables.left_out == {"no time": 1}
    assert prepared.tables.labels.rows() == [("14", 1593898068_378_000, "148", 0.722103, 4381, 6067)]
    assert "1 labels without a time were left out." in prepared.tables.notes
    assert prepared.tables.items.rows() == [("0", "[8]"), ("1", "[27, 9]")]


def check_kuairand(prepared):
    assert rows(prepared, 3, "event_type", "watch_time_ms", "duration_ms") == [
        ("0", "10", 1649387423001_000, "like", 61187, 61117),
        ("0", "11", 1649387423000_000, "view", 0, 9000),
        ("1", "10", 1649387500999_000, "hate", 120, 61117),
    ]
    shown = prepared.tables.impressions.select(
        "user_id", "item_id", "timestamp", "clicked", "propensity"
    ).rows()
    assert shown == [("0", "99", 1650700000007_000, False, None), ("1", "98", 1650700000008_000, True, None)]
    assert prepared.tables.users.columns == ["user_id", "user_active_degree", "is_lowactive_period"]
    assert prepared.tables.items["item_id"].to_list() == ["10", "11"]
    assert prepared.tables.events.height == 20


def test_kuairand_pure(read):
    check_kuairand(read("kuairand-pure"))


def test_kuairand_1k(read):
    check_kuairand(read("kuairand-1k"))


def test_kuairand_27k(read):
    check_kuairand(read("kuairand-27k"))


def check_mind(prepared):
    events = prepared.tables.events.filter(pl.col("user_id").is_in(["U1", "U2"])).rows()
    assert events == [
        ("U1", "N3", 0, "history"),
        ("U1", "N1", 1, "history"),
        ("U1", "N7", 2, "click"),
        ("U1", "N8", 3, "click"),
        ("U1", "N9", 4, "click"),
        ("U1", "N5", 5, "click"),
        ("U2", "N2", 0, "click"),
    ]
    shown = prepared.tables.impressions.filter(pl.col("user_id") == "U1").drop("propensity").rows()
    morning, evening, later = 1573463158 * S, 1573506358 * S, 1573804800 * S
    assert shown == [
        ("U1", "N7", 2, True, morning),
        ("U1", "N8", 2, False, morning),
        ("U1", "N8", 3, True, evening),
        ("U1", "N9", 3, True, evening),
        ("U1", "N7", 3, False, evening),
        ("U1", "N5", 5, True, later),
        ("U1", "N6", 5, False, later),
    ]
    second = prepared.tables.impressions.filter(pl.col("user_id") == "U2")
    assert second["timestamp"].to_list() == [0, 0, 1]
    assert "1 impressions without labels (the owner's test part) were passed over." in prepared.tables.notes
    assert prepared.tables.items.select("item_id", "title").rows() == [("N1", 'The "Open'), ("N2", "Title")]


def test_mind_small(read):
    check_mind(read("mind-small"))


def test_mind_large(read):
    check_mind(read("mind-large"))


def test_taobao_user_behavior(read):
    prepared = read("taobao-user-behavior")
    assert rows(prepared, 3, "event_type") == [
        ("1", "2268318", 1511544070 * S, "pv"),
        ("1", "2333346", 1511561733 * S, "buy"),
        ("2", "5", 2122867355 * S, "fav"),
    ]
    assert prepared.tables.left_out == {"a time outside 1990 to 2100": 2}
    assert prepared.checks["events"][1] == 20
    assert prepared.tables.items.head(1).rows() == [("2268318", "2520377")]


def test_tencent_ttl(read):
    prepared = read("tencent-ttl")
    assert prepared.tables.events.filter(pl.col("user_id").is_in(["0", "1"])).rows() == [
        ("0", "5", 0),
        ("0", "6", 1),
        ("0", "7", 2),
        ("1", "5", 0),
        ("1", "5", 1),
    ]
    # Lines 0 and 2 are equal: the last of them is the one.
    assert prepared.tables.users.head(3).rows() == [("0", None), ("1", "1"), ("2", "3")]
    assert prepared.tables.labels.rows() == [
        ("1", 2, 1.0, "40", "click"),
        ("1", 2, 1.0, "41", "click"),
        ("3", 2, 1.0, "40", "click"),
    ]
    assert "1 task rows belong to no user of the log and were left out." in prepared.tables.notes


def test_criteo(read):
    prepared = read("criteo")
    assert rows(prepared, 2, "event_type") == [("0", "ad", 0, "click"), ("1", "ad", 0, "impression")]
    labels = prepared.tables.labels
    assert labels.columns[:4] == ["user_id", "prediction_time", "item_id", "value"]
    assert labels.select("value", "I1", "I2", "I3", "C1", "C26").head(2).rows() == [
        (1.0, 1.0, 1.0, 5.0, "68fd1e64", "c26"),
        (0.0, -2.0, None, 5.0, None, "zz"),
    ]


def test_avazu(read):
    prepared = read("avazu")
    first, second = 1413849600 * S, 1414710000 * S
    assert rows(prepared, 2, "event_type") == [
        ("ddd2926e", "15706", first, "impression"),
        ("ddd2926e", "0015706", second, "click"),
    ]
    assert prepared.tables.impressions.head(2).rows() == [
        ("ddd2926e", "15706", first, False, None),
        ("ddd2926e", "0015706", second, True, None),
    ]
    labels = prepared.tables.labels
    assert labels.select("prediction_time", "value", "C1", "device_id", "C20").row(1) == (
        second,
        1.0,
        "1005",
        "a99f214a",
        "-1",
    )
    assert not {"click", "id", "hour"} & set(labels.columns)


def test_avazu_as_it_comes_from_the_owner(read, samples):
    """The owner's archive is train.gz, with no .csv in its name."""
    prepared = read("avazu", {"train.gz": samples["avazu"]["train.csv.gz"]})
    assert prepared.checks["events"][1] == 20


def test_cikm16(read):
    prepared = read("cikm16")
    day = 1462752000 * S
    assert rows(prepared, 4, "watch_time_ms") == [
        ("1", "0032118", day + 243_569_000, 282_740),
        ("1", "81766", day + 526_309_000, 504_709),
        ("1", "31331", day + 1_031_018_000, None),
        ("10", "10", day + 86_400 * S + 10_000_000, 2_500),
    ]
    assert prepared.tables.labels.head(2).rows() == [
        ("1", day + 1_031_018_000, 787.449),
        ("10", day + 86_400 * S + 12_500_000, 2.5),
    ]


def test_frappe(read):
    prepared = read("frappe")
    assert rows(prepared, 2, "rating") == [("0", "0", 0, 1.0), ("0", "7", 1, 1210.0)]


def test_frappe_labels(read):
    head = "label,user_id,item_id,daytime\n"
    files = {
        "train.csv": head + "1,0,7,noon\n0,0,8,noon\n",
        "valid.csv": head + "1,0,9,night\n",
        "test.csv": head + "0,1,7,noon\n",
    }
    prepared = read("frappe", files)
    assert prepared.tables.layout == "x1"
    # The positions of the sampled negatives stay free: nobody did them.
    assert rows(prepared, 3) == [("0", "7", 0), ("0", "9", 2)]
    assert prepared.tables.labels.rows() == [
        ("0", 0, "7", 1.0, "noon", "train"),
        ("0", 1, "8", 0.0, "noon", "train"),
        ("0", 2, "9", 1.0, "night", "valid"),
        ("1", 0, "7", 0.0, "noon", "test"),
    ]


def test_movielens_tag(read):
    prepared = read("movielens-tag")
    assert rows(prepared, 2) == [("451", "415", 0), ("451", "007", 2)]
    labels = prepared.tables.labels.filter(pl.col("user_id") == "451")
    assert labels.rows() == [
        ("451", 0, "415", 1.0, "40", "train"),
        ("451", 1, "417", 0.0, "41", "train"),
        ("451", 2, "007", 1.0, "40", "train"),
        ("451", 3, "8", 1.0, "9", "valid"),
    ]


def test_coat(read):
    prepared = read("coat")
    assert rows(prepared, 5, "rating") == [
        ("0", "1", 0, 5.0),
        ("0", "3", 1, 1.0),
        ("1", "0", 0, 2.0),
        ("2", "2", 0, 3.0),
        ("2", "3", 1, 4.0),
    ]
    assert prepared.tables.labels.rows() == [("0", 2, "0", 1.0), ("1", 1, "2", 2.0), ("2", 2, "1", 5.0)]
    assert prepared.tables.impressions["propensity"].to_list() == [0.25, 0.4, 0.5, 0.12, 0.13]
    assert prepared.tables.users.columns == ["user_id", "gender:men", "gender:women"]
    assert prepared.tables.users.row(0) == ("0", "0", "1")
    assert prepared.tables.items.row(3) == ("3", "1", "1", "1")


def test_yahoo_r3(read):
    prepared = read("yahoo-r3")
    assert rows(prepared, 3, "rating") == [("1", "14", 0, 5.0), ("1", "35", 1, 1.0), ("2", "14", 0, 3.0)]
    assert prepared.tables.labels.rows() == [
        ("1", 2, "49", 1.0),
        ("1", 2, "126", 5.0),
        ("2", 1, "138", 2.0),
        ("99", 0, "1", 4.0),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1593878903.438", 1593878903_438_000),
        ("1593878903", 1593878903_000_000),
        ("1593878903.", 1593878903_000_000),
        ("1593878903.4381239", 1593878903_438_123),
        ("1.59e9", None),
        ("", None),
        ("-5", None),
        (None, None),
    ],
)
def test_seconds_keep_their_digits(text, expected):
    from usermodel.events.raw_files import seconds_to_microseconds

    frame = pl.DataFrame({"t": [text]}, schema={"t": pl.String})
    assert frame.select(seconds_to_microseconds("t")).item() == expected
    assert expected is None or math.isclose(expected / S, float(text), abs_tol=1e-6)
