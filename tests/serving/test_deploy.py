"""The files of ``deploy/``: they can be read, and what they call exists with these options."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from landbridge.cli import party, refit, rollback, serve
from landbridge.federation.wire import address

DEPLOY = Path(__file__).parents[2] / "deploy"
VERBS = {"serve": serve.command, "refit": refit.command, "rollback": rollback.command}
SERVICES = ("serve", "refit")


def options(words: list[str]) -> dict[str, Any]:
    """What the command line understands; an error for what it does not."""
    app = typer.Typer()
    app.command()(VERBS[words[0]])
    return dict(typer.main.get_command(app).make_context(words[0], words[1:]).params)


def joined(text: str) -> str:
    return re.sub(r"\s*\\\n[#\s]*", " ", text)


def test_the_image_serves_without_root_rights() -> None:
    text = joined((DEPLOY / "Dockerfile").read_text())
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    commands = [json.loads(rest) for step, rest in steps if step == "CMD"]
    assert [json.loads(rest) for step, rest in steps if step == "ENTRYPOINT"] == [["landbridge"]]
    assert options(commands[0])["port"] == int(dict(steps)["EXPOSE"])
    assert dict(steps)["USER"] == "landbridge"
    health = re.search(r"HEALTHCHECK .*? CMD (\[.*\])", text)
    assert health is not None
    compile(json.loads(health[1])[2], "health", "exec")


def test_the_composed_services_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = composed["services"]
    monkeypatch.setenv("LANDBRIDGE_EVENTS", services["refit"]["environment"]["LANDBRIDGE_EVENTS"])
    options_of = {name: options(services[name]["command"]) for name in SERVICES}
    events, database = options_of["serve"]["events"], services["postgres"]["environment"]
    assert events == f"postgresql://{database['POSTGRES_USER']}@postgres/{database['POSTGRES_DB']}"
    assert options_of["serve"]["api_key_env"] in services["serve"]["environment"]
    for name in SERVICES:
        assert options_of[name]["run"] == Path("/runs/shop")
        assert options_of[name]["events"] == events
        assert services[name]["environment"]["PGPASSWORD"] == database["POSTGRES_PASSWORD"]
        assert services[name]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
        assert services[name]["read_only"] is True
    used = [volume.split(":")[0] for each in services.values() for volume in each["volumes"]]
    assert {volume for volume in used if volume.isalpha()} == set(composed["volumes"])
    assert (DEPLOY / composed["x-landbridge"]["build"]["context"] / "pyproject.toml").resolve().is_file()


def test_three_parties_reach_one_coordinator_and_no_other_party() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    composed = yaml.safe_load((DEPLOY / "parties.yaml").read_text())
    services, command = composed["services"], typer.main.get_command(party.app)
    given = {name: party_options(command, each["command"]) for name, each in services.items()}
    names = given.pop("coordinator")["parties"].split(",")
    assert list(given) == names
    for name in names:
        assert address(given[name]["coordinator"]) == ("coordinator", 8443)
        assert given[name]["source"] == f"/data/{name}.csv"
        assert services[name]["networks"] == [name]
        assert {volume.split(":")[0] for volume in services[name]["volumes"]} == {
            f"../data/{name}.csv", f"../keys/{name}", f"../runs/{name}"
        }  # fmt: skip
    assert services["coordinator"]["networks"] == names == list(composed["networks"])
    assert all(network["internal"] for network in composed["networks"].values())
    assert not any("secret" in volume or "data" in volume for volume in services["coordinator"]["volumes"])
    assert all(each["read_only"] and each["cap_drop"] == ["ALL"] for each in services.values())


def party_options(group: Any, words: list[str]) -> dict[str, Any]:
    """What ``landbridge party`` understands of a command."""
    assert words[0] == "party"
    return dict(group.commands[words[1]].make_context(words[1], words[2:]).params)


def test_the_unit_keeps_what_the_server_needs_writable() -> None:
    text = (DEPLOY / "landbridge.service").read_text()
    settings = dict(re.findall(r"^(\w+)=(.*)$", joined(text), re.MULTILINE))
    program, *words = shlex.split(settings["ExecStart"])
    served = options(words)
    state = Path("/var/lib") / settings["StateDirectory"]
    assert program.endswith("/bin/landbridge")
    assert served["run"].parent == Path(served["events"]).parent == state
    assert f"NUMBA_CACHE_DIR=/var/cache/{settings['CacheDirectory']}" in settings["Environment"]
    assert "MemoryDenyWriteExecute" not in settings
    (said,) = re.findall(r"bin/landbridge (refit .*)$", joined(text), re.MULTILINE)
    refitted = options(shlex.split(said))
    assert (refitted["run"], refitted["events"]) == (served["run"], served["events"])
    (back,) = re.findall(r"bin/landbridge (rollback .*)$", joined(text), re.MULTILINE)
    assert options(shlex.split(back))["folder"] == served["run"]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    unit = (DEPLOY / "landbridge.service").read_text().replace("/opt/landbridge/bin/landbridge", "/bin/true")
    (tmp_path / "landbridge.service").write_text(unit)
    command = [program, "verify", "--man=no", str(tmp_path / "landbridge.service")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
