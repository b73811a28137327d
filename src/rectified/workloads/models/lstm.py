"""A recurrent language model: LSTM (Hochreiter and Schmidhuber 1997) with adaptive softmax (Grave, Joulin, Cissé,
Grangier and Jégou 2016, arXiv:1609.04309).

Initialization, as in the RAdam authors' code: embeddings uniform with variance 1 / width, matrices Glorot (uniform for
each of the LSTM's four gates separately, normal in the softmax), biases 0, except the forget gate's: 1 in both vectors.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LSTM(nn.Module):
    """Embedding, stacked LSTM, adaptive softmax, with dropout before, between and after the LSTM's layers.

    Trained by truncated backpropagation through time: a batch holds the next words of several streams of text, and the
    LSTM starts from the state (h and c of every layer) in which the previous batch left each stream, detached.

    Args:
        vocabulary: the number of words, which are numbered by decreasing frequency.
        embedding: its width; `width` is that of the LSTM's layers.
        cutoffs: the first word of each softmax cluster after the first; those beyond the vocabulary are left out.
    """

    def __init__(
        self, vocabulary: int, embedding: int, width: int, layers: int, dropout: float, cutoffs: Sequence[int]
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.layers = nn.LSTM(embedding, width, layers, dropout=dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        reached = [cutoff for cutoff in cutoffs if cutoff < vocabulary]
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(width, vocabulary, reached, head_bias=True)
        # One for training, one for evaluation, by self.training. Not buffers: DistributedDataParallel would overwrite
        # every rank's with the first rank's. The one for training is in the state_dict (below), so that a run resumes
        # bit for bit.
        self.memories = dict.fromkeys((True, False), torch.zeros(2, layers, 0, width))
        self._initialize()

    def _initialize(self) -> None:
        bound = math.sqrt(3 / self.embedding.embedding_dim)
        nn.init.uniform_(self.embedding.weight, -bound, bound)
        for name, parameter in self.layers.named_parameters():
            if name.startswith("weight"):
                for gate in parameter.chunk(4):
                    nn.init.xavier_uniform_(gate)
            else:
                nn.init.zeros_(parameter)
                nn.init.ones_(parameter.chunk(4)[1])  # input, forget, cell, output
        for name, parameter in self.softmax.named_parameters():
            if name.endswith("weight"):
                nn.init.xavier_normal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, words: Tensor, fresh: Tensor) -> Tensor:
        """Words [streams, length] to hidden states [streams, length, width], from which the next words are predicted.

        Args:
            fresh: bool [streams], true for streams that start from a zero state. All streams do if the previous batch
                had another number of streams.
        """
        x = self.dropout(self.embedding(words.T))
        memory = self.memories[self.training]
        if memory.shape[2] != len(words):
            memory = x.new_zeros(*memory.shape[:2], len(words), memory.shape[3])
        h, c = torch.where(fresh[:, None], 0.0, memory)  # not a product with 0: a diverged state may hold NaN
        x, (h, c) = self.layers(x, (h, c))
        self.memories[self.training] = torch.stack((h, c)).detach()
        return self.dropout(x).transpose(0, 1)  # type: ignore[no-any-return]

    def losses(self, hidden: Tensor, words: Tensor) -> Tensor:
        """-log p(word | hidden) for each of n words: [n, width] and [n] to [n]."""
        log_p = self.softmax(hidden, words).output
        # torch leaves a cluster with no word in the batch out of the graph. Its parameters would have no gradient: an
        # optimizer would skip them, and DistributedDataParallel would wait for them forever. An empty batch through
        # every cluster adds 0 to the loss and makes those gradients zeros.
        nothing = sum(cluster(hidden[:0]).sum() for cluster in self.softmax.tail)
        return nothing - log_p  # type: ignore[no-any-return]

    def get_extra_state(self) -> Tensor:
        """The training state for the state_dict: h and c, [2, layers, streams, width]; 0 streams before training."""
        return self.memories[True]

    def set_extra_state(self, state: Tensor) -> None:
        self.memories[True] = state.to(self.embedding.weight.device)
