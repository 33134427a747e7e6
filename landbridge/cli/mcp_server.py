"""A run as tools of the Model Context Protocol: recommend, explain, evaluate. They change nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

from pydantic import BaseModel, ConfigDict, Field

import landbridge as lb
from landbridge import pipeline
from landbridge.core.errors import DataError, LandbridgeError, MissingExtraError
from landbridge.core.types import Record
from landbridge.evaluation.metrics import Metric
from landbridge.evaluation.segments import segment_name
from landbridge.version import __version__

if TYPE_CHECKING:
    import polars as pl
    from mcp.server.mcpserver import MCPServer

MOST = 100  # rows of an answer: a language model has to read them
P = ParamSpec("P")


class Event(BaseModel):
    """Something that the user has had."""

    model_config = ConfigDict(extra="forbid")
    domain: str
    item: str


Domain = Annotated[str, Field(description="The domain of the items.")]
KnownUser = Annotated[str | None, Field(description="A user that the model knows.")]
Events = Annotated[list[Event] | None, Field(description="Of a new user: their items, oldest first.")]
Number = Annotated[int, Field(ge=1, le=MOST, description="Number of rows.")]
Metrics = Annotated[list[str] | None, Field(description="Such as ndcg@10, hr@10 or mrr@20.")]
Segment = Annotated[str, Field(description="domain, activity, or another segment of the evaluation.")]


@dataclass(frozen=True)
class RunTools:
    """The tools of one run. A LandbridgeError says what is wrong with a call."""

    run: Path
    fitted: lb.Fitted

    def recommend(
        self, domain: Domain, user: KnownUser = None, events: Events = None, k: Number = 10
    ) -> Record:
        """The best items of a domain for a known user, or for a new one from some of their items."""
        if (user is None) == (not events):
            raise DataError("Give either a user, or events of a new one.")
        if user is not None:
            lists = lb.recommend(self.fitted, domain, [user], k)
        else:
            lists = lb.fold_in(self.fitted, [(each.domain, each.item) for each in events or ()], domain, k)
        return {"items": _rows(lists)}

    def explain(self, domain: Domain, user: str, item: str, top: Number = 10) -> Record:
        """Why an item has its score for a user: what each event, of any domain, adds to it."""
        return {"parts": _rows(lb.explain(self.fitted, domain, user, item).head(top))}

    def evaluate(self, metrics: Metrics = None, by: Segment = "domain") -> Record:
        """How good the lists are on events that were held out, with intervals of 95 %."""
        names = metrics or ["ndcg@10", "hr@10"]
        for name in names:
            Metric.parse(name)
        segment = segment_name(by)
        return {"rows": _rows(pipeline.evaluate_saved(self.run).summary(names, segment))}


def server_of(run: Path) -> MCPServer:
    """The server of a run folder, or of a versions folder's current version.

    StoreError where there is none, MissingExtraError without the extra.
    """
    try:
        from mcp.server.mcpserver import MCPServer
    except ImportError:
        raise MissingExtraError("MCP needs the SDK: pip install 'landbridge[mcp]'.") from None

    tools = RunTools(run, lb.load(run))
    sizes = ", ".join(
        f"{name} ({events.n_items:,} items)" for name, events in tools.fitted.history.domains.items()
    )
    server: MCPServer = MCPServer(
        "landbridge", version=__version__, instructions=f"Recommendations. Domains: {sizes}."
    )
    for each in (tools.recommend, tools.explain, tools.evaluate):
        server.tool()(_in_words(each))
    return server


def _rows(frame: pl.DataFrame) -> list[Record]:
    """The rows as --json prints them: a float32 with its own digits."""
    import orjson

    return list(orjson.loads(frame.write_json()))


def _in_words(tool: Callable[P, Record]) -> Callable[P, Record]:
    """The tool, whose errors the client reads as sentences; the SDK hides other errors."""
    from mcp.server.mcpserver.exceptions import ToolError

    @wraps(tool)
    def call(*args: P.args, **kwargs: P.kwargs) -> Record:
        try:
            return tool(*args, **kwargs)
        except LandbridgeError as error:
            raise ToolError(str(error)) from None

    return call
