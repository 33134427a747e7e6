"""The two-stream auto-encoder against a NumPy twin that really runs both streams."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from crowds import gaps

from landbridge.core.errors import SettingsError
from landbridge.core.rng import generator
from landbridge.models.common.losses import reconstruction
from landbridge.models.uclr.autoencoder import AutoEncoder, keep_mask

NET = AutoEncoder((6, 5, 3))


def world(size: int = 9) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    weights = NET.initial(generator(3, "layers"))
    return weights, torch.tensor(generator(3, "rows").standard_normal((size, 6), np.float32))


def twin(part: str, weights: dict[str, torch.Tensor], rows_BF: np.ndarray) -> np.ndarray:
    w = {name: value.detach().double().numpy() for name, value in weights.items()}
    hidden = np.maximum(rows_BF @ w[f"{part}.0.weight"].T + w[f"{part}.0.bias"], 0)
    return hidden @ w[f"{part}.1.weight"].T + w[f"{part}.1.bias"]


def test_both_streams_are_those_of_two_full_passes() -> None:
    weights, rows_BF = world()
    kept_B = torch.tensor(keep_mask(9, 0.4, generator(3, "mask")))
    found = NET.streams(weights, rows_BF, kept_B)
    plain, blanked = rows_BF.double().numpy(), rows_BF.double().numpy() * kept_B.numpy()[:, None]
    for code, rebuilt, rows in (
        (found.code_BL, found.rebuilt_BF, plain),
        (found.blanked_code_BL, found.blanked_rebuilt_BF, blanked),
    ):
        wanted_BL = twin("encoder", weights, rows)
        np.testing.assert_allclose(code.detach(), wanted_BL, atol=1e-6)
        np.testing.assert_allclose(rebuilt.detach(), twin("decoder", weights, wanted_BL), atol=1e-6)
    assert (found.code_BL < 0).any(), "a code has no activation"
    assert (found.rebuilt_BF < 0).any(), "neither has a rebuilt row"


def test_gradients_are_those_of_two_full_passes() -> None:
    weights, rows_BF = world()
    kept_B = torch.tensor(keep_mask(9, 0.4, generator(3, "mask")))
    found = NET.streams(weights, rows_BF, kept_B)
    ours = reconstruction(rows_BF, found.rebuilt_BF, found.blanked_rebuilt_BF).sum()
    blanked_BF = rows_BF * kept_B.unsqueeze(1)
    both = (NET.decode(weights, NET.encode(weights, given)) for given in (rows_BF, blanked_BF))
    naive = reconstruction(rows_BF, *both).sum()
    for one, other in zip(
        torch.autograd.grad(ours, list(weights.values())),
        torch.autograd.grad(naive, list(weights.values())),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_without_a_mask_streams_are_identical_and_no_other_user_beats_the_own_code() -> None:
    weights, rows_BF = world()
    found = NET.streams(weights, rows_BF, torch.tensor(keep_mask(9, 0.0, generator(3, "mask"))))
    assert torch.equal(found.code_BL, found.blanked_code_BL)
    assert torch.equal(found.rebuilt_BF, found.blanked_rebuilt_BF)
    h_BN = gaps(found.code_BL, found.blanked_code_BL).detach()
    assert h_BN.max() <= 1e-6
    unit_BL = found.code_BL.detach() / found.code_BL.detach().norm(dim=1, keepdim=True)
    minus_one_BB = unit_BL @ unit_BL.T - 1
    np.testing.assert_allclose(h_BN, minus_one_BB[~torch.eye(9, dtype=torch.bool)].view(9, 8), atol=1e-6)


def test_blanked_users_share_one_code_and_so_have_no_gap_between_them() -> None:
    weights, rows_BF = world()
    found = NET.streams(weights, rows_BF, torch.zeros(9, dtype=torch.bool))
    code_1L, rebuilt_1F = NET.blank(weights)
    assert torch.equal(found.blanked_code_BL, code_1L.expand(9, 3))
    assert torch.equal(found.blanked_rebuilt_BF, rebuilt_1F.expand(9, 6))
    np.testing.assert_allclose(gaps(found.code_BL, found.blanked_code_BL).detach(), 0, atol=1e-6)
    assert code_1L.detach().norm() > 0.1, "a cosine with it has a direction"


def test_both_layouts_of_the_hidden_layers() -> None:
    shapes = {
        layout: {name: tuple(value.shape) for name, value in AutoEncoder.of(64, layout).initial(rng).items()}
        for layout, rng in (("A", generator(3, "layers")), ("B", generator(3, "layers")))
    }
    assert shapes["A"] == {
        "encoder.0.weight": (128, 64),
        "encoder.0.bias": (128,),
        "encoder.1.weight": (32, 128),
        "encoder.1.bias": (32,),
        "decoder.0.weight": (128, 32),
        "decoder.0.bias": (128,),
        "decoder.1.weight": (64, 128),
        "decoder.1.bias": (64,),
    }
    assert shapes["B"] == {
        "encoder.0.weight": (32, 64),
        "encoder.0.bias": (32,),
        "decoder.0.weight": (64, 32),
        "decoder.0.bias": (64,),
    }
    assert AutoEncoder.of(64) == AutoEncoder.of(64, "A")
    with pytest.raises(SettingsError, match="Unknown layout"):
        AutoEncoder.of(64, "C")


def test_initial_weights_depend_on_the_seed_alone() -> None:
    one, same, other = (NET.initial(generator(seed, "layers")) for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) and not torch.equal(one[name], other[name]) for name in one)
    assert all(value.requires_grad and value.dtype == torch.float32 for value in one.values())
    assert float(one["encoder.0.weight"].detach().abs().max()) <= 6**-0.5


@pytest.mark.parametrize(("ratio", "blanked"), [(0.0, 0), (0.3, 614), (0.5, 1024), (1.0, 2048)])
def test_exact_mask_blanks_that_many(ratio: float, blanked: int) -> None:
    assert (~keep_mask(2048, ratio, generator(3, "mask"))).sum() == blanked


def test_bernoulli_mask_blanks_about_that_many() -> None:
    rng = generator(3, "mask")
    counts = [int((~keep_mask(500, 0.3, rng, "bernoulli")).sum()) for _ in range(200)]
    assert len(set(counts)) > 10
    assert np.mean(counts) == pytest.approx(150, abs=4)


def test_every_user_is_blanked_as_often_as_any_other() -> None:
    rng = generator(3, "mask")
    share_B = np.mean([~keep_mask(10, 0.3, rng) for _ in range(2000)], axis=0)
    np.testing.assert_allclose(share_B, 0.3, atol=0.05)


def test_impossible_masks() -> None:
    with pytest.raises(SettingsError, match="did you mean 'exact'"):
        keep_mask(4, 0.3, generator(3), "exakt")
    with pytest.raises(SettingsError, match="fraction of users"):
        keep_mask(4, 30, generator(3))


def test_parts_load_torch_only_when_used() -> None:
    imports = "from landbridge.models.uclr import autoencoder, lora, temperature"
    program = f"import sys; {imports}; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
