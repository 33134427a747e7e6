"""landbridge demo"""

from __future__ import annotations


def command() -> None:
    """Show on a small data set, in a minute, what one model over several domains gains.

    landbridge demo
    """
    from landbridge import demo

    demo.run()
