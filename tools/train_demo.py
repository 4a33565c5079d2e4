#!/usr/bin/env python3
"""Trains a model like demo/tales-30m from a folder of books, and makes a GGUF of it.

    train_demo.py train BOOKS OUT_HF       one .txt a book; writes a Hugging Face folder
    train_demo.py convert OUT_HF OUT.gguf --llama-cpp DIR
                                           with llama.cpp's converter (tests/references/fetch.sh
                                           llama.cpp brings it); then llama-quantize makes Q4_K_M

Needs torch, transformers, tokenizers, safetensors and gguf (tests/references/requirements.txt).
The defaults are those of the demo model: about 110 minutes on two cores for about 7.6M tokens.
demo/README.md names the books (plain text of Project Gutenberg); their licence header and
footer are cut off here.
"""
import argparse
import math
import random
import re
import sys
import time
from pathlib import Path

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Qwen3.5's pre-tokenizer, from its published tokenizer.json.
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def read_books(folder):
    """One string a book: the text between Gutenberg's marks, lines joined into paragraphs."""
    books = []
    for path in sorted(Path(folder).glob("*.txt")):
        text = path.read_text(encoding="utf-8-sig", errors="replace").replace("\r\n", "\n")
        text = re.split(r"\*\*\* ?START OF TH[^\n]*\*\*\*", text)[-1]
        text = re.split(r"\*\*\* ?END OF TH", text)[0]
        text = text.translate(str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")).replace("_", "")
        paragraphs = [" ".join(p.split()) for p in re.split(r"\n\s*\n", text)]
        text = "\n\n".join(p for p in paragraphs if p)
        if text:
            books.append(text)
    if not books:
        sys.exit(f"train_demo: no text in {folder}/*.txt")
    return books


def train_tokenizer(books, n_vocab):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(books, trainers.BpeTrainer(
        vocab_size=n_vocab, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tok


def make_config(args, n_vocab):
    from transformers.models.qwen3_5_moe.configuration_qwen3_5_moe import Qwen3_5MoeTextConfig
    return Qwen3_5MoeTextConfig(
        vocab_size=n_vocab, hidden_size=args.hidden, num_hidden_layers=args.layers,
        num_attention_heads=4, num_key_value_heads=2, head_dim=64, max_position_embeddings=4096,
        linear_num_key_heads=4, linear_num_value_heads=8, linear_key_head_dim=64, linear_value_head_dim=64,
        linear_conv_kernel_dim=4, num_experts=args.experts, num_experts_per_tok=args.top_k,
        moe_intermediate_size=args.ff, shared_expert_intermediate_size=args.shared_ff,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25,
                         "mrope_interleaved": True, "mrope_section": [4, 2, 2]},
        output_router_logits=True, router_aux_loss_coef=0.01, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=0, pad_token_id=0)


def rate(step, args):
    """Linear warm-up, then a cosine down to a twentieth of the peak."""
    if step < args.warmup:
        return args.lr * (step + 1) / args.warmup
    t = (step - args.warmup) / max(1, args.steps - args.warmup)
    return args.lr * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, t))))


def train(args):
    import torch
    from transformers import PreTrainedTokenizerFast
    from transformers.models.qwen3_5_moe.modeling_qwen3_5_moe import Qwen3_5MoeForCausalLM
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    books = read_books(args.books)
    tok = train_tokenizer(books, args.vocab)
    ids = []
    for book in books:
        ids += tok.encode(book, add_special_tokens=False).ids + [0]
    data = torch.tensor(ids, dtype=torch.long)
    n_chunk = len(data) // (args.context + 1)
    if n_chunk < args.batch:
        sys.exit(f"train_demo: {len(data)} tokens are too few for one batch")
    per_pass = n_chunk // args.batch
    args.steps = args.steps or max(1, round(args.passes * per_pass))
    model = Qwen3_5MoeForCausalLM(make_config(args, tok.get_vocab_size())).float()
    print(f"{len(books)} books, {len(data)} tokens, {sum(p.numel() for p in model.parameters())} parameters, "
          f"{args.steps} steps", flush=True)
    # Norms, biases and other vectors are not decayed.
    groups = [{"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    opt = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95))
    model.train()
    start, order, mean = time.time(), [], None
    for step in range(args.steps):
        if len(order) < args.batch:  # a new pass, chunks shifted so that they begin elsewhere
            shift = random.randrange(args.context)
            n = (len(data) - shift - 1) // args.context
            order = [shift + i * args.context for i in random.sample(range(n), n)]
        batch = torch.stack([data[i:i + args.context] for i in (order.pop() for _ in range(args.batch))])
        for group in opt.param_groups:
            group["lr"] = rate(step, args)
        out = model(input_ids=batch, labels=batch)
        opt.zero_grad(set_to_none=True)
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        loss = out.loss.item()
        mean = loss if mean is None else 0.98 * mean + 0.02 * loss
        if step % 20 == 0 or step == args.steps - 1:
            print(f"step {step}: loss {loss:.3f}, mean {mean:.3f}, {time.time() - start:.0f} s", flush=True)
    model.eval()
    model.config.output_router_logits = False
    model.save_pretrained(args.out)
    PreTrainedTokenizerFast(tokenizer_object=tok, eos_token=SPECIAL[0], pad_token=SPECIAL[0]).save_pretrained(args.out)
    print(f"wrote {args.out}\nnext: {sys.argv[0]} convert {args.out} {args.out.rstrip('/')}.gguf --llama-cpp DIR")


def convert(args):
    """llama.cpp's converter knows a tokenizer by a hash of what it makes of a sample text; a
    new vocabulary is unknown to it, so its pre-tokenizer is named here."""
    root = Path(args.llama_cpp)
    sys.path[:0] = [str(root / "gguf-py"), str(root)]
    import runpy
    from conversion import base
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen35"
    sys.argv = ["convert_hf_to_gguf.py", args.hf, "--outfile", args.out, "--outtype", args.type,
                "--model-name", args.name, "--no-mtp"]
    runpy.run_path(str(root / "convert_hf_to_gguf.py"), run_name="__main__")
    print(f"wrote {args.out}\nnext: llama-quantize {args.out} {Path(args.out).stem}-q4_k_m.gguf Q4_K_M")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(required=True)
    t = sub.add_parser("train")
    t.add_argument("books")
    t.add_argument("out")
    for name, value in dict(hidden=256, layers=8, experts=32, top_k=4, ff=128, shared_ff=256, vocab=4096, batch=8,
                            context=256, warmup=100, seed=1, steps=0).items():
        t.add_argument("--" + name.replace("_", "-"), type=int, default=value)
    t.add_argument("--lr", type=float, default=2e-3)
    t.add_argument("--passes", type=float, default=3.6, help="over the text, where --steps is not given")
    t.set_defaults(run=train)
    c = sub.add_parser("convert")
    c.add_argument("hf")
    c.add_argument("out")
    c.add_argument("--llama-cpp", required=True)
    c.add_argument("--type", default="f32")
    c.add_argument("--name", default="Sluice Tales 30M")
    c.set_defaults(run=convert)
    args = ap.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
