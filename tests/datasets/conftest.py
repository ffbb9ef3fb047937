"""Twenty invented rows of every public data set, in the owner's format: names of files -> their text (``.gz`` is packed).

No row is real. The first rows are the odd ones that the tests speak of; the others fill up.
"""

import gzip
import json

import pytest

REST = range(3, 20)


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def literals(rows):
    return "".join(repr(row) + "\n" for row in rows)


def _movielens_csv():
    head = (
        "userId,movieId,rating,timestamp\n007,31,2.5,1260759144\n7,31,0.5,1260759144\n7,1029,5.0,1260759179\n"
    )
    films = 'movieId,title,genres\n31,Dangerous Minds (1995),Drama\n1029,"Dumbo, the Film (1941)",Animation|Drama\n'
    return {
        "ml/ratings.csv": head + "".join(f"{n},{n},3.0,{1_260_759_000 + n}\n" for n in REST),
        "ml/movies.csv": films,
    }


def _amazon(category):
    rows = [
        {
            "reviewerID": "A1",
            "asin": "0007",
            "overall": 5.0,
            "unixReviewTime": 1370131200,
            "reviewText": "a\u2028b",
        },
        {
            "reviewerID": "A1",
            "asin": "B000X",
            "overall": 1.0,
            "unixReviewTime": 1370131200,
            "helpful": [0, 1],
        },
        {"reviewerID": "A2", "asin": "0007", "overall": 4.0, "unixReviewTime": 946684800},
    ]
    rows += [
        {"reviewerID": f"A{n}", "asin": f"B{n}", "overall": 3.0, "unixReviewTime": 1370131200 + n}
        for n in REST
    ]
    meta = [{"asin": "0007", "title": "It's a book", "price": 9.99, "categories": [["X"]]}, {"asin": "B000X"}]
    return {f"reviews_{category}_5.json.gz": jsonl(rows), f"meta_{category}.json.gz": literals(meta)}


KUAI_HEAD = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab\n"
)


def _kuairand(version, standard):
    odd = [
        "0,10,20220408,1100,1649387423001,1,1,0,0,0,0,1,61187,61117,0,0,0,0,1",
        "0,11,20220408,1100,1649387423000,0,0,0,0,0,0,0,0,9000,0,0,0,0,1",
        "1,10,20220408,1100,1649387500999,1,1,0,0,0,1,0,120,61117,0,0,0,0,1",
    ]
    more = [f"{n},{n},20220422,1100,{1_650_600_000_000 + n},1,0,0,0,0,0,0,5,10,0,0,0,0,1" for n in REST]
    return {
        standard[0]: KUAI_HEAD + "\n".join(odd) + "\n",
        standard[1]: KUAI_HEAD + "\n".join(more) + "\n",
        f"data/log_random_4_22_to_5_08_{version}.csv": KUAI_HEAD
        + "0,99,20220423,900,1650700000007,0,0,0,0,0,0,0,300,400,0,0,0,1,1\n"
        + "1,98,20220423,900,1650700000008,1,0,0,0,0,0,0,300,400,0,0,0,1,1\n",
        f"data/user_features_{version}.csv": "user_id,user_active_degree,is_lowactive_period\n0,full_active,0\n1,UNKNOWN,1\n",
        f"data/video_features_basic_{version}.csv": "video_id,author_id,video_type\n10,5,NORMAL\n11,6,AD\n",
    }


def _mind(version):
    train = [
        "1\tU1\t11/11/2019 9:05:58 AM\tN3 N1\tN7-1 N8-0",
        "2\tU1\t11/11/2019 9:05:58 PM\tN3 N1\tN8-1 N9-1 N7-0",
        "3\tU2\t11/12/2019 12:00:00 AM\t\tN1-0 N2-1",
        *(f"{n}\tU{n}\t11/13/2019 1:00:{n:02} PM\tN1\tN2-0 N3-1" for n in range(4, 18)),
    ]
    dev = [
        "1\tU1\t11/15/2019 8:00:00 AM\tN3 N1 N7\tN5-1 N6-0",
        "2\tU2\t11/15/2019 8:00:01 AM\t\tN5-0",
        "3\tU3\t11/15/2019 8:00:02 AM\tN1\tN5 N6",
    ]
    news = 'N1\tsports\tgolf\tThe "Open\tabstract\thttps://x\t[]\t[]\nN2\tnews\tworld\tTitle\t\thttps://y\t[]\t[]\n'
    return {
        f"MIND{version}_train/behaviors.tsv": "\n".join(train) + "\n",
        f"MIND{version}_train/news.tsv": news,
        f"MIND{version}_dev/behaviors.tsv": "\n".join(dev) + "\n",
        f"MIND{version}_dev/news.tsv": news,
    }


def _kuairec():
    head = "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n"
    big = [
        "0,3649,13838,10867,2020-07-05 00:08:23.438,20200705,1593878903.438,1.273396521579093",
        "0,9598,13665,10984,2020-07-05 00:13:41.297,20200705,1593879221.3,1.244082",
        "14,3649,0,10867,,,,0.0",
        *(f"{n},{n},1,2,2020-07-05 00:00:00,20200705,{1_593_878_400 + n}.0,0.5" for n in REST),
    ]
    small = [
        "14,148,4381,6067,2020-07-05 05:27:48.378,20200705,1593898068.378,0.722103",
        "14,183,11635,6100,,,,1.907377",
    ]
    return {
        "data/big_matrix.csv": head + "\n".join(big) + "\n",
        "data/small_matrix.csv": head + "\n".join(small) + "\n",
        "data/item_categories.csv": 'video_id,feat\n0,[8]\n1,"[27, 9]"\n',
    }


def _ctr_parts(columns, rows):
    text = [",".join(columns) + "\n" + "".join(row + "\n" for row in part) for part in rows]
    return dict(zip(("train.csv", "valid.csv", "test.csv"), text, strict=True))


def _coat():
    """Three users and four coats."""
    return {
        "coat/train.ascii": "0 5 0 1\n2 0 0 0\n0 0 3 4\n",
        "coat/test.ascii": "1 0 0 0\n0 0 2 0\n0 5 0 0\n",
        "coat/propensities.ascii": "1e-01 2.5e-01 0.3 0.4\n0.5 0.6 0.7 0.8\n0.9 0.11 0.12 0.13\n",
        "coat/user_item_features/user_features.ascii": "0 1\n1 0\n1 0\n",
        "coat/user_item_features/user_features_map.txt": "gender:men\ngender:women\n",
        "coat/user_item_features/item_features.ascii": "1 0 1\n0 1 0\n0 0 1\n1 1 1\n",
    }


def _ttl():
    odd = ["0,0,5,6,7", "5,0,5", "0,0,5,6,7"]
    return {
        "original_desen_pretrain.csv": "\n".join([*odd, *(f"0,{n},{n + 1}" for n in REST)]) + "\n",
        "original_desen_age.csv": "0,0,5,6,7,,3\n5,0,5,,1\n9,9,9,,2\n",
        "original_desen_finetune_click_nouserID.csv": "5,0,5,,40,41\n0,3,4,,40\n",
    }


CRITEO = ["1\t1\t1\t5\t0\t1382\t4\t15\t2\t181\t1\t2\t\t2\t68fd1e64" + "\tab" * 24 + "\tc26"]
CRITEO += ["0\t-2\t\t5" + "\t7" * 10 + "\t" * 25 + "\tzz"]
CRITEO += [f"0\t{n}" + "\t1" * 12 + "\tcc" * 26 for n in range(2, 20)]
AVAZU = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,device_ip,"
    "device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21\n"
)
AVAZU_ROW = "{id},{click},{hour},1005,0,1fbe01fe,f3845767,28905ebd,ecad2386,7801e8d9,07d7df22,a99f214a,{ip},44956a24,1,2,{ad},320,50,1722,0,35,-1,79\n"

SAMPLES = {
    "movielens-100k": {
        "ml-100k/u.data": "196\t242\t3\t881250949\n007\t242\t1\t881250949\n7\t302\t5\t891717742\n"
        + "".join(f"{n}\t{n}\t4\t{881_250_000 + n}\n" for n in REST),
        "ml-100k/u.user": "196|49|M|writer|55105\n007|24|F|other|T8H1N\n",
        "ml-100k/u.item": (
            "242|Kolya (1996)|24-Jan-1997||http://x|" + "|".join("0000010000000000000") + "\n"
            "302|Là (1997)|01-Jan-1997||http://y|" + "|".join("0100000010000000000") + "\n"
        ).encode("latin-1"),
    },
    "movielens-1m": {
        "ml-1m/ratings.dat": "1::1193::5::978300760\n1::661::3::978302109\n007::1193::1::978300760\n"
        + "".join(f"{n}::{n}::4::{978_300_000 + n}\n" for n in REST),
        "ml-1m/users.dat": "1::F::1::10::48067\n007::M::56::16::70072-1234\n",
        "ml-1m/movies.dat": "1193::Misérables, Les: The Film (1995)::Drama|Musical\n".encode("latin-1"),
    },
    "movielens-20m": _movielens_csv(),
    "movielens-25m": _movielens_csv(),
    "amazon-beauty": _amazon("Beauty"),
    "amazon-sports": _amazon("Sports_and_Outdoors"),
    "amazon-toys": _amazon("Toys_and_Games"),
    "amazon-games": _amazon("Video_Games"),
    "amazon-2023": {
        "Toys_and_Games.jsonl.gz": jsonl(
            [
                {
                    "rating": 5.0,
                    "asin": "B1",
                    "parent_asin": "B07Q7Q3V5V",
                    "user_id": "AE2",
                    "timestamp": 1549866158332,
                },
                {
                    "rating": 1.0,
                    "asin": "B1",
                    "parent_asin": "0007",
                    "user_id": "AE2",
                    "timestamp": 1549866158331,
                    "images": [],
                },
                *(
                    {
                        "rating": 3.0,
                        "parent_asin": f"B{n}",
                        "user_id": f"U{n}",
                        "timestamp": 1549866158000 + n,
                    }
                    for n in range(2, 20)
                ),
            ]
        ),
        "meta_Toys_and_Games.jsonl.gz": "{}\n",
    },
    "yelp": {
        "yelp_academic_dataset_review.json": jsonl(
            [
                {
                    "review_id": "r1",
                    "user_id": "mh_-eMZ6",
                    "business_id": "XQfw",
                    "stars": 3.0,
                    "date": "2018-07-07 22:09:11",
                    "text": "a\nb",
                },
                {
                    "review_id": "r2",
                    "user_id": "OyoG",
                    "business_id": "7ATY",
                    "stars": 5.0,
                    "date": "2012-01-03 15:28:18",
                    "useful": -1,
                },
                *(
                    {
                        "user_id": f"u{n}",
                        "business_id": f"b{n}",
                        "stars": 1.0,
                        "date": f"2020-02-{n + 1:02} 00:00:00",
                    }
                    for n in range(2, 20)
                ),
            ]
        ),
        "yelp_academic_dataset_business.json": jsonl(
            [
                {
                    "business_id": "XQfw",
                    "name": "Turning Point",
                    "city": "Wayne",
                    "state": "PA",
                    "categories": None,
                }
            ]
        ),
    },
    "steam": {
        "steam_reviews.json.gz": literals(
            [
                {
                    "username": "Chaos Syren",
                    "hours": 0.1,
                    "product_id": "725280",
                    "date": "2017-12-17",
                    "text": 'It"s',
                },
                {
                    "username": "Ariman1",
                    "hours": 13.2,
                    "product_id": "328100",
                    "date": "2017-08-02",
                    "early_access": True,
                },
                {"username": "007", "product_id": "725280", "date": "2014-11-15"},
                {"hours": 1.0, "product_id": "1", "date": "2014-11-15"},
                *(
                    {"username": f"n{n}", "hours": 2.0, "product_id": "9", "date": "2016-01-01"}
                    for n in range(4, 20)
                ),
            ]
        ).replace("'username'", "u'username'"),
    },
    "lastfm": {
        "user_artists.dat": "userID\tartistID\tweight\n2\t51\t13883\n2\t52\t11690\n002\t51\t1\n"
        + "".join(f"{n}\t{n}\t{n}\n" for n in REST),
        "artists.dat": 'id\tname\turl\tpictureURL\n51\tDuran "Duran\thttp://x\thttp://p\n52\tMorcheeba\thttp://y\t\n',
    },
    "gowalla": {
        "loc-gowalla_totalCheckins.txt.gz": "0\t2010-10-19T23:55:27Z\t30.2359091167\t-97.7951395833\t22847\n"
        "0\t2010-10-18T22:17:43Z\t30.2691029532\t-97.7493953705\t420315\n"
        "1\t2010-10-17T23:42:03Z\t30.2\t-97.7\t22847\n"
        + "".join(f"{n}\t2009-02-0{n % 9 + 1}T00:00:00Z\t1.0\t2.0\t{n}\n" for n in REST),
    },
    "citeulike-a": {
        "users.dat": "3 495 1631 7\n2 7 495\n" + "".join(f"1 {n}\n" for n in range(2, 17)),
        "item-tag.dat": "2 17 42\n0\n1 5\n",
    },
    "tenrec": {
        "QB-video.csv": "user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age\n"
        "5,100,1,0,0,0,\\N,2,1,3\n5,007,0,0,0,0,1,0,1,3\n5,101,1,1,1,0,0,4,1,3\n6,100,1,0,1,0,1,1,2,6\n"
        + "".join(f"{n},{n},1,0,0,1,0,1,0,{n % 8}\n" for n in range(10, 26)),
    },
    "kuairec": _kuairec(),
    "kuairand-pure": _kuairand(
        "pure", ("data/log_standard_4_08_to_4_21_pure.csv", "data/log_standard_4_22_to_5_08_pure.csv")
    ),
    "kuairand-1k": _kuairand(
        "1k", ("data/log_standard_4_08_to_4_21_1k.csv", "data/log_standard_4_22_to_5_08_1k.csv")
    ),
    "kuairand-27k": _kuairand(
        "27k",
        ("data/log_standard_4_08_to_4_21_27k_part1.csv", "data/log_standard_4_08_to_4_21_27k_part2.csv"),
    ),
    "mind-small": _mind("small"),
    "mind-large": _mind("large"),
    "taobao-user-behavior": {
        "UserBehavior.csv": "1,2268318,2520377,pv,1511544070\n1,2333346,2520771,buy,1511561733\n"
        "2,2268318,2520377,cart,-1511600000\n2,5,6,fav,0\n2,5,6,fav,2122867355\n"
        + "".join(f"{n},{n},1,pv,{1_511_600_000 + n}\n" for n in range(5, 20)),
    },
    "tencent-ttl": _ttl(),
    "criteo": {"train.txt": "\n".join(CRITEO) + "\n"},
    "avazu": {
        "train.csv.gz": AVAZU
        + AVAZU_ROW.format(id=1, click=0, hour="14102100", ip="ddd2926e", ad="15706")
        + AVAZU_ROW.format(id=2, click=1, hour="14103023", ip="ddd2926e", ad="0015706")
        + "".join(
            AVAZU_ROW.format(id=n, click=0, hour="14102101", ip=f"ip{n}", ad="1") for n in range(2, 20)
        ),
    },
    "cikm16": {
        "train-item-views.csv": "sessionId;userId;itemId;timeframe;eventdate\n"
        "1;NA;81766;526309;2016-05-09\n1;NA;31331;1031018;2016-05-09\n1;NA;0032118;243569;2016-05-09\n"
        + "".join(
            f"{n};{n};{n};{1000 * n};2016-05-10\n{n};NA;7;{1000 * n + 2500};2016-05-10\n"
            for n in range(2, 12)
        ),
    },
    "frappe": {
        "frappe.csv": "user\titem\tcnt\tdaytime\tweekday\tisweekend\thomework\tcost\tweather\tcountry\tcity\n"
        "0\t0\t1\tmorning\tsunday\tweekend\tunknown\tfree\tsunny\tUnited States\t0\n"
        "0\t7\t1210\tnight\tmonday\tworkday\thome\tpaid\tunknown\tSpain\t12\n"
        + "".join(
            f"{n}\t{n}\t{n}\tnoon\tfriday\tworkday\twork\tfree\tcloudy\tItaly\t1\n" for n in range(2, 20)
        ),
    },
    "movielens-tag": _ctr_parts(
        ("label", "user_id", "item_id", "tag_id"),
        (
            ["1.0,451,415,40", "0.0,451,417,41", "1.0,451,007,40", *(f"1,{n},{n},1" for n in range(3, 15))],
            ["0.0,2,2,2", "1.0,451,8,9"],
            ["1.0,2,3,4", "0.0,3,3,3", "0.0,4,4,4"],
        ),
    ),
    "coat": _coat(),
    "yahoo-r3": {
        "ydata-ymusic-rating-study-v1_0-train.txt": "1\t14\t5\n1\t35\t1\n2\t14\t3\n"
        + "".join(f"{n}\t{n}\t2\n" for n in REST),
        "ydata-ymusic-rating-study-v1_0-test.txt": "1\t49\t1\n1\t126\t5\n2\t138\t2\n99\t1\t4\n",
    },
}


@pytest.fixture(scope="session")
def samples():
    """Name of a set -> its files."""
    return SAMPLES


@pytest.fixture
def raw_folder(tmp_path):
    """Writes the files of a set into an empty folder."""

    def write(name, files=None):
        folder = tmp_path / f"raw-{name}"
        for path, text in (files or SAMPLES[name]).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            data = text if isinstance(text, bytes) else text.encode()
            target.write_bytes(gzip.compress(data) if path.endswith(".gz") else data)
        return folder

    return write
