#!/usr/bin/env python3
"""Writes tests/unit/data/: vocabularies of a few hundred tokens cut from GGUF files, and
tokenizer_golden.h: texts with the ids that Hugging Face `tokenizers` gives them.

usage: gen_tokenizer_golden.py BPE.gguf SPM.gguf
"""
import os
import sys

import gguf
from run_tokenizers import Vocab, hf_tokenizer, text_points, text_scripts

import random

OUT = os.path.join(os.path.dirname(__file__), "../unit/data")
TEXTS = ["", "Hello world", "hello  world\n\n  x", " leading and trailing ", "don't you'LL we'Ve I'm", "1234567890 12 3",
         "a\tb\r\nc\n\n\nd   \n e", "naïve café — “quoted” ½ ٣٤", "日本語のテキスト。中文字符！한국어", "emoji 🚀👩‍👩‍👧 done", "e\u0301 \u0915\u094d\u0937",
         "<|im_start|>user\nhi<|im_end|>", "<s>x</s> y", "int main(void) { return 0; }\n", "\u2581lower\u2581one", "aaaaaaaaaaaaaaaaaaaaaaaa"]


def cut(src, dst, pre=None):
    r = gguf.GGUFReader(src)
    w = gguf.GGUFWriter(dst, "llama")
    for key, f in r.fields.items():
        if not key.startswith("tokenizer.") or key.startswith("tokenizer.chat_template"):
            continue
        kind = f.types[0]
        value = f.contents()
        if key == "tokenizer.ggml.pre" and pre:
            value = pre
        if kind == gguf.GGUFValueType.ARRAY:
            w.add_array(key, value)
        else:
            w.add_key_value(key, value, kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def c_string(b):
    return '"' + "".join(f"\\{c:03o}" if c < 32 or c > 126 or c in b'"\\?' else chr(c) for c in b) + '"'


def main():
    bpe, spm = sys.argv[1:3]
    os.makedirs(OUT, exist_ok=True)
    files = [("bpe.gguf", bpe, "qwen35"), ("bpe-llama3.gguf", bpe, "llama-bpe"), ("bpe-gpt4o.gguf", bpe, "gpt-4o"),
             ("bpe-deepseek3.gguf", bpe, "deepseek-v3"), ("spm.gguf", spm, None)]
    rng = random.Random(7)
    texts = TEXTS + [text_scripts(rng, 600), text_points(rng, 300)]
    out = ["/* Made by tests/references/gen_tokenizer_golden.py; do not edit. */",
           "static const char *const golden_text[] = {"]
    out += ["    " + c_string(t.encode()) + "," for t in texts]
    out += ["};", "static const size_t golden_bytes[] = {" + ", ".join(str(len(t.encode())) for t in texts) + "};",
            f"enum {{ N_GOLDEN = {len(texts)} }};"]
    rows = []
    for name, src, pre in files:
        path = os.path.join(OUT, name)
        if pre in (None, "qwen35"):
            cut(src, path, pre)
        v = Vocab(src)
        v.pre = pre or v.pre
        tok = hf_tokenizer(v)
        ids = [tok.encode(t, add_special_tokens=False).ids for t in texts]
        sym = "ids_" + name.split(".")[0].replace("-", "_")
        out.append(f"static const int32_t {sym}[] = {{ /* a count before the ids of each text */")
        flat = [x for one in ids for x in [len(one)] + one]
        out += ["    " + " ".join(f"{x}," for x in flat[i:i + 18]) for i in range(0, len(flat), 18)]
        out.append("};")
        rows.append((pre, sym))
    out.append("")
    open(os.path.join(OUT, "tokenizer_golden.h"), "w").write("\n".join(out))


if __name__ == "__main__":
    main()
