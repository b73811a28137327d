"""A recurrent language model: LSTM (Hochreiter and Schmidhuber 1997) and the adaptive softmax (Grave, Joulin, Cissé,
Grangier and Jégou 2016, arXiv:1609.04309).

Initialised as in the RAdam authors' code: embeddings uniform with variance 1 / width, matrices by Glorot's law (each of
an LSTM's four gates by itself), biases 0, the forget gate's 1 in both of its vectors.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LSTM(nn.Module):
    """Embedding, layers of LSTM, adaptive softmax, with dropout before, between and behind the layers.

    Training goes through streams of words, batch by batch. A stream begins with the memory, h and c of each layer, that
    it had at the end of the batch before; no gradient goes back there. The memory is in the state_dict, so that a run
    goes on with it. It is no buffer: DistributedDataParallel would give every rank the first's. Evaluation has its own.

    Args:
        vocabulary: how many words; the more frequent have the smaller numbers.
        cutoffs: the numbers with which clusters of the softmax begin; those beyond the vocabulary are left out.

    Attributes:
        softmax: its parameters, as torch's module has them. :meth:`losses` uses them.
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
        self.memories = dict.fromkeys((True, False), torch.zeros(2, layers, 0, width))  # by self.training
        self._initialise()

    def _initialise(self) -> None:
        bound = math.sqrt(3 / self.embedding.embedding_dim)
        nn.init.uniform_(self.embedding.weight, -bound, bound)
        for name, parameter in self.layers.named_parameters():
            if name.startswith("weight"):
                for gate in parameter.chunk(4):
                    nn.init.xavier_uniform_(gate)
            else:
                nn.init.zeros_(parameter)
                nn.init.ones_(parameter.chunk(4)[1])
        for name, parameter in self.softmax.named_parameters():
            if name.endswith("weight"):
                nn.init.xavier_normal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, words: Tensor, fresh: Tensor) -> Tensor:
        """What is known before each next word.

        Args:
            words: [streams, length].
            fresh: bool [streams]: which begin without a memory. All do that there is no memory of.

        Returns:
            [streams, length, width].
        """
        x = self.dropout(self.embedding(words.T))
        memory = self.memories[self.training]
        if memory.shape[2] != len(words):
            memory = x.new_zeros(*memory.shape[:2], len(words), memory.shape[3])
        h, c = torch.where(fresh[:, None], 0.0, memory)
        x, (h, c) = self.layers(x, (h, c))
        self.memories[self.training] = torch.stack((h, c)).detach()
        return self.dropout(x).transpose(0, 1)  # type: ignore[no-any-return]

    def losses(self, known: Tensor, words: Tensor) -> Tensor:
        """-log p of each word [n] after what is known [n, width].

            p(word) = p_0(word)                     of the first cluster, with the others' numbers as further words
            p(word) = p_0(cluster) p_cluster(word)  of another

        What torch's module computes; but there a cluster of which the batch has no word gets no gradient: an optimizer
        leaves it out of the step, and DistributedDataParallel waits for it in vain.
        """
        first, *edges = self.softmax.cutoffs
        cluster = torch.bucketize(words, torch.tensor([first, *edges[:-1]], device=words.device), right=True)
        losses = F.cross_entropy(
            self.softmax.head(known), torch.where(cluster == 0, words, first + cluster - 1), reduction="none"
        )
        for number, tail in enumerate(self.softmax.tail):
            where = (cluster == number + 1).nonzero()[:, 0]
            within = words[where] - self.softmax.cutoffs[number]
            losses = losses.index_add(0, where, F.cross_entropy(tail(known[where]), within, reduction="none"))
        return losses

    def get_extra_state(self) -> Tensor:
        """Of the state_dict: h and c [2, layers, streams, width], streams 0 before the first batch."""
        return self.memories[True]

    def set_extra_state(self, state: Tensor) -> None:
        self.memories[True] = state.to(self.embedding.weight.device)
