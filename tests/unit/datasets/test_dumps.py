"""Published files as they are described by their publishers, in small, and the events made of them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import landbridge as lb
from landbridge.core.errors import DataError
from landbridge.datasets import catalog, dumps

AMAZON_2014 = {
    "ratings_Books.csv": "A2GA55P7WGHJCP,0002240657,4.0,1355616000\n"
    "AH2L9G3DQHHAJ,0000000116,5.0,1019865600\n",
    "reviews_Video_Games_5.json": {
        "reviewerID": "A2HD75EMZR8QLN",
        "asin": "0700099867",
        "reviewerName": "123",
        "helpful": [8, 12],
        "reviewText": "Installing the game was a struggle",
        "overall": 1.0,
        "summary": "Pay to unlock",
        "unixReviewTime": 1341792000,
        "reviewTime": "07 9, 2012",
    },
    "meta_Books.json": "{'asin': '0002240657', 'title': 'It\\'s \"here\"', 'salesRank': {'Books': 1}}\n"
    "{'asin': '0000000116', 'imUrl': 'http://x', 'title': \"Mother's day\"}\n",
}
AMAZON_2018 = {
    "Gift_Cards.csv": "B001GXRQW0,APV13CM0919JD,1.0,1229644800\nB001GXRQW0,A3G8U1G1V082SN,5.0,1229472000\n",
    "meta_Gift_Cards.json": {
        "category": ["Gift Cards"],
        "title": "A card",
        "asin": "B001GXRQW0",
        "price": "$1",
    },
    "Software_5.json": {
        "overall": 4.0,
        "verified": True,
        "reviewTime": "10 20, 2010",
        "reviewerID": "A38NELQT98S4H8",
        "asin": "0321719816",
        "style": {"Format:": " DVD-ROM"},
        "reviewerName": "WB Halper",
        "reviewText": "I've been using Dreamweaver",
        "summary": "A solid overview",
        "unixReviewTime": 1287532800,
    },
}
AMAZON_2023 = {
    "All_Beauty.jsonl": {
        "rating": 5.0,
        "title": "Such a lovely scent",
        "text": "This spray is really nice.",
        "images": [],
        "asin": "B00YQ6X8EO",
        "parent_asin": "B00YQ6X8E1",
        "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
        "timestamp": 1588687728923,
        "helpful_vote": 0,
        "verified_purchase": True,
    },
    "Books.csv": "user_id,parent_asin,rating,timestamp\n"
    "AGKHLEW2SOWHNMFQIJGBECAF7INQ,0063,4.0,1588687728000\n",
    "Books.train.csv": "user_id,parent_asin,rating,timestamp\nAGKH,0063,4.0,1588687728000\n",
    "meta_All_Beauty.jsonl": {
        "main_category": "All Beauty", "title": "A spray", "parent_asin": "B00YQ6X8E1", "price": None,
    },
}  # fmt: skip
DOUBAN = {
    "bookreviews_cleaned.txt": '"user_id"\t"book_id"\t"rating"\t"labels"\t"comment"\t"time"\n'
    '"1"\t"10"\t4\t"a b"\t"so\there"\t"2012-11-15"\n',
    "moviereviews_cleaned.txt": '"user_id"\t"movie_id"\t"rating"\t"comment"\n"1"\t"10"\t5\t"good"\n',
    "users_cleaned.txt": '"UID"\t"living_place"\n1\tBeijing\n',
}
YELP = {
    "yelp_academic_dataset_review.json": {
        "review_id": "KU_O", "user_id": "mh_-", "business_id": "XQfw", "stars": 3.0, "useful": 0, "funny": 0,
        "cool": 0, "text": "If you decide", "date": "2018-07-07 22:09:11",
    },
    "yelp_academic_dataset_business.json": {
        "business_id": "XQfw", "name": "Turning Point", "city": "North Wales",
        "state": "PA", "postal_code": "19454", "latitude": 40.2, "longitude": -75.2, "stars": 3.0,
        "review_count": 169, "is_open": 1, "attributes": {"WiFi": "u'free'"},
        "categories": "Restaurants, Breakfast & Brunch", "hours": None,
    },
}  # fmt: skip
HETREC = {
    "user_artists.dat": "userID\tartistID\tweight\n2\t51\t13883\n2\t52\t11690\n",
    "artists.dat": 'id\tname\turl\tpictureURL\n51\tDuran "D" Duran\thttp://x\thttp://y\n52\tMorcheeba\thttp://z\t\n',
    "readme.txt": "",
}
PLAYS_360K = {
    "usersha1-artmbid-artname-plays.tsv": "000063d3\ta3cb23fc-acd3\tu2\t31\n000063d3\t\tbetty's\t2\n",
    "usersha1-profile.tsv": "000063d3\tm\t19\tMexico\tApr 28, 2008\n",
}
PLAYS_1K = {
    "userid-timestamp-artid-artname-traid-traname.tsv": (
        "user_000639\t2009-04-08T01:57:47Z\tf1b1cf71\tThe Dogs D'Amour\tcd2d\tFall in Love Again?\n"
    )
}
LFM_1B = {
    "LFM-1b_LEs.txt": "31435726\t2\t4\t4\t1385212958\n31435726\t3\t4\t5\t1385212642\n",
    "LFM-1b_artists.txt": "2\tBlack Sabbath\n3\tU2\n",
}
FILMS = 'movieId,title,genres\n1,Toy Story (1995),Adventure|Comedy\n2,"Net, The (1995)",Comedy\n'
ML_LATEST = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,2,0.5,964981247\n",
    "movies.csv": FILMS,
    "tags.csv": "userId,movieId,tag,timestamp\n",
}
ML_10M = {
    "ratings.dat": "1::1::5::838985046\n1::2::3.5::838983525\n",
    "movies.dat": "1::Misérables, Les (1995)::Drama|War\n2::Up (1998)::Drama\n",
}
ML_100K = {
    "u.data": "196\t242\t3\t881250949\n",
    "u.item": "242|Kolya (1996)|24-Jan-1997||http://x|" + "|".join("0" * 5 + "1" + "0" * 13) + "\n",
}
GOWALLA = {"train.txt": "0 0 1 2\n1 2\n2\n", "test.txt": "0 3\n1 4 5 \n"}


def text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content) + "\n"


def in_folder(folder: Path, files: Mapping[str, Any], pack: bool = False, encoding: str = "utf-8") -> Path:
    folder.mkdir()
    for name, content in files.items():
        written = text(content).encode(encoding)
        (folder / (f"{name}.gz" if pack else name)).write_bytes(gzip.compress(written) if pack else written)
    return folder


def events(tmp_path: Path, name: str, files: Mapping[str, Any], **how: Any) -> list[dict[str, Any]]:
    """The rows, each without its empty cells, in order."""
    out = tmp_path / "events.parquet"
    count = dumps.convert(name, in_folder(tmp_path / "dump", files, **how), out)
    rows = pl.read_parquet(out).to_dicts()
    assert len(rows) == count
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dump", "events.parquet"]
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


@pytest.mark.parametrize("pack", [False, True])
def test_amazon_2014(tmp_path: Path, pack: bool) -> None:
    assert events(tmp_path, "amazon2014", AMAZON_2014, pack=pack) == [
        {
            "user": "A2GA55P7WGHJCP", "item": "0002240657", "timestamp": 1355616000, "rating": 4.0,
            "title": 'It\'s "here"', "domain": "Books",
        },
        {
            "user": "AH2L9G3DQHHAJ", "item": "0000000116", "timestamp": 1019865600, "rating": 5.0,
            "title": "Mother's day", "domain": "Books",
        },
        {
            "user": "A2HD75EMZR8QLN", "item": "0700099867", "timestamp": 1341792000, "rating": 1.0,
            "domain": "Video_Games",
        },
    ]  # fmt: skip


@pytest.mark.parametrize("pack", [False, True])
def test_amazon_2018_has_items_before_users(tmp_path: Path, pack: bool) -> None:
    rows = events(tmp_path, "amazon2018", AMAZON_2018, pack=pack)
    assert [(row["user"], row["item"], row["domain"], row.get("title")) for row in rows] == [
        ("APV13CM0919JD", "B001GXRQW0", "Gift_Cards", "A card"),
        ("A3G8U1G1V082SN", "B001GXRQW0", "Gift_Cards", "A card"),
        ("A38NELQT98S4H8", "0321719816", "Software", None),
    ]
    assert [row["timestamp"] for row in rows] == [1229644800, 1229472000, 1287532800]
    assert [row["rating"] for row in rows] == [1.0, 5.0, 4.0]


@pytest.mark.parametrize("pack", [False, True])
def test_amazon_2023_counts_milliseconds_and_groups_by_parent(tmp_path: Path, pack: bool) -> None:
    user = "AGKHLEW2SOWHNMFQIJGBECAF7INQ"
    assert events(tmp_path, "amazon2023", AMAZON_2023, pack=pack) == [
        {
            "user": user, "item": "B00YQ6X8E1", "timestamp": 1588687728, "rating": 5.0, "title": "A spray",
            "domain": "All_Beauty",
        },
        {"user": user, "item": "0063", "timestamp": 1588687728, "rating": 4.0, "domain": "Books"},
    ]  # fmt: skip


def test_douban(tmp_path: Path) -> None:
    assert events(tmp_path, "douban", DOUBAN) == [
        {"user": "1", "item": "10", "rating": 4.0, "timestamp": "2012-11-15", "domain": "books"},
        {"user": "1", "item": "10", "rating": 5.0, "domain": "movies"},
    ]


def test_yelp_has_states_as_domains_and_cities_beside_them(tmp_path: Path) -> None:
    (row,) = events(tmp_path, "yelp", YELP)
    assert row == {
        "user": "mh_-", "item": "XQfw", "domain": "PA", "timestamp": "2018-07-07 22:09:11", "rating": 3.0,
        "title": "Turning Point", "city": "North Wales", "categories": "Restaurants, Breakfast & Brunch",
    }  # fmt: skip
    assert lb.read(tmp_path / "events.parquet").domain_names == ("PA",)
    by_city = lb.read(tmp_path / "events.parquet", columns={"domain": "city"})
    assert by_city.domain_names == ("North Wales",)


def test_last_fm_of_all_releases(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, str], list[tuple[Any, ...]]]] = [
        (HETREC, [("2", "51", 'Duran "D" Duran', 13883.0, None), ("2", "52", "Morcheeba", 11690.0, None)]),
        (
            PLAYS_360K,
            [("000063d3", "a3cb23fc-acd3", "u2", 31.0, None), ("000063d3", "betty's", "betty's", 2.0, None)],
        ),
        (PLAYS_1K, [("user_000639", "f1b1cf71", "The Dogs D'Amour", None, "2009-04-08T01:57:47Z")]),
        (
            LFM_1B,
            [("31435726", "2", "Black Sabbath", None, 1385212958), ("31435726", "3", "U2", None, 1385212642)],
        ),
    ]
    for number, (files, wanted) in enumerate(cases):
        (tmp_path / str(number)).mkdir()
        rows = events(tmp_path / str(number), "lastfm", files)
        keys = ("user", "item", "title", "weight", "timestamp")
        assert [tuple(map(row.get, keys)) for row in rows] == wanted
        assert {row["domain"] for row in rows} == {"artists"}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_movielens_of_all_sizes(tmp_path: Path, encoding: str) -> None:
    """The rarest genre is a film's domain: of two with one film each, the first by name."""
    cases: list[tuple[dict[str, str], list[tuple[Any, ...]]]] = [
        (ML_LATEST, [
            ("1", "1", "Adventure", 964982703, 4.0, "Toy Story (1995)"),
            ("1", "2", "Comedy", 964981247, 0.5, "Net, The (1995)"),
        ]),
        (ML_10M, [
            ("1", "1", "War", 838985046, 5.0, "Misérables, Les (1995)"),
            ("1", "2", "Drama", 838983525, 3.5, "Up (1998)"),
        ]),
        (ML_100K, [("196", "242", "Comedy", 881250949, 3.0, "Kolya (1996)")]),
    ]  # fmt: skip
    for number, (files, wanted) in enumerate(cases):
        (tmp_path / str(number)).mkdir()
        rows = events(tmp_path / str(number), "movielens", files, encoding=encoding)
        assert [tuple(row.values()) for row in rows] == wanted


def test_gowalla_is_what_the_catalogue_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = events(tmp_path, "gowalla", GOWALLA)
    assert [(row["user"], row["item"], row["split"]) for row in rows] == [
        ("0", "0", "train"), ("0", "1", "train"), ("0", "2", "train"), ("1", "2", "train"),
        ("0", "3", "test"), ("1", "4", "test"), ("1", "5", "test"),
    ]  # fmt: skip


def test_kuairand(tmp_path: Path) -> None:
    head = (
        "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,tab\n"
    )
    files = {
        "log_standard_4_08_to_4_21_pure.csv": head
        + "0,10,20220411,1900,1649675512388,0,0,0,0,0,0,1\n"
        + "0,20,20220416,2000,1650111976017,1,0,0,0,0,0,0\n"
        + "1,10,20220420,1600,1650444367095,1,1,0,0,0,0,1\n",
        "log_random_4_22_to_5_08_pure.csv": head + "1,30,20220422,1100,1650600000999,1,0,0,0,0,1,4\n",
        "user_features_pure.csv": "user_id,user_active_degree\n0,full_active\n",
    }
    assert [tuple(row.values()) for row in events(tmp_path, "kuairand", files)] == [
        ("1", "30", "tab 4", 1650600000, "dislike"),
        ("0", "10", "tab 1", 1649675512, "impression"),
        ("0", "20", "tab 0", 1650111976, "click"),
        ("1", "10", "tab 1", 1650444367, "like"),
    ]
    data = lb.read(tmp_path / "events.parquet", domains=["tab 0", "tab 1"])  # nothing is liked in tab 4
    assert {name: len(table) for name, table in data.domains.items()} == {"tab 0": 1, "tab 1": 1}


def test_ciao(tmp_path: Path) -> None:
    from scipy.io import savemat

    table = np.array([[1, 7, 3, 4, 5, 1028160000], [2, 7, 28, 1, 0, 955065600]], np.float64)
    path, out = tmp_path / "rating_with_timestamp.mat", tmp_path / "events.parquet"
    savemat(path, {"rating": table})
    assert dumps.convert("ciao", path, out) == 2
    assert pl.read_parquet(out).rows() == [
        (1, 7, "category 3", 1028160000, 4.0),
        (2, 7, "category 28", 955065600, 1.0),
    ]
    savemat(path, {"rating": table[:, :4]})  # the file without times
    with pytest.raises(DataError, match="needs one table with the columns user, item, category"):
        dumps.convert("ciao", path, out)
    path.write_bytes(b"MATLAB 7.3 MAT-file" + b" " * 105 + b"\x00\x02IM" + b"x" * 200)
    with pytest.raises(DataError, match="is no MATLAB file of version 5"):
        dumps.convert("ciao", path, out)


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_archives_are_read_as_they_are(tmp_path: Path, kind: str) -> None:
    """As the publishers pack them: a folder in a zip or tar file, in it packed files."""
    path = tmp_path / f"dump.{kind}"
    members = {f"release/{name}": text(content).encode() for name, content in AMAZON_2014.items()}
    members = {f"{name}.gz": gzip.compress(content) for name, content in members.items()}
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__MACOSX/release/ratings_Books.csv.gz", b"x")
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz" if kind == "tgz" else "w") as tar:
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    assert dumps.convert("amazon2014", path, tmp_path / "events.parquet") == 3
    assert sorted(each.name for each in tmp_path.iterdir()) == [path.name, "events.parquet"]
    data = lb.read(tmp_path / "events.parquet")
    assert data.domain_names == ("Books", "Video_Games")


def test_one_file_is_enough(tmp_path: Path) -> None:
    folder = in_folder(tmp_path / "dump", AMAZON_2014)
    out = tmp_path / "made" / "events.parquet"
    assert dumps.convert("amazon2014", folder / "ratings_Books.csv", out) == 2


@pytest.mark.parametrize(
    ("name", "files", "sentence"),
    [
        ("amazon2014", {"notes.txt": "x"}, "No file of events"),
        ("amazon2014", {"ratings_A.csv": "u,i,1.0\n"}, "3 columns, not 4"),
        ("amazon2014", {"ratings_A.csv": "A,B,x,1\n"}, "Cannot read"),
        ("amazon2018", {"A.json": {"asin": "B"}}, "no field 'reviewerID'"),
        (
            "amazon2018",
            {"A.csv": "i,u,1.0,5\n", "A_5.json": AMAZON_2018["Software_5.json"]},
            "ratings and the reviews of A",
        ),
        ("amazon2018", {"A.json": "", "A_5.json": ""}, "two files of A"),
        ("amazon2023", {"A.csv": "user,item,rating,timestamp\nu,i,1,5\n"}, "no column 'user_id'"),
        ("yelp", {"yelp_academic_dataset_review.json": "{}"}, "no field 'user_id'"),
        ("lastfm", {**HETREC, **PLAYS_360K}, "has user_artists.dat and usersha1"),
        ("lastfm", {"user_artists.dat": HETREC["user_artists.dat"]}, "There is no artists.dat"),
        ("movielens", {"links.csv": "a"}, "has none of them"),
    ],
)
def test_what_is_wrong_with_the_files_is_one_sentence(
    tmp_path: Path, name: str, files: dict[str, Any], sentence: str
) -> None:
    folder = in_folder(tmp_path / "dump", files)
    with pytest.raises(DataError, match=sentence):
        dumps.convert(name, folder, tmp_path / "events.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["dump"]


def test_places_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file or folder"):
        dumps.convert("yelp", tmp_path / "absent", tmp_path / "events.parquet")
    with pytest.raises(DataError, match=r"a name such as .*events\.parquet"):
        dumps.convert("yelp", tmp_path, tmp_path / "events.csv")
    with pytest.raises(DataError, match="did you mean 'amazon2018'"):
        dumps.convert("amazon2017", tmp_path, tmp_path / "events.parquet")
    torn = tmp_path / "ratings_Books.csv.gz"
    torn.write_bytes(gzip.compress(b"A,B,1.0,5\n" * 1000)[:-20])
    with pytest.raises(DataError, match="ended before the end"):
        dumps.convert("amazon2014", torn, tmp_path / "events.parquet")
    cut = tmp_path / "cut.tgz"
    with tarfile.open(cut, "w:gz") as tar:
        tar.add(torn)
    cut.write_bytes(cut.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"cut\.tgz"):
        dumps.convert("amazon2014", cut, tmp_path / "events.parquet")


def test_only_what_anyone_can_get_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANDBRIDGE_DATA", raising=False)
    assert catalog.obtainable() == ("movielens-100k", "movielens-1m")
    (tmp_path / "ciao").mkdir()
    monkeypatch.setenv("LANDBRIDGE_DATA", str(tmp_path))
    assert catalog.obtainable() == ("ciao", "movielens-100k", "movielens-1m")
    for name in dumps.names():
        assert dumps.info(name).source.startswith("https://")
        if name not in catalog.names():
            with pytest.raises(DataError, match=f"landbridge data convert {name}"):
                catalog.get(name)
