"""The CRNN: convolutions that shorten 20 seconds to four steps, which an LSTM reads.

B.-J. Singstad, C. Tronstad: abstract of the Challenge 2020's unofficial phase, nine classes, and their released code.

    seven       times Conv(→ 1024, f=5, no padding), ReLU, max-pool (5, stride 3; the last one 3, stride 1), BatchNorm
    LSTM(1024)  its last state
    head        linear layer of 1024, ReLU, dropout; one linear layer, one unit a class

With 12 leads and 9 classes it has 40,995,849 parameters. Keras counts 4,096 fewer, because its LSTM has one bias and
torch's has two.

The outputs are logits. The abstract trains with categorical cross-entropy, so there the scores are their softmax. The
released code ends in sigmoids, and its softmax is commented out.

The convolutions have no padding, and a recording of less than 14.6 s at 500 Hz would leave the LSTM nothing to read. As
published, the zeros that fill a recording up to 20 s are therefore part of the network and count as signal, also in the
statistics of the batch normalisation. Here every recording is filled or cut to the same length, whatever its batch was
padded to, so that its score depends neither on padding nor on the batch. The released code reshapes (leads, time) to
(time, leads) where it should transpose. We do not follow that.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from .layers import MaskedBatchNorm


class Crnn(nn.Module):
    """See the first lines of this file. `width` counts filters, LSTM units and hidden units."""

    def __init__(
        self,
        leads: int,
        classes: int,
        width: int,
        blocks: int,
        kernel: int,
        pool: int,
        pool_stride: int,
        last_pool: int,
        last_pool_stride: int,
        samples: int,
        dropout: float,
    ):
        super().__init__()
        if min(width, blocks, kernel, pool, pool_stride, last_pool, last_pool_stride) < 1:
            raise TypeError("width, blocks, kernel, pools and strides must be at least 1")
        self.samples = steps = samples
        self.blocks = nn.ModuleList()
        for k in range(blocks):
            size, stride = (pool, pool_stride) if k < blocks - 1 else (last_pool, last_pool_stride)
            self.blocks.append(
                nn.Sequential(
                    nn.Conv2d(leads if k == 0 else width, width, (1, kernel)),
                    nn.ReLU(inplace=True),
                    nn.MaxPool2d((1, size), (1, stride)),
                    MaskedBatchNorm(width),
                )
            )
            steps = (steps - kernel + 1 - size) // stride + 1
        if steps < 1:
            raise TypeError(f"{samples} samples are too few for {blocks} blocks of convolution and pooling")
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.hidden = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)
        self._initialise()

    def _initialise(self) -> None:
        """Keras's initial weights: Glorot and Bengio (2010), orthogonal recurrence, a bias of 1 in the forget gate."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(cast(torch.Tensor, module.bias))  # all of them have one
        # torch's order: input weights, recurrent weights, input biases, recurrent biases
        input_weight, recurrent_weight, input_bias, recurrent_bias = self.lstm.all_weights[0]
        nn.init.xavier_uniform_(input_weight)
        nn.init.orthogonal_(recurrent_weight)
        nn.init.zeros_(input_bias)
        nn.init.zeros_(recurrent_bias)
        units = self.lstm.hidden_size
        nn.init.ones_(input_bias[units : 2 * units])  # torch's order of the gates: input, forget, cell, output

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        if valid is not None:
            x = torch.where(valid[:, None, :], x, 0.0)
        # Filled with zeros or cut, to (batch, leads, samples). F.pad would do both, but could not be exported: whether
        # it fills or cuts would be fixed by the length of one example.
        x = torch.cat([x, x.new_zeros(*x.shape[:2], self.samples)], dim=2)[:, :, : self.samples]
        x = x.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x)  # batch, width, 1, steps: 3331, 1108, 367, … 10, 4
        _, (state, _) = self.lstm(x.squeeze(2).transpose(1, 2))  # 1, batch, width
        return self.head(self.dropout(F.relu(self.hidden(state[0]))))  # batch, classes


def crnn(
    leads: int,
    classes: int,
    width: int = 1024,
    blocks: int = 7,
    kernel: int = 5,
    pool: int = 5,
    pool_stride: int = 3,
    last_pool: int = 3,
    last_pool_stride: int = 1,
    samples: int = 10_000,
    dropout: float = 0.5,
) -> Crnn:
    """The released network with its numbers. `samples` are 20 s at 500 Hz. It does not use the metadata."""
    return Crnn(leads, classes, width, blocks, kernel, pool, pool_stride, last_pool, last_pool_stride, samples, dropout)
