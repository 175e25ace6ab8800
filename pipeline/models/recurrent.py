"""Stacked recurrent network with a softmax readout.

Shapes: T time, B batch, V vocabulary, D width of the input, H hidden, L layers.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

State = tuple[Tensor, ...]


class RecurrentNetwork(nn.Module):
    """h^l_t = cell(h^{l-1}_t, h^l_{t-1}) for l = 1..L, h^0_t = one-hot or embedding of symbol x_t; log p(x_{t+1}) = log softmax(Why h^L_t + by).

    kernel     torch.nn.RNN, LSTM or GRU, called with (D, H, num_layers=L, dropout=...)
    symbols    V; the index V means "unknown" and is read as a zero input
    layers     L >= 1
    hidden     H >= 1
    embedding  D of a learned embedding, or None: one-hot input, D = V
    dropout    probability in [0, 1), on the output of every layer (Zaremba et al. 2014: never on the recurrent product)
    recurrent_bias  also train the bias of the recurrent product, as char-rnn and PyTorch do; False holds it at zero, which
               leaves one bias per gate, as in the papers (for GRU also inside the reset gate's product)

    Memory of the parameters of an LSTM: 4 (D + H (2L - 1) + (2 if recurrent_bias else 1) L) H + V (H + 1) numbers.
    """

    def __init__(self, symbols: int, kernel: Callable[..., nn.RNNBase], layers: int, hidden: int, embedding: int | None,
                 dropout: float, recurrent_bias: bool):
        super().__init__()
        self.symbols = symbols
        if embedding is None:
            self.register_buffer("one_hot", torch.eye(symbols + 1)[:, :symbols], persistent=False)     # [V+1, V], last row zero
        else:
            self.embedding = nn.Embedding(symbols, embedding)
        self.recurrence = kernel(embedding or symbols, hidden, num_layers=layers, dropout=dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(hidden, symbols)
        if not recurrent_bias:
            for name, parameter in self.recurrence.named_parameters():
                if name.startswith("bias_hh"):
                    parameter.requires_grad_(False).zero_()

    def start(self, batch: int) -> State:
        """The state before the first symbol: zeros, each [L, B, H]. (h,) or, for an LSTM, (h, c)."""
        zeros = self.readout.weight.new_zeros(self.recurrence.num_layers, batch, self.recurrence.hidden_size)
        return (zeros, zeros.clone()) if self.recurrence.mode == "LSTM" else (zeros,)

    def forward(self, symbols_TB: Tensor, state: State) -> tuple[Tensor, State]:
        """Symbols 0..V (V unknown) and the state before them -> logits of each next symbol [T, B, V] and the state after."""
        if hasattr(self, "embedding"):
            x_TBD = F.embedding(symbols_TB, F.pad(self.embedding.weight, (0, 0, 0, 1)))
        else:
            x_TBD = F.embedding(symbols_TB, self.one_hot)
        lstm = len(state) == 2
        h_TBH, state = self.recurrence(x_TBD, state if lstm else state[0])
        return self.readout(self.dropout(h_TBH)), (state if lstm else (state,))
