"""PyTorch's side of the comparison: the backbone with one LoRA adapter per task, mixed in a batch by PEFT's adapter_names.

Uses the messages of protocol.ts. A batch has as many texts as there are clients, in their given order.
Usage: python peft_adapters.py MODEL_DIR KINDS float32|bfloat16
KINDS is a safetensors file with the tensors of each kind of task: `KIND.layer.LAYER.query.A` and so on,
`KIND.head.weight` and `KIND.head.bias`. Task i has the kind i mod N.
"""

import json
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from transformers import AutoModel, AutoTokenizer


class Peer:
    def __init__(self, model_dir, kinds, dtype):
        with safe_open(kinds, "pt") as file:
            facts = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        self.tensors, self.kinds = tensors, int(facts["kinds"])
        self.config = LoraConfig(
            r=int(facts["rank"]), lora_alpha=float(facts["alpha"]), target_modules=["query", "value"], lora_dropout=0.0
        )
        self.tokenizer = AutoTokenizer.from_pretrained(model_dir)
        self.model = AutoModel.from_pretrained(model_dir, add_pooling_layer=False, dtype=dtype)
        self.tasks = 0

    def add_task(self):
        """Adds a task. Its weights keep the type of the backbone; by default PEFT would convert bfloat16 to float32."""
        name = f"task{self.tasks}"
        if self.tasks == 0:
            self.model = get_peft_model(self.model, self.config, adapter_name=name, autocast_adapter_dtype=False)
            self.model.eval()
        else:
            self.model.add_adapter(name, self.config, autocast_adapter_dtype=False)
        kind = self.tasks % self.kinds
        with torch.no_grad():
            for number, layer in enumerate(self.model.get_base_model().encoder.layer):
                for part in ("query", "value"):
                    module = getattr(layer.attention.self, part)
                    for letter, parts in (("A", module.lora_A), ("B", module.lora_B)):
                        parts[name].weight.copy_(self.tensors[f"{kind}.layer.{number}.{part}.{letter}"])
                        parts[name].eval()
        self.tasks += 1

    def logits(self, texts):
        encoded = self.tokenizer(
            [text["text"] if "textPair" not in text else (text["text"], text["textPair"]) for text in texts],
            padding=True,
            truncation=True,
            return_tensors="pt",
        )
        names = [f"task{text['task']}" for text in texts]
        with torch.inference_mode():
            hidden = self.model(**encoded, adapter_names=names).last_hidden_state
            mask = encoded["attention_mask"][:, :, None].to(hidden.dtype)
            pooled = ((hidden * mask).sum(1) / mask.sum(1)).float()
            heads = (text["task"] % self.kinds for text in texts)
            return [
                torch.addmv(self.tensors[f"{kind}.head.bias"], self.tensors[f"{kind}.head.weight"], row).tolist()
                for kind, row in zip(heads, pooled)
            ]

    def load(self, texts, size):
        latencies = []
        start = time.perf_counter()
        for first in range(0, len(texts), size):
            batch = texts[first : first + size]
            sent = time.perf_counter()
            self.logits(batch)
            latencies += [1000 * (time.perf_counter() - sent)] * len(batch)
        return {"seconds": time.perf_counter() - start, "latenciesMs": latencies}


def send(response):
    print(json.dumps(response), flush=True)


def main(model_dir, kinds, dtype):
    peer = Peer(model_dir, kinds, {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype])
    for line in sys.stdin:
        request = json.loads(line)
        if "grow" in request:
            while peer.tasks < request["grow"]:
                peer.add_task()
                send({"tasks": peer.tasks})
        elif "logits" in request:
            send({"logits": peer.logits(request["logits"])})
        else:
            send(peer.load(request["load"], request["clients"]))


main(*sys.argv[1:])
