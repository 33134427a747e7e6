from __future__ import annotations

from worlds import uneven

from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.als.warm_start import previous_model
from landbridge.training.options import FitOptions


def test_only_a_model_of_the_same_method_and_size_is_continued() -> None:
    previous = IALS(4, epochs=1).fit(uneven(), FitOptions(threads=1))
    options = FitOptions(initial=previous)
    assert previous_model(options, IALS(4), 4) is previous
    assert previous_model(options, IALS(5), 5) is None
    assert previous_model(options, CDIMF(4), 4) is None
    assert previous_model(FitOptions(), IALS(4), 4) is None
