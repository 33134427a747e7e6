"""Random bytes and changed messages at a running coordinator, while two honest parties train."""

from __future__ import annotations

from pathlib import Path

from experiments.hostile import HOSTILE, besieged


def test_hundreds_of_strings_are_refused_and_the_honest_parties_have_the_same_bits(tmp_path: Path) -> None:
    hostile, unharmed, lines = besieged(tmp_path, 300)
    assert unharmed
    assert sum(sum(each.values()) for each in hostile.answers.values()) > 300
    assert {"random bytes", "changed messages", "a round once more"} <= set(hostile.answers)
    log = "\n".join(lines)
    assert log.count(f"{HOSTILE}: refused.") > 200
    assert "4242" not in log
    # sentences of the program, and nothing of what was sent
    assert len({line for line in lines if "refused" in line}) < 25
    assert all(line.isprintable() for line in lines)
