"""landbridge demo"""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    serve: Annotated[bool, typer.Option("--serve", help="Serve the model with its web page.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of --serve.")] = 8000,
) -> None:
    """Show on MovieLens, in a minute, what one model over several domains gains.

    landbridge demo --serve
    """
    from landbridge.demo import server as demo_serve
    from landbridge.demo import terminal as demo

    if serve:
        demo_serve.run(port)
    else:
        demo.run()
