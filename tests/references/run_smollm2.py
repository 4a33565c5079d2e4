#!/usr/bin/env python3
"""A real chat model: SmolLM2-135M-Instruct (Q4_1, llama architecture) against transformers.

* --act f32: log-probabilities of every position within 1e-3 of the dequantised model in
  transformers, float32.
* --act q8: within 0.7 of them in the reference's top 5 (llama.cpp's int8 products are off by
  0.3 to 0.7 at worst there).
* sluice run answers a question sensibly.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from transformers import LlamaConfig, LlamaForCausalLM

SLUICE = os.path.join(os.environ.get("B", "build"), "sluice")
FOLDER = os.path.join(os.environ["REFS"], "smollm2")
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL = os.path.join(FOLDER, GGUF)
PROMPTS = ["What is the capital of France?", "Write a haiku about rain.", "List three primary colours."]
passed = failed = 0


def check(what, ok, detail=""):
    global passed, failed
    passed, failed = passed + ok, failed + (not ok)
    print(("ok      " if ok else "FAILED  ") + what, detail)


def tokenize(text):
    out = subprocess.run([SLUICE, "tokenize", "-m", MODEL, "--ids", "--no-bos"], input=text.encode(),
                         capture_output=True, check=True)
    return [int(x) for x in out.stdout.split()]


def log_probs(ids, act):
    with tempfile.TemporaryDirectory() as d:
        np.array(ids, np.int32).tofile(d + "/t")
        subprocess.run([SLUICE, "logits", "-q", "-m", MODEL, "--tokens", d + "/t", "--out", d + "/o", "--act", act],
                       check=True)
        logits = torch.from_numpy(np.fromfile(d + "/o", np.float32).reshape(len(ids), -1))
    return torch.log_softmax(logits.double(), -1)


NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}


def reference():
    """The file's weights, dequantised, in transformers' model."""
    reader = GGUFReader(MODEL)
    hp = {k[6:]: v.contents() for k, v in reader.fields.items() if k.startswith("llama.")}
    n_head, n_kv, n_embd = hp["attention.head_count"], hp["attention.head_count_kv"], hp["embedding_length"]
    weights = {}
    for t in reader.tensors:
        w = dequantize(t.data, t.tensor_type).astype(np.float32)
        if t.name in ("token_embd.weight", "output_norm.weight"):
            weights["model.embed_tokens.weight" if t.name[0] == "t" else "model.norm.weight"] = w
            continue
        _, layer, what, _ = t.name.split(".")
        if what in ("attn_q", "attn_k"):  # the converter interleaved the halves of each head; undo that
            h = n_head if what == "attn_q" else n_kv
            w = w.reshape(h, w.shape[0] // h // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
        weights[f"model.layers.{layer}.{NAMES[what]}.weight"] = w
    config = LlamaConfig(
        hidden_size=n_embd, intermediate_size=hp["feed_forward_length"], num_hidden_layers=hp["block_count"],
        num_attention_heads=n_head, num_key_value_heads=n_kv, vocab_size=len(weights["model.embed_tokens.weight"]),
        rms_norm_eps=hp["attention.layer_norm_rms_epsilon"], tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": hp["rope.freq_base"]})
    model = LlamaForCausalLM(config)
    state = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and missing == ["lm_head.weight"], (missing, unexpected)
    model.tie_weights()
    return model.float().eval()


if not os.path.exists(MODEL):
    print(f"{MODEL} is not there")
    sys.exit(77)
torch.set_num_threads(os.cpu_count() or 1)
model = reference()
for prompt in PROMPTS:
    ids = tokenize(f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n")
    with torch.no_grad():
        want = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
    diff = (log_probs(ids, "f32") - want).abs().max().item()
    check(f"f32 log-probabilities of {len(ids)} positions: {prompt}", diff < 1e-3, f"{diff:.2e}")
    top = want[-1].topk(5).indices
    diff = (log_probs(ids, "q8")[-1][top] - want[-1][top]).abs().max().item()
    check(f"q8 top 5: {prompt}", diff < 0.7, f"{diff:.3f}")

answer = subprocess.run([SLUICE, "run", "-q", "-m", MODEL, "-p", PROMPTS[0], "-n", "24", "--temp", "0", "--act", "f32"],
                        capture_output=True, text=True, check=True).stdout
check("run: " + PROMPTS[0], "Paris" in answer, repr(answer))
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
