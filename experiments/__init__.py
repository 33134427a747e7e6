"""Every number we claim, by a command: ``python -m experiments.NAME`` writes ``docs/results/NAME.md``.

Settings are chosen on validation data; test data are used once, for the settings chosen. Finished cells
are kept in ``runs/experiments`` and not computed again, so a killed experiment goes on where it was.
"""
