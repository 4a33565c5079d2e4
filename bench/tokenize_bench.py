#!/usr/bin/env python3
"""Tokenizer speed: sluice against Hugging Face `tokenizers` and llama.cpp, on one core, the same text, in turn.

usage: tokenize_bench.py --llama-cpp DIR [--tool TOKENIZE_TOOL] [--peer PEER_LLAMA_TOKENIZE] [--bytes N]
       [--vocab NAME ...]            (python with `tokenizers` and `gguf`, PYTHONPATH=tests/references)
"""
import argparse
import os
import random
import re
import subprocess
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from run_tokenizers import Vocab, hf_tokenizer, text_code, text_english, text_scripts  # noqa: E402


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--llama-cpp", required=True)
    ap.add_argument("--tool", default="build/tests/references/tokenize_tool")
    ap.add_argument("--peer")
    ap.add_argument("--bytes", type=int, default=2_000_000)
    ap.add_argument("--repeat", type=int, default=3)
    ap.add_argument("--vocab", nargs="*", default=["gpt-2", "llama-bpe", "qwen2", "qwen35", "llama-spm"])
    a = ap.parse_args()
    rng = random.Random(1)
    texts = [("english", text_english(rng, a.bytes)), ("code", text_code(rng, a.bytes)), ("scripts", text_scripts(rng, a.bytes))]
    print(f"{'vocabulary':12} {'text':8} {'sluice':>8} {'tokenizers':>11} {'llama.cpp':>10}   MB/s, best of {a.repeat}")
    for name in a.vocab:
        path = f"{a.llama_cpp}/models/ggml-vocab-{name}.gguf"
        tok = hf_tokenizer(Vocab(path))
        for kind, text in texts:
            data = text.encode()
            r = subprocess.run([a.tool, path, "--bench", str(a.repeat), "--no-bos", "--no-special"], input=data,
                               capture_output=True, check=True)
            ours = float(re.match(r"[\d.]+", r.stderr.decode()).group())
            best = 1e30
            for _ in range(a.repeat):
                t = time.perf_counter()
                tok.encode(text, add_special_tokens=False)
                best = min(best, time.perf_counter() - t)
            peer = ""
            if a.peer:
                p = subprocess.run([a.peer, path, str(a.repeat)], input=data, capture_output=True, check=True)
                peer = p.stdout.decode().split()[0]
            print(f"{name:12} {kind:8} {ours:8.2f} {len(data) / best / 1e6:11.2f} {peer:>10}", flush=True)


if __name__ == "__main__":
    main()
