#!/usr/bin/env python
"""The authors' pipeline, written plainly: what the ratios in docs/performance.md are measured against.

    python benchmarks/reference.py MODEL DATA OUTPUTS       # as driver.py, with the weights of our model folder

T. Vicar, J. Hejc, P. Novotna, M. Ronzhina, O. Janousek, CinC 2020, paper 189, section 2, and where the paper is
silent their published code: scipy reads a recording; each lead is filtered (firwin, filtfilt) and interpolated to
125 Hz; 922 zeros are appended; the network is called with one recording, one member after another; training decodes
every recording anew in every epoch. Not here: pieces of recordings above 105 s, of which no benchmark has one.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat
from scipy.signal import filtfilt, firwin
from torch import nn
from torch.nn import functional as F

FREQUENCY_HZ = 125
UNIT_MV = 0.2
ZEROS = 922
BATCH = 32


# ------------------------------------------------------------------------------------------------------------
# recordings


def read(header_path: Path) -> tuple[str, np.ndarray]:
    """A header's text and its signal in ADC units, (leads, samples)."""
    return header_path.read_text(), loadmat(header_path.with_suffix(".mat"))["val"]


def prepare(header: str, signal: np.ndarray, taps: int | None = None) -> np.ndarray:
    """Model input float32 (12, samples at 125 Hz + 922).

    `taps`: length of the filter; by default that of the authors' code, 20 times the ratio of the rates and one, whose
    pass and stop bands are less strict than ours (twelvelead/preprocessing/prepare.py).
    """
    lines = header.splitlines()
    leads = int(lines[0].split()[1])
    frequency = float(lines[0].split()[2])
    ratio = frequency / FREQUENCY_HZ
    samples = signal.shape[1]
    length = int(samples / ratio)
    out = np.zeros((12, length + ZEROS), dtype=np.float32)
    for k in range(leads):
        gain = float(lines[k + 1].split()[2].partition("/")[0].partition("(")[0])
        lead = signal[k].astype(np.float64) / gain
        if ratio > 1:
            lead = filtfilt(firwin(taps or int(20 * ratio) + 1, 1 / ratio, window="hamming"), 1.0, lead)
        out[k, :length] = np.interp(np.arange(length) * ratio, np.arange(samples), lead) / UNIT_MV
    return out


def augment(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """±10 % stretch and ±20 % amplification of each lead, each with probability 0.8."""
    if random.random() < 0.8:
        length = int(x.shape[1] * random.uniform(0.9, 1.1))
        at = np.linspace(0, x.shape[1] - 1, length)
        x = np.stack([np.interp(at, np.arange(x.shape[1]), lead) for lead in x])
    if random.random() < 0.8:
        x = x * random.uniform(0.8, 1.2, (12, 1))
    return x


# ---------------------------------------------------------------------------------------------------------------
# network


def convolution(channels_in: int, channels_out: int) -> nn.ModuleDict:
    layer = nn.ModuleDict(
        dict(conv=nn.Conv1d(channels_in, channels_out, 7, padding=3), norm=nn.BatchNorm1d(channels_out))
    )
    nn.init.xavier_normal_(layer["conv"].weight)
    return layer


def apply(layer: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    return F.relu(layer["norm"](layer["conv"](x)))


class Network(nn.Module):
    """Section 2.2: x float32 (batch, 12, time) → logits (batch, classes). Its parts are called as in models/butt.py."""

    def __init__(self, classes: int = 24, width: int = 30):
        super().__init__()
        self.stem = convolution(12, width)
        channels = width
        self.levels = nn.ModuleList()
        for i in range(1, 7):
            sizes = [channels, i * width, i * width, i * width]
            layers = nn.ModuleList(convolution(a, b) for a, b in pairwise(sizes))
            self.levels.append(nn.ModuleDict(dict(convolutions=layers)))
            channels = width + 2 * i * width
        self.top = convolution(channels, 6 * width)
        self.head = nn.Linear(6 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x0 = x = apply(self.stem, x)
        for i, level in enumerate(self.levels):
            first, second, third = level["convolutions"]
            skip = apply(first, x)
            x = apply(third, apply(second, skip))
            x = F.max_pool1d(torch.cat([F.avg_pool1d(x0, 2**i), x, skip], dim=1), 2)
        return self.head(apply(self.top, x).amax(dim=2))  # the authors' mask masks nothing


def from_our_weights(state: dict[str, torch.Tensor], classes: int, width: int) -> Network:
    """The same network as ours: only the kernels' shape differs, (out, in, 1, 7) there."""
    network = Network(classes, width)
    network.load_state_dict({name: tensor.squeeze(2) if tensor.ndim == 4 else tensor for name, tensor in state.items()})
    return network.eval()


def load_model(folder: str | Path) -> list[Network]:
    """All members of one of our model folders (of recipe butt)."""
    from safetensors.torch import load_file

    states = [load_file(path) for path in sorted(Path(folder).glob("member_*.safetensors"))]
    return [from_our_weights(state, len(state["head.bias"]), len(state["stem.conv.bias"])) for state in states]


def run_model(networks: list[Network], header: str, signal: np.ndarray, graph: bool = True) -> np.ndarray:
    """Scores float32 (members, classes) of one recording, members one after another.

    `graph`: torch records the way back for gradients, as in the authors' code (it has no torch.no_grad, and its input
    requires gradients); False spares that.
    """
    x = torch.from_numpy(prepare(header, signal))[None].requires_grad_(graph)
    with torch.set_grad_enabled(graph):
        return np.stack([torch.sigmoid(network(x))[0].detach().numpy() for network in networks])


# --------------------------------------------------------------------------------------------------------------
# training


def train_epoch(
    network: Network,
    optimizer: torch.optim.Optimizer,
    headers: list[Path],
    labels: np.ndarray,
    random: np.random.Generator,
) -> float:
    """One epoch with weighted cross-entropy over recordings that are read and prepared anew; returns the mean loss.

    `labels` is bool (recordings, classes); w⁺ = N/N⁺, w⁻ = N/(N − N⁺).
    """
    network.train()
    count, positives = len(labels), labels.sum(axis=0)
    positive = torch.tensor(count / np.maximum(positives, 1), dtype=torch.float32)
    negative = torch.tensor(count / np.maximum(count - positives, 1), dtype=torch.float32)
    total = 0.0
    order = random.permutation(count)
    for batch in np.split(order, range(BATCH, count, BATCH)):
        signals = [augment(prepare(*read(headers[k])), random) for k in batch]
        x = torch.zeros(len(batch), 12, max(signal.shape[1] for signal in signals))
        for row, signal in zip(x, signals):
            row[:, : signal.shape[1]] = torch.from_numpy(signal)
        y = torch.tensor(labels[batch], dtype=torch.float32)
        loss = F.binary_cross_entropy_with_logits(network(x), y, weight=y * positive + (1 - y) * negative)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    return total / count


def new_optimizer(network: Network) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-5)


def main(model: str, data: str, outputs: str) -> None:
    """Classifies the recordings of a folder one by one; class k of the files is the model's k-th."""
    networks = load_model(model)
    Path(outputs).mkdir(parents=True, exist_ok=True)
    for path in sorted(Path(data).rglob("*.hea")):
        scores = run_model(networks, *read(path))
        mean = scores.mean(axis=0)
        votes = (scores >= 0.5).mean(axis=0) >= 0.5
        rows = [[f"#{path.stem}"], map(str, range(len(mean))), map(str, votes.astype(int)), map(str, mean)]
        Path(outputs, f"{path.stem}.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python benchmarks/reference.py MODEL DATA OUTPUTS")
    main(*sys.argv[1:])
