#!/usr/bin/env python3
"""Writes src/text/unicode_data.h: the character classes that the tokenizers' published regexes use.

The classes are asked of Hugging Face `tokenizers` itself (its regex engine, Oniguruma, with the
Unicode version built into it), so that a pre-tokenizer here splits where the reference splits,
whatever Unicode version a system library happens to have.

usage: gen_unicode.py [--check] FILE      (--check compares instead of writing)
"""
import sys

from tokenizers import Regex, pre_tokenizers

CLASSES = ["OTHER", "LU", "LL", "LT", "LM", "LO", "M", "N", "P", "S", "WS"]
PATTERNS = {"LU": r"\p{Lu}+", "LL": r"\p{Ll}+", "LT": r"\p{Lt}+", "LM": r"\p{Lm}+", "LO": r"\p{Lo}+",
            "M": r"\p{M}+", "N": r"\p{N}+", "P": r"\p{P}+", "S": r"\p{S}+", "WS": r"\s+"}


def members(pattern, cps):
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    for a in range(0, len(cps), 4096):
        for piece, _ in split.pre_tokenize_str("".join(map(chr, cps[a:a + 4096]))):
            yield from map(ord, piece)


def main():
    check = "--check" in sys.argv
    path = [a for a in sys.argv[1:] if not a.startswith("--")][0]
    cps = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
    of = {}
    for name, pattern in PATTERNS.items():
        for c in members(pattern, cps):
            assert c not in of, (hex(c), name, of[c])
            of[c] = name
    runs, prev = [], None
    for c in range(0x110000):
        k = CLASSES.index(of.get(c, "OTHER"))
        if k != prev:
            runs.append(c << 8 | k)
            prev = k
    out = ["/* Made by tests/references/gen_unicode.py; do not edit.", " *",
           " * Runs of code points of one class: first << 8 | enum unicode_class, ascending;",
           " * a run ends where the next begins.  Unicode 16, as in Hugging Face tokenizers. */",
           f"#define UNICODE_N_RUNS {len(runs)}",
           "static const uint32_t unicode_runs[UNICODE_N_RUNS] = {"]
    for a in range(0, len(runs), 9):
        out.append("    " + " ".join(f"0x{r:08x}," for r in runs[a:a + 9]))
    out += ["};", ""]
    text = "\n".join(out)
    if check:
        same = open(path).read() == text
        print("unicode classes:", "as in tokenizers" if same else "DIFFER from tokenizers")
        return 0 if same else 1
    open(path, "w").write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
