"""``landbridge fit`` with a table of user features."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from commands import answered, event_files, refused

from landbridge import store


def test_a_user_without_events_gets_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources, table, out = event_files(tmp_path), tmp_path / "users.csv", tmp_path / "run"
    users = [*range(20), 900]
    pl.DataFrame({"user": users, "plan": [f"p{user % 3}" for user in users]}).write_csv(table)
    given = (*sources, "--users", "shared", "--user-features", table, "--no-deploy", "--out", out)
    refused(answered(capsys, "fit", *given, "--model", "ease"), "ease takes no user features")
    status, _, said = answered(capsys, "fit", *given, "--model", "ials")
    assert status == 0, said
    assert "1 users are in no table of events" in said
    history = store.load(out).history
    assert history.users.ids[history.new_users_U].tolist() == [900]
    _, listed, _ = answered(capsys, "recommend", out, "--domain", "books", "--user", 900, "-k", 3, "--json")
    assert listed.count('"item"') == 3
