"""docs/extending/endpoint.md, executed against a run folder, and the import paths of version 0.1."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgi import asking
from pages import code_blocks
from worlds import uneven

import landbridge as lb
from landbridge.serving.http.app import ExtraRoute, create_app
from landbridge.serving.runtime.settings import ServeSettings

PAGE = Path(__file__).parents[3] / "docs" / "extending" / "endpoint.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extra") / "run"
    lb.save(lb.Popularity().fit(uneven()), folder)
    return folder


def test_the_page_adds_an_endpoint(run: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(code_blocks(PAGE)[0], namespace)
    counts_I = np.sort(uneven()["a"].item_counts)[::-1]
    with asking(create_app(run, extra=[namespace["TRENDING"]])) as client:
        answer = client.get("/v1/trending?domain=a&k=3")
        assert answer.status == 200
        assert [entry["events"] for entry in answer.json["items"]] == counts_I[:3].tolist()
        assert client.get("/v1/trending?domain=a&since=99999999").json == {"items": []}
        for wrong in ("k=abc", "k=-1", "k=101", "since=x"):
            assert client.get(f"/v1/trending?domain=a&{wrong}").status == 422
        unknown = client.get("/v1/trending?domain=aa")
        assert unknown.status == 422
        assert "did you mean 'a'" in unknown.error


def test_it_needs_the_key_that_the_others_need(run: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(code_blocks(PAGE)[0], namespace)
    app = create_app(run, ServeSettings(api_key="secret secret"), extra=[namespace["TRENDING"]])
    with asking(app) as client:
        assert client.get("/v1/trending?domain=a").status == 401


def test_a_post_gets_the_object_in_its_body(run: Path) -> None:
    echo = ExtraRoute("/v1/echo", lambda service, given: {"given": given}, "POST")
    with asking(create_app(run, extra=[echo])) as client:
        assert client.post("/v1/echo", {"k": [1, 2]}).json == {"given": {"k": [1, 2]}}
        assert client.post("/v1/echo", [1]).status == 422
        assert client.get("/v1/echo").status == 405


@pytest.mark.parametrize(
    ("module", "name"), [("app", "create_app"), ("service", "Service"), ("settings", "ServeSettings")]
)
def test_import_paths_of_0_1_work_with_a_warning(module: str, name: str) -> None:
    former = import_module(f"landbridge.serving.{module}")
    with pytest.warns(DeprecationWarning, match=f"landbridge.serving.{module}.{name} is now"):
        assert callable(getattr(former, name))
    with pytest.raises(AttributeError):
        _ = former.anything
