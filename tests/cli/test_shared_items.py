"""Shared items on the command line: proposals, links, fit, evaluate, recommend, serve and refit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from asgi import Reply, asking
from commands import answered, refused, run

from landbridge import store
from landbridge.serving.engine.service import Service
from landbridge.serving.events.store import EventStore
from landbridge.serving.http.app import create_app
from landbridge.studies.ablation import balance, objectives, weights

WORDS = ("amber", "basin", "copper", "delta", "ember", "fjord", "glade", "harbour", "island", "juniper")
EASE = ("--model", "ease", "--set", "sharing=joined", "--set", "neighbours=20", "--split", "last")


def shops(folder: Path) -> tuple[Path, Path]:
    """``de.csv`` and ``fr.csv``: the same 30 products under other ids and spellings, some users of both."""
    rng, paths = np.random.default_rng(0), []
    titles = [f"{one} {two}" for two in ("stone", "river", "cloud") for one in WORDS]
    for name, first in (("de", 0), ("fr", 30)):
        rows = [(user, int(item)) for user in range(first, first + 40) for item in rng.permutation(30)[:9]]
        user, item = np.array(rows).T
        title = [titles[k] if name == "de" else f"The {titles[k].upper()}!" for k in item.tolist()]
        table = {"user": user, "item": item + (1000 if name == "fr" else 0), "title": title}
        times = rng.permutation(len(rows)) * 86_400
        paths.append(folder / f"{name}.csv")
        pl.DataFrame({**table, "time": times}).write_csv(paths[-1])
    return paths[0], paths[1]


def n_shared(run: Path) -> int:
    products = store.load(run).history.products
    return 0 if products is None else products.n_shared


def test_proposed_links_are_read_back_and_reach_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources, links, fitted = shops(tmp_path), tmp_path / "links.csv", tmp_path / "run"
    status, _, said = answered(
        capsys, "data", "check", *sources, "--users", "shared", "--propose-links", links, "--json"
    )
    assert status == 0, said
    assert f"Proposed 30 links of items in {links}" in said
    proposed = pl.read_csv(links)
    assert (proposed["item_a"] + 1000 == proposed["item_b"]).all()
    # what a person does: one proposal is wrong to them, one is not sure
    proposed[1:].with_columns(
        confidence=pl.when(pl.col("item_a") == 7).then(0.4).otherwise("confidence")
    ).write_csv(links)
    expected = 28 if 7 in proposed["item_a"][1:] else 29
    reading = ("--users", "shared", "--item-links", links, "--min-confidence", 0.8)
    status, _, said = answered(capsys, "fit", *sources, *reading, *EASE, "--out", fitted)
    assert status == 0, said
    assert "Item links left out: 1 have a confidence below 0.8." in said
    assert n_shared(fitted) == expected
    assert answered(capsys, "evaluate", fitted)[0] == 0
    lists_follow_the_links(fitted, capsys)
    served_lists_follow_the_links(fitted, tmp_path)
    status, _, said = answered(
        capsys, "refit", fitted, "--events", tmp_path / "events.sqlite", "--out", tmp_path / "again"
    )
    assert status == 0, said
    assert n_shared(tmp_path / "again") == expected


def had_elsewhere(run: Path, user: int) -> set[int]:
    """The items of ``fr`` whose product the user has in ``de``."""
    history = store.load(run).history
    place = history.users.index([user])
    return set(
        history.items["fr"]
        .ids[history.left_out("fr", place, seen=True, seen_elsewhere=False).columns]
        .tolist()
    )


def lists_follow_the_links(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("recommend", run, "--domain", "fr", "--user", 35, "-k", 30, "--seen", "--json")
    every, some = (
        {json.loads(line)["item"] for line in answered(capsys, *words, *more)[1].splitlines()}
        for more in ((), ("--no-seen-elsewhere",))
    )
    assert len(had_elsewhere(run, 35)) >= 7
    assert some == every - had_elsewhere(run, 35)


def served_lists_follow_the_links(run: Path, folder: Path) -> None:
    """Events that are stored count like those of the run: the same product of ``fr`` is left out, too."""
    events = EventStore.open(str(folder / "events.sqlite"))
    body = {"user": 35, "domains": ["fr"], "k": 30, "seen": True, "seen_elsewhere": False}
    with asking(create_app(Service.open(run), store=events)) as client:
        listed = [_items(client.post("/v1/recommend", body))]
        (new,) = sorted(
            store.load(run).history.items["de"].ids.tolist(),
            key=lambda item: (item + 1000 not in listed[0], item),
        )[:1]
        client.post("/v1/events", {"user": 35, "events": [{"domain": "de", "item": new}]})
        listed.append(_items(client.post("/v1/recommend", body)))
        without = _items(client.post("/v1/recommend", {**body, "seen_elsewhere": True}))
    assert not listed[0] & had_elsewhere(run, 35)
    assert listed[1] == listed[0] - {new + 1000}
    assert without > listed[0]


def _items(reply: Reply) -> set[int]:
    return {entry["item"] for entry in reply.json["items"]}


def test_an_experiment_file_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    de, fr = shops(tmp_path)
    pl.read_csv(fr).with_columns(pl.col("item") - 1000).write_csv(fr)
    links = pl.DataFrame(
        {"domain_a": ["de"], "item_a": [3], "domain_b": ["fr"], "item_b": [4], "confidence": [0.3]}
    )
    links.write_csv(tmp_path / "links.csv")
    data = f'[data]\nsource = ["{de}", "{fr}"]\nusers = "local"\nitems = "shared"\n'
    data += f'item_links = "{tmp_path / "links.csv"}"\nmin_confidence = 0.9\n'
    experiment = tmp_path / "e.toml"
    experiment.write_text(data + '[model]\nname = "popularity"\n[model.settings]\npooling = 50.0\n')
    status, _, said = answered(capsys, "fit", experiment, "--split", "last", "--out", tmp_path / "run")
    assert status == 0, said
    assert "ignores which items are shared" not in said
    assert n_shared(tmp_path / "run") == 30
    # the link table makes two items of a domain one, unless it is left out for its confidence
    answer = answered(capsys, "fit", experiment, "--min-confidence", 0.1, "--out", tmp_path / "none")
    refused(answer, "one product")
    status, _, said = answered(
        capsys,
        "fit",
        de,
        fr,
        "--users",
        "local",
        "--items",
        "shared",
        "--model",
        "popularity",
        "--out",
        tmp_path / "run",
    )
    assert "popularity with these settings ignores which items are shared" in said


def test_studies_read_shared_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = []
    for module, name in ((balance, "ablate"), (weights, "ablate_weights"), (objectives, "ablate_objectives")):
        monkeypatch.setattr(module, name, lambda plan, *_: plans.append(plan))
    monkeypatch.setattr("landbridge.cli.study._print", lambda *_: None)
    for study in ("balance", "weights", "objectives"):
        words = (
            "--items",
            "shared",
            "--item-links",
            "links.csv",
            "--min-confidence",
            0.7,
            "--item-features",
            "f.csv",
        )
        run("study", study, "de.csv", "fr.csv", "--users", "local", *words, "--out", tmp_path / study)
    for plan in plans:
        given = {key: plan.data[key] for key in ("items", "item_links", "min_confidence", "item_features")}
        assert given == {
            "items": "shared",
            "item_links": "links.csv",
            "min_confidence": 0.7,
            "item_features": "f.csv",
        }
    assert len(plans) == 3
