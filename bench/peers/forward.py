"""PyTorch's side of the pytorch-forward comparison: a backbone of transformers with mean pooling, in eager mode.

First prints the vectors [rows, hidden size] as JSON, then the version. Then runs one batch per line of stdin, and prints the
milliseconds of each. Exits when stdin closes.
Usage: python forward.py MODEL_DIR IDS_FILE
"""

import json
import sys
import time

import torch
from transformers import AutoModel


def main(directory, ids_file):
    model = AutoModel.from_pretrained(directory).float().eval()
    with open(ids_file) as file:
        ids = torch.tensor(json.load(file))
    mask = torch.ones_like(ids)

    @torch.inference_mode()
    def forward():
        return model(input_ids=ids, attention_mask=mask).last_hidden_state.mean(1)

    print(json.dumps(forward().tolist()))
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        forward()
        print(1000 * (time.perf_counter() - start), flush=True)


main(*sys.argv[1:])
