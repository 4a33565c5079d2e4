#!/usr/bin/env python3
"""Compares sluice's tokenizers with references:

  1. every ggml-vocab-*.gguf.inp/.out pair of llama.cpp that is byte-level BPE or SentencePiece;
  2. Hugging Face `tokenizers`, built from the vocabulary, merges and published regex of those files (and
     of the models in --golden), on text of many scripts, code, odd white space and random bytes.

llama.cpp's files lie where fetch.sh put them, or in --llama-cpp.

usage: run_tokenizers.py [--tool TOKENIZE_TOOL] [--llama-cpp DIR] [--golden DIR] [--bytes N] [--seed N]
"""
import argparse
import concurrent.futures
import contextlib
import glob
import io
import os
import random
import struct
import subprocess
import sys

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
          r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
          r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK3 = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
             r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
             r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
REGEX = {
    "gpt-2": [GPT2], "mpt": [GPT2], "olmo": [GPT2],
    "llama-bpe": [CL100K.replace("DIGITS", "{1,3}")], "dbrx": [CL100K.replace("DIGITS", "{1,3}")],
    "glm4": [CL100K.replace("DIGITS", "{1,3}")], "qwen2": [CL100K.replace("DIGITS", "")], "qwen35": [QWEN35],
    "gpt-4o": [O200K], "tekken": [TEKKEN], "deepseek-v3": DEEPSEEK3,
    "smollm": [r"\p{N}", GPT2], "starcoder": [r"\p{N}", GPT2], "refact": [r"\p{N}", GPT2], "command-r": [r"\p{N}", GPT2],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
}
IGNORE_MERGES = {"llama-bpe", "glm4", "tekken"}
NFC = {"qwen2": 151643, "qwen35": 200000, "mpt": 50254, "olmo": 50254}


# ---- text -------------------------------------------------------------------

def text_english(rng, n):
    files = sorted(glob.glob("/usr/share/common-licenses/*")) + sorted(glob.glob("/usr/share/doc/*/copyright"))[:200]
    return from_files(rng, n, files)


def text_code(rng, n):
    base = os.path.dirname(os.__file__)
    return from_files(rng, n, sorted(glob.glob(base + "/*.py")) + sorted(glob.glob("/usr/include/*.h")))


def from_files(rng, n, files):
    out, size = [], 0
    rng.shuffle(files)
    for f in files:
        if size >= n:
            break
        try:
            out.append(open(f, encoding="utf8").read())
        except (UnicodeDecodeError, OSError):
            continue
        size += len(out[-1])
    return "".join(out)[:n]


SCRIPTS = [(0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x531, 0x58F), (0x5D0, 0x5EA),
           (0x620, 0x64A), (0x904, 0x939), (0x985, 0x9B9), (0xE01, 0xE3A), (0xE81, 0xEC4), (0x10D0, 0x10FA),
           (0x1E00, 0x1EFF), (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F64F),
           (0x13A0, 0x13F5), (0x1680, 0x169C), (0x10400, 0x1044F), (0x20000, 0x20100), (0x300, 0x36F), (0x93E, 0x94D),
           (0x1100, 0x11FF), (0xFF01, 0xFF5E), (0x2460, 0x24FF), (0x660, 0x669), (0x2150, 0x218B)]
JOINTS = [" ", " ", " ", " ", "  ", "\n", "\r\n", "\t", ", ", ". ", "'", "'s ", "'T", "’s", "'LL ", "'\u017f", "!?", "...", " — ", "\u00a0",
          "\u3000", "\u200b", "\u2028", "\x85", "\x00", "\x1b", "/", "//\n", "_", "-", "=", "<", "</", ">", "\"", "(", ")\n\n", "\n\n\n ",
          "   \n", " \n \n", "    ", "1", "12", "123", "1234", "٣٤٥", "½", "①②③④", "\ufeff", "\ufffd"]


def text_scripts(rng, n):
    out, size = [], 0
    while size < n:
        lo, hi = rng.choice(SCRIPTS)
        word = "".join(chr(rng.randint(lo, hi)) for _ in range(rng.randint(1, 9)))
        if rng.random() < 0.1:
            word += chr(rng.randint(0x300, 0x36F)) + "".join(chr(rng.randint(0x41, 0x7A)) for _ in range(2))
        if rng.random() < 0.1:
            word = word.upper()
        word += rng.choice(JOINTS)
        out.append(word)
        size += len(word.encode())
    return "".join(out)


def text_points(rng, n):
    out = []
    for _ in range(n // 3):
        c = rng.randint(0, rng.choice([0x7F, 0x7FF, 0xFFFF, 0x10FFFF]))
        out.append(" " if 0xD800 <= c <= 0xDFFF else chr(c))
    return "".join(out)


def text_bytes(rng, n):
    return rng.randbytes(n)


# ---- references ----------------------------------------------------------------

class Vocab:
    def __init__(self, path):
        r = gguf.GGUFReader(path)

        def strings(key):
            f = r.fields.get(key)
            return [bytes(f.parts[i]).decode("utf8", "surrogateescape") for i in f.data] if f else []

        def value(key, default=None):
            f = r.fields.get(key)
            return f.contents() if f else default
        self.path = path
        self.model = value("tokenizer.ggml.model")
        self.pre = value("tokenizer.ggml.pre", "default")
        self.tokens = strings("tokenizer.ggml.tokens")
        self.merges = strings("tokenizer.ggml.merges")
        self.scores = value("tokenizer.ggml.scores")
        self.types = value("tokenizer.ggml.token_type")
        self.space_prefix = value("tokenizer.ggml.add_space_prefix", True)
        self.unk = value("tokenizer.ggml.unknown_token_id", 0)
        self.name = value("general.name", "")


def hf_tokenizer(v):
    """The tokenizer that v describes, as Hugging Face would run it; None if it is not one this script knows."""
    ids = {t: i for i, t in enumerate(v.tokens)}
    if v.model == "gpt2":
        if v.pre not in REGEX:
            return None
        merges = []
        for m in v.merges:
            k = m.index(" ", 1)
            merges.append((m[:k], m[k + 1:]))
        tok = Tokenizer(models.BPE(vocab=ids, merges=merges, ignore_merges=v.pre in IGNORE_MERGES))
        if v.pre in NFC and len(v.tokens) >= NFC[v.pre]:
            tok.normalizer = normalizers.NFC()
        tok.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(x), "isolated") for x in REGEX[v.pre]]
            + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    elif v.model == "llama":
        merges = []
        for t, i in ids.items():
            if v.types[i] not in (1, 4):
                continue
            for k in range(1, len(t)):
                a, b = t[:k], t[k:]
                if a in ids and b in ids:
                    merges.append((v.scores[i], len(a), len(b), a, b))
        merges.sort(key=lambda m: m[:3], reverse=True)
        tok = Tokenizer(models.BPE(vocab=ids, merges=[m[3:] for m in merges], unk_token=v.tokens[v.unk], fuse_unk=True,
                                   byte_fallback=True))
        steps = [normalizers.Prepend("▁")] if v.space_prefix else []
        tok.normalizer = normalizers.Sequence(steps + [normalizers.Replace(" ", "▁")])
    else:
        return None
    add = [AddedToken(t, special=v.types[i] != 4, normalized=False) for i, t in enumerate(v.tokens) if v.types[i] in (2, 3, 4) and t]
    tok.add_special_tokens([a for a in add if a.special])
    tok.add_tokens([a for a in add if not a.special])
    return tok


def sluice_ids(tool, path, data, *flags):
    p = subprocess.run([tool, path, "--no-bos", *flags], input=data, capture_output=True)
    if p.returncode:
        raise RuntimeError(p.stderr.decode().strip())
    return list(struct.unpack(f"<{len(p.stdout) // 4}i", p.stdout))


def first_difference(v, got, want):
    k = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))

    def show(ids):
        return [v.tokens[i] for i in ids[max(0, k - 4):k + 6]]
    return f"at id {k} of {len(got)}/{len(want)}: got {show(got)!r}, want {show(want)!r}"


# ---- checks ----------------------------------------------------------------------

def check_pairs(tool, v):
    inp = open(v.path + ".inp", encoding="utf8", newline="").read().split("\n__ggml_vocab_test__\n")
    out = open(v.path + ".out", encoding="utf8").read().split("\n")
    bad = 0
    for text, ids in zip(inp, out):
        want = [int(x) for x in ids.split()]
        got = sluice_ids(tool, v.path, text.encode(), "--no-special")
        if got != want:
            bad += 1
            print(f"    {text!r}: {first_difference(v, got, want)}")
    print(f"{os.path.basename(v.path)}: {len(inp) - bad} of {len(inp)} pairs equal")
    return bad


def check_texts(tool, v, texts):
    tok = hf_tokenizer(v)
    if tok is None:
        return 0
    bad = 0
    for kind, data in texts:
        text = data.decode("utf8", "replace")
        want = tok.encode(text, add_special_tokens=False).ids
        got = sluice_ids(tool, v.path, data)
        if got != want:
            bad += 1
            print(f"    {kind}: {first_difference(v, got, want)}")
    name = os.path.basename(v.path) if "ggml-vocab" in v.path else v.path.split("/")[-2] + "/" + os.path.basename(v.path)
    print(f"{name} ({v.pre}): {len(texts) - bad} of {len(texts)} texts equal to tokenizers")
    return bad


def check_file(job):
    """The number of differences for one vocabulary, and what there is to say of them; None: of another kind."""
    tool, f, texts = job
    v = Vocab(f)
    if v.model not in ("gpt2", "llama", "gemma4"):
        return None
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        bad = check_pairs(tool, v) if os.path.exists(f + ".inp") else 0
        bad += check_texts(tool, v, texts)
    return bad, out.getvalue()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--tool", default=os.environ.get("B", "build") + "/tests/references/tokenize_tool")
    ap.add_argument("--llama-cpp", default=os.environ.get("REFS", "build/refs") + "/llama.cpp")
    ap.add_argument("--golden", default="../shared/golden", help="a directory of NAME/model.gguf, if there is one")
    ap.add_argument("--only", help="part of a file name")
    ap.add_argument("--bytes", type=int, default=200_000, help="of each kind of text")
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    rng = random.Random(a.seed)
    print(f"seed {a.seed}")
    texts = [("english", text_english(rng, a.bytes).encode()), ("code", text_code(rng, a.bytes).encode()),
             ("scripts", text_scripts(rng, a.bytes).encode()), ("code points", text_points(rng, a.bytes).encode()),
             ("bytes", text_bytes(rng, a.bytes // 4))]
    kinds, jobs = set(), []
    for f in sorted(glob.glob(os.path.join(a.llama_cpp, "models", "ggml-vocab-*.gguf"))):
        if not a.only or a.only in f:
            jobs.append((a.tool, f, texts))
    for f in sorted(glob.glob(os.path.join(a.golden, "*", "model.gguf"))):
        v = Vocab(f) if not a.only or a.only in f else None
        if v and (v.model, v.pre, v.space_prefix) not in kinds:  # the small models share their vocabularies
            kinds.add((v.model, v.pre, v.space_prefix))
            jobs.append((a.tool, f, texts))
    bad = seen = 0
    with concurrent.futures.ProcessPoolExecutor() as pool:
        for r in pool.map(check_file, jobs):
            if r:
                seen += 1
                bad += r[0]
                print(r[1], end="", flush=True)
    print("tokenizers:", "all equal" if not bad else f"{bad} differ", f"({seen} vocabularies)")
    return 1 if bad or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
