"""Event files hold what the fit's log holds, record by record, whatever the names, resumed or not."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event, SessionLog

from landbridge.core.errors import MissingExtraError
from landbridge.core.tensorboard import TensorBoard
from landbridge.data.synthetic import planted_transfer
from landbridge.evaluation.evaluate import Validator
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.base import Fitted
from landbridge.models.pairwise.bprmf import BPRMF
from landbridge.training.options import FitOptions

Curves = dict[str, dict[int, float]]
ANY_TEXT = st.text(st.characters(), max_size=12)  # halves of characters too
WORLD = planted_transfer(users=64, items=32, groups=4)


class Watcher:
    """A progress that notes all it is noted."""

    def __init__(self) -> None:
        self.noted: list[Any] = []

    def note(self, sentence: str) -> None:
        self.noted.append(sentence)

    def task(self, title: str, total: int, seconds: float | None = None) -> Any:
        self.noted.append((title, total))
        return self

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *about: object) -> None:
        self.noted.append("over")

    def step(self, done: int, facts: Any) -> None:
        self.noted.append((done, dict(facts)))


def masked_crc(content: bytes) -> int:
    """CRC-32C bit by bit, rotated and shifted as TFRecord wants it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(path: Path) -> Iterator[Any]:
    """The events of a file: length, its checksum, content, its checksum; again and again."""
    content, place = path.read_bytes(), 0
    while place < len(content):
        length, crc = struct.unpack_from("<QI", content, place)
        record = content[place + 12 : place + 12 + length]
        assert crc == masked_crc(content[place : place + 8])
        assert struct.unpack_from("<I", content, place + 12 + length) == (masked_crc(record),)
        yield Event.FromString(record)
        place += 16 + length


def curves(run: Path) -> Curves:
    """What TensorBoard shows of a run: files in order, a start voids what was said of its step and later."""
    found: Curves = {}
    for path in sorted(run.iterdir()):
        first, *others = events(path)
        assert first.file_version == "brain.Event:2"
        for event in others:
            if event.session_log.status == SessionLog.START:
                found = {
                    tag: {step: value for step, value in curve.items() if step < event.step}
                    for tag, curve in found.items()
                }
            for value in event.summary.value:
                curve = found.setdefault(value.tag, {})
                assert event.step > max(curve, default=-1)
                curve[event.step] = value.simple_value
    return found


def of_log(title: str, fitted: Fitted) -> Curves:
    """The log's numbers by epoch, from 1, as single-precision floats."""
    found: Curves = {}
    for record in fitted.log:
        for name, value in record.items():
            if "epoch" in record and isinstance(value, float):
                found.setdefault(f"{title}/{name}", {})[record["epoch"] + 1] = float(np.float32(value))
    return found


def options(folder: Path, **more: Any) -> FitOptions:
    more = {"validate": Validator(WORLD.split.valid, "ndcg@10"), "threads": 1} | more
    return FitOptions(progress=TensorBoard(folder), **more)


def test_the_curves_of_a_fit_are_the_values_of_its_log(tmp_path: Path) -> None:
    consensus = CDIMF(factors=4, epochs=5).fit(WORLD.split.train, options(tmp_path))
    pairwise = BPRMF(factors=4, epochs=3).fit(WORLD.split.train, options(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"CDIMF-1", "BPRMF-separate-1"}
    found = curves(tmp_path / "CDIMF-1")
    assert found == of_log("CDIMF", consensus)
    assert set(found["CDIMF/valid"]) == {1, 2, 3, 4, 5}
    found = curves(tmp_path / "BPRMF-separate-1")
    assert found == of_log("BPRMF separate", pairwise)
    assert {"BPRMF separate/valid", "BPRMF separate/loss:sparse"} <= set(found)


def test_a_second_fit_is_a_run_of_its_own(tmp_path: Path) -> None:
    fits = [CDIMF(factors=2, epochs=n).fit(WORLD.split.train, options(tmp_path)) for n in (3, 2)]
    for number, fitted in enumerate(fits, 1):
        assert curves(tmp_path / f"CDIMF-{number}") == of_log("CDIMF", fitted)


def test_a_resumed_fit_goes_on_in_its_run(tmp_path: Path) -> None:
    left, validator = iter(range(3)), Validator(WORLD.split.valid, "ndcg@10")

    def stopping(fitted: Fitted) -> float:
        next(left)
        return validator(fitted)

    method, kept = CDIMF(factors=4, epochs=6), tmp_path / "kept"
    method.fit(WORLD.split.train, options(tmp_path / "curves"))
    with pytest.raises(StopIteration):
        method.fit(WORLD.split.train, options(tmp_path / "curves", work_dir=kept, validate=stopping))
    assert set(curves(tmp_path / "curves" / "CDIMF-2")["CDIMF/valid"]) == {1, 2, 3}
    fitted = method.fit(WORLD.split.train, options(tmp_path / "curves", work_dir=kept))
    assert {path.name for path in (tmp_path / "curves").iterdir()} == {"CDIMF-1", "CDIMF-2"}
    assert curves(tmp_path / "curves" / "CDIMF-2") == of_log("CDIMF", fitted)


def test_repeated_steps_replace_the_first_report(tmp_path: Path) -> None:
    for value, steps in ((1.0, (1, 2, 3, 4)), (2.0, (3, 4, 5)), (3.0, (5, 6))):
        with TensorBoard(tmp_path).task("fit", 6) as task:
            for step in steps:
                task.step(step, {"loss": value})
    (run,) = tmp_path.iterdir()
    assert len(list(run.iterdir())) == 3
    assert curves(run) == {"fit/loss": {1: 1.0, 2: 1.0, 3: 2.0, 4: 2.0, 5: 3.0, 6: 3.0}}


def test_every_step_is_on_disk_when_it_is_over(tmp_path: Path) -> None:
    with TensorBoard(tmp_path).task("fit", 3) as task:
        for step in (1, 2, 3):
            task.step(step, {"loss": 0.5 * step})
            assert curves(tmp_path / "fit-1")["fit/loss"][step] == 0.5 * step


def test_the_inner_progress_gets_every_report(tmp_path: Path) -> None:
    watcher = Watcher()
    with TensorBoard(tmp_path / "none", watcher).task("evaluate", 7) as task:
        task.step(1, {})
    assert not (tmp_path / "none").exists()
    with TensorBoard(tmp_path, watcher).task("fit", 2) as task:
        task.step(1, {"loss": 0.5})
    assert watcher.noted == [("evaluate", 7), (1, {}), "over", ("fit", 2), (1, {"loss": 0.5}), "over"]


@given(ANY_TEXT, st.dictionaries(ANY_TEXT, st.floats(width=32, allow_nan=False), min_size=1, max_size=4))
@example("../up", {"loss:Food & Drink": 0.5, "loss:Food_&_Drink": 1.5, "/": 2.5})
@example("fit" * 99, {"": 0.5, "\0": 1.5, "\ud800": float("inf")})
def test_any_name_is_kept_letter_by_letter(title: str, facts: dict[str, float]) -> None:
    with TemporaryDirectory() as name:
        with TensorBoard(Path(name) / "curves").task(title, 1) as task:
            task.step(1, facts)
        assert [path.name for path in Path(name).iterdir()] == ["curves"]
        (run,) = (Path(name) / "curves").iterdir()
        (path,) = run.iterdir()
        noted = [(v.tag, v.simple_value) for event in events(path) for v in event.summary.value]
    whole = [(f"{title}/{name}".encode(errors="replace").decode(), value) for name, value in facts.items()]
    assert noted == whole


def test_without_the_extra_one_sentence_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'landbridge\[tensorboard\]'"):
        TensorBoard(tmp_path)
