"""accelerate: the same network, faster on a CPU, and only if models/cpu is there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import SMALL

import twelvelead
from twelvelead import models
from twelvelead.inference.ensemble import load_ensemble, member_scores
from twelvelead.inference.predict import stack
from twelvelead.models.cpu import accelerate
from twelvelead.models.cpu.butt import ScoringButt
from twelvelead.models.cpu.minimal_conv import MinimalConv, ScoringConv
from twelvelead.models.cpu.winograd import TRAINING_OUTPUTS
from twelvelead.models.network import Standardised, accelerated, fuse

WIDTHS = {"butt": 36, "se_resnet": 36, "crnn": 60, "cnn_gru": 96}  # enough filters for minimal filtering to gain


def wide(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return models.build(name, leads=12, classes=24, **{**SMALL[name], "width": WIDTHS[name]})


def without_dropout(model: torch.nn.Module) -> torch.nn.Module:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


@pytest.mark.parametrize("name", WIDTHS)
def test_acceleration_for_training_shares_parameters_and_keeps_their_names(name):
    model = wide(name)
    before, parameters = model.state_dict(), dict(model.named_parameters())
    state = torch.get_rng_state()
    fast = accelerate(model, training=True)
    assert any(isinstance(module, MinimalConv) for module in fast.modules())
    assert torch.equal(torch.get_rng_state(), state)  # or a seed would give another run
    assert all(parameter is parameters[label] for label, parameter in fast.named_parameters())
    assert list(fast.state_dict()) == list(before)
    again = accelerate(fast, training=True)
    assert again is fast and list(again.state_dict()) == list(before)


@pytest.mark.parametrize("name", WIDTHS)
def test_accelerated_training_has_the_gradients_of_plain_training(name):
    plain, fast = without_dropout(wide(name)).train(), without_dropout(accelerate(wide(name), training=True)).train()
    assert not any(isinstance(module, MinimalConv) for module in plain.modules())
    x, valid = torch.randn(3, 12, 512), torch.ones(3, 512, dtype=torch.bool)
    valid[1, 300:] = False
    gradients = []
    for model in (plain, fast):
        model(x, valid).square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).double())
    # Single weights differ by some percent: rounding moves a few samples across the edges of ReLU and pooling. The
    # derivative of one convolution is tested exactly in test_minimal_conv.py.
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.995
    assert not torch.equal(*gradients)


@torch.inference_mode()
@pytest.mark.parametrize("trained_as", ["plain", "accelerated"])
@pytest.mark.parametrize("name", WIDTHS)
def test_scoring_replaces_what_gains_and_leaves_the_rest(name, trained_as):
    """Strides and kernels that minimal filtering does not know stay, whether training was accelerated or not."""
    model = wide(name) if trained_as == "plain" else accelerate(wide(name), training=True)
    model = fuse(model.eval())
    others = [
        conv
        for conv in model.modules()
        if isinstance(conv, torch.nn.Conv2d) and (conv.kernel_size[1] not in TRAINING_OUTPUTS or conv.stride[1] != 1)
    ]
    x = torch.randn(2, 12, 1024)
    before = model.double()(x.double())
    ready = accelerate(model.float(), training=False)
    left = [conv for conv in ready.modules() if isinstance(conv, torch.nn.Conv2d)]
    assert all(any(conv is other for conv in left) for other in others)
    assert isinstance(ready, ScoringButt) or any(isinstance(module, ScoringConv) for module in ready.modules())
    torch.testing.assert_close(ready(x).double(), before, rtol=1e-3, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("name", sorted({*models.names()} - {*WIDTHS}))
def test_a_network_with_nothing_to_gain_is_left_as_it_is(name):
    torch.manual_seed(0)
    model = models.build(name, leads=12, classes=24, **SMALL[name]).eval()
    x = torch.randn(2, 12, 1024)
    before = model(x)
    for training in (True, False):
        ready = accelerate(model, training=training)
        assert not any(isinstance(module, (MinimalConv, ScoringConv)) for module in ready.modules())
        assert torch.equal(ready(x), before)


def test_a_network_inside_a_wrapper_is_replaced_by_its_twin():
    model = accelerate(fuse(Standardised(wide("butt"), 12).eval()), training=False)
    assert isinstance(model, Standardised) and isinstance(model.network, ScoringButt)


@pytest.mark.parametrize(
    "options", [dict(stride=(1, 2)), dict(dilation=(1, 2)), dict(groups=2), dict(padding="same"), dict(padding=(1, 3))]
)
def test_convolutions_with_other_options_are_left_alone(options):
    model = torch.nn.Sequential(torch.nn.Conv2d(100, 90, (1, 7), **options))
    for training in (True, False):
        assert type(accelerate(model, training=training)[0]) is torch.nn.Conv2d


def test_a_model_on_another_device_stays_as_it_is():
    with torch.device("meta"):
        model = models.build("butt", leads=12, classes=24)
    assert accelerated(model, training=True) is model and not any(isinstance(m, MinimalConv) for m in model.modules())


WITHOUT_THE_FOLDER = """
import json, sys
from pathlib import Path
import numpy as np
from twelvelead.commands import train
from twelvelead.data.folders import find_recordings
from twelvelead.data.recording import read_recording
from twelvelead.inference.ensemble import load_ensemble, member_scores
from twelvelead.inference.predict import stack
from twelvelead.preprocessing.prepare import prepare
from twelvelead.settings import Settings
import twelvelead, torch

data, model, out = map(Path, sys.argv[1:4])
assert "twelvelead.models.cpu" not in sys.modules
settings = Settings(members=1, epochs=2, width=12, synthetic=0, seed=5, device="cpu", jobs=1, workers=1)
train(data, out / "trained", settings)

def scores(folder):
    ensemble = load_ensemble(folder)
    items = [prepare(read_recording(path), ensemble.recipe.input) for path in find_recordings(data)[:8]]
    return member_scores(ensemble, stack(items, torch.device("cpu")))

np.savez(out / "scores.npz", trained=scores(out / "trained"), given=scores(model))
used = sorted(name for name in sys.modules if name.startswith("twelvelead.models.cpu."))
print(json.dumps(dict(package=twelvelead.__file__, used=used)))
"""


STAYS_AS_IT_IS = """
from torch import nn
from twelvelead.models.network import accelerated

model = nn.Sequential(nn.Conv2d(100, 90, (1, 7)))
assert accelerated(model, training=True) is model and type(model[0]) is nn.Conv2d
"""


def copy_without_the_folder(target: Path) -> Path:
    """A copy of the package without models/cpu, as a clone would be in which the folder was deleted."""
    source = Path(twelvelead.__file__).parent
    shutil.copytree(source, target / "twelvelead", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(source.parent / "weights.csv", target)
    folder = target / "twelvelead" / "models" / "cpu"
    shutil.rmtree(folder)
    return folder


def run_in(folder: Path, code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


@pytest.mark.slow
def test_without_the_folder_training_loading_and_scoring_work(hospital, tiny_model, tmp_path):
    """Scores are equal to 1e-4, of a model that was trained here and of one that was trained there."""
    copy_without_the_folder(tmp_path)
    told = run_in(tmp_path, WITHOUT_THE_FOLDER, hospital, tiny_model, tmp_path)
    facts = json.loads(told.strip().splitlines()[-1])
    assert Path(facts["package"]).is_relative_to(tmp_path) and not facts["used"]
    with np.load(tmp_path / "scores.npz") as scores:
        for key, folder in (("given", tiny_model), ("trained", tmp_path / "trained")):
            np.testing.assert_allclose(scores_here(folder, hospital), scores[key], atol=1e-4)


@pytest.mark.slow
def test_an_empty_folder_is_no_folder_and_a_broken_one_is_an_error(tmp_path):
    """git leaves the folder where Python's cache was. What cannot be imported in a folder that exists is not hidden."""
    folder = copy_without_the_folder(tmp_path)
    (folder / "__pycache__").mkdir(parents=True)
    run_in(tmp_path, STAYS_AS_IT_IS)
    (folder / "__init__.py").write_text("import no_such_module\n")
    with pytest.raises(AssertionError, match="no_such_module"):
        run_in(tmp_path, STAYS_AS_IT_IS)


def scores_here(folder: Path, data: Path) -> np.ndarray:
    """Scores of the first recordings with models/cpu."""
    from twelvelead.data.folders import find_recordings
    from twelvelead.data.recording import read_recording
    from twelvelead.preprocessing.prepare import prepare

    ensemble = load_ensemble(folder)
    assert any(isinstance(module, ScoringButt) for model in ensemble.models for module in model.modules())
    items = [prepare(read_recording(path), ensemble.recipe.input) for path in find_recordings(data)[:8]]
    return member_scores(ensemble, stack(items, torch.device("cpu")))
