"""landbridge mcp"""

from __future__ import annotations

from landbridge.cli import options


def command(run: options.Run) -> None:
    """Offer a run to a client of the Model Context Protocol, over standard input and output.

    landbridge mcp runs/best

    Tools: recommend, explain, evaluate. Nothing is changed, and no port is opened. Needs the extra mcp.
    """
    from landbridge.cli.mcp_server import server_of

    server_of(run).run("stdio")
