"""``landbridge audit``: a run, a recorded exchange, the report, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from commands import answered

from landbridge.models.als.privacy import IN_ONE_PROCESS, NOT_PROTECTED
from landbridge.serving.engine.service import Service
from landbridge.store import load

SETTINGS = ("factors=6", "epochs=2", "admm.inner_sweeps=2", "admm.tolerance=0.05")
SMALL = [word for setting in SETTINGS for word in ("--set", setting)]


def shop(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """Event files of 60 users; a third of them have no event in the first domain."""
    rng, paths = np.random.default_rng(0), []
    for place, name in enumerate(names):
        user = rng.integers(0, 60, 500)
        user = user[(user % 3 > 0) | (place > 0)]
        item = (user % 4) + 4 * rng.integers(0, 8, len(user))
        paths.append(folder / f"{name}.csv")
        pl.DataFrame({"user": user, "item": item}).unique(maintain_order=True).write_csv(paths[-1])
    return paths


def fitted(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    *names: str,
    model: str = "cdimf",
    more: tuple[str, ...] = (),
) -> Path:
    settings = SMALL if model == "cdimf" else []
    words = ("--users", "shared", "--model", model, *settings, *more, "--no-deploy", "--threads", 1)
    status, _, err = answered(capsys, "fit", *shop(folder, names), *words, "--out", folder / "run")
    assert status == 0, err
    return folder / "run"


def test_an_audit_and_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fitted(capsys, tmp_path, "books", "movies", "music")
    report, kept = tmp_path / "audit.html", tmp_path / "kept"
    options = ("--victim", "books", "--epsilon", 1, "--epsilon", "inf", "--threads", 1)
    status, out, err = answered(capsys, "audit", run, *options, "--keep", kept, "--out", report, "--json")
    assert status == 0, err
    assert "Written to" in err
    found = [json.loads(line) for line in out.splitlines()]
    exact = [each for each in found if (each["defence"], each["role"]) == ("none", "coordinator")]
    assert next(each["auc"] for each in exact if each["attack"] == "who is a customer") == 1
    assert all(each["error"] < 1e-5 for each in exact)
    assert {each["defence"] for each in found} == {"none", "masks", "ε 1", "ε ∞"}
    page, values = report.read_text(), json.loads(report.with_suffix(".json").read_text())
    assert values["findings"] == found
    for words in ("privacy audit", "What the exchange reveals of books", "Not protected", "who bought what"):
        assert words in page
    assert all(f"{each['ndcg@10']:.4f}" in page for each in values["utility"])

    # the exchange that was kept, attacked on its own
    recorded = tmp_path / "recorded.html"
    status, out, err = answered(
        capsys, "audit", run, "--victim", "books", "--transcript", kept / "none", "--out", recorded, "--json"
    )
    assert status == 0, err
    again = [json.loads(line) for line in out.splitlines()]
    none = [each for each in found if each["defence"] == "none"]
    assert [each["auc"] for each in again] == [each["auc"] for each in none]
    assert "What a defence costs" not in recorded.read_text()


def test_two_parties_are_warned_on_page_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fitted(capsys, tmp_path, "books", "movies")
    report = tmp_path / "audit.html"
    status, out, err = answered(capsys, "audit", run, "--epsilon", 5, "--threads", 1, "--out", report)
    assert status == 0, err
    assert "computes the other's rows" in " ".join(err.split())
    assert "masks" not in out
    page = report.read_text()
    assert page.index("There are two parties") < page.index('<section id="attacks">')


def test_a_private_run_says_so_in_its_manifest_on_its_card_and_when_it_serves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--set", "privacy.clip=1", "--set", "privacy.noise=20")
    run = fitted(capsys, tmp_path, "books", "movies", more=more)
    privacy = json.loads((run / "manifest.json").read_text())["privacy"]
    assert privacy == load(run).method.privacy_facts
    assert 0 < privacy["epsilon"] < 5
    assert privacy["rounds"] == 4  # the most that its settings allow, as in a warm start
    assert privacy["not_protected"] == [*NOT_PROTECTED, IN_ONE_PROCESS]
    assert Service.open(run).about()["privacy"] == privacy
    card = answered(capsys, "show", run)[1]
    assert f"ε = {privacy['epsilon']:.3g}, δ = 1e-06, over at most 4 rounds" in card
    assert all(f"- {each}" in card for each in NOT_PROTECTED)


def test_what_cannot_be_audited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fitted(capsys, tmp_path, "books", "movies", model="popularity")
    for words, reason in (
        ((), "the run's method is popularity"),
        (("--victim", "toys", "--transcript", tmp_path), "Unknown domain 'toys'"),
        (("--transcript", tmp_path), "holds no exchange"),
        (("--out", "audit.pdf"), "is a .html file"),
    ):
        status, _, err = answered(capsys, "audit", run, *words)
        assert status == 2
        assert reason in err
    assert "privacy" not in json.loads((run / "manifest.json").read_text())
