"""PyTorch's side of the training-step comparison: single-task PROPETL on the bundled backbone, in eager mode.

Runs one step per line of stdin, and prints the milliseconds of each. Exits when stdin closes.
Usage: python training_step.py MODEL_DIR
"""

import sys
import time

import torch
from transformers import BertModel

EXAMPLES, LENGTH, LABELS, BOTTLENECK, DENSITY = 32, 32, 2, 32, 0.5


class TopShare(torch.autograd.Function):
    """A mask with 1 for the largest |scores|. Straight-through gradient, with the sign of the score."""

    @staticmethod
    def forward(ctx, scores):
        ctx.save_for_backward(scores)
        sizes = scores.abs()
        zeros = int((1 - DENSITY) * scores.numel())
        return (sizes > sizes.flatten().kthvalue(zeros).values).float()

    @staticmethod
    def backward(ctx, gradient):
        (scores,) = ctx.saved_tensors
        return gradient * scores.sign()


class Prototype(torch.nn.Module):
    """The adapter that all layers share."""

    def __init__(self, hidden):
        super().__init__()
        self.down = torch.nn.Linear(hidden, BOTTLENECK)
        self.up = torch.nn.Linear(BOTTLENECK, hidden)


class MaskedOutput(torch.nn.Module):
    """A layer's output block with the prototype, under the layer's mask, after its dense layer."""

    def __init__(self, block, prototype):
        super().__init__()
        self.block, self.prototype = block, [prototype]
        self.down_scores = torch.nn.Parameter(torch.empty_like(prototype.down.weight))
        self.up_scores = torch.nn.Parameter(torch.empty_like(prototype.up.weight))
        for scores in (self.down_scores, self.up_scores):
            torch.nn.init.kaiming_uniform_(scores, a=5**0.5)

    def forward(self, hidden_states, input_tensor):
        (prototype,) = self.prototype
        f = self.block.dense(hidden_states)
        h = self.block.LayerNorm(f + input_tensor)
        down = prototype.down.weight * TopShare.apply(self.down_scores)
        up = prototype.up.weight * TopShare.apply(self.up_scores)
        d = torch.relu(torch.nn.functional.linear(h, down, prototype.down.bias))
        u = torch.nn.functional.linear(d, up, prototype.up.bias)
        return self.block.LayerNorm(u + f + input_tensor)


def main(directory):
    torch.manual_seed(1)
    backbone = BertModel.from_pretrained(directory, add_pooling_layer=False).float().eval()
    backbone.requires_grad_(False)
    hidden = backbone.config.hidden_size
    prototype = Prototype(hidden)
    for layer in backbone.encoder.layer:
        layer.output = MaskedOutput(layer.output, prototype)
    head = torch.nn.Linear(hidden, LABELS)
    trained = [p for p in [*backbone.parameters(), *prototype.parameters(), *head.parameters()] if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.1)
    ids = torch.randint(backbone.config.vocab_size, (EXAMPLES, LENGTH))
    mask = torch.ones_like(ids)
    labels = torch.randint(LABELS, (EXAMPLES,))

    def step():
        optimiser.zero_grad(set_to_none=True)
        states = backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        loss = torch.nn.functional.cross_entropy(head(states.mean(1)), labels)
        loss.backward()
        optimiser.step()

    step()
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(1000 * (time.perf_counter() - start), flush=True)


main(sys.argv[1])
