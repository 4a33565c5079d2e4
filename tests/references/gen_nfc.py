#!/usr/bin/env python3
"""Writes src/text/nfc_data.h: what Unicode normal form C needs, from Python's unicodedata, less what the
normalizer of Hugging Face `tokenizers` does not know yet (it orders marks by an older version of Unicode).

With --check, compares instead of writing, and checks that normalizer's result for every code point.

usage: gen_nfc.py [--check] FILE
"""
import sys
import unicodedata as ud

from tokenizers import normalizers

NFC = normalizers.NFC()


def combining(c):
    """The canonical combining class that tokenizers goes by: 0 where a mark is not put behind one of class 1."""
    k = ud.combining(chr(c))
    if k > 1 and NFC.normalize_str("a" + chr(c) + "\u0334") != ud.normalize("NFC", "a" + chr(c) + "\u0334"):
        return 0
    return k


def main():
    check = "--check" in sys.argv
    path = [a for a in sys.argv[1:] if not a.startswith("--")][0]
    dec, classes = [], []
    prev = 0
    for c in range(0x110000):
        if 0xD800 <= c <= 0xDFFF:
            continue
        d = ud.decomposition(chr(c))
        if d and not d.startswith("<"):
            parts = [int(x, 16) for x in d.split()]
            composes = len(parts) == 2 and ud.normalize("NFC", chr(c)) == chr(c)
            dec.append((c, parts[0], parts[1] if len(parts) > 1 else 0, composes))
        k = combining(c)
        if k != prev:
            classes.append((c, k))
            prev = k
    pairs = sorted((a, b, i) for i, (c, a, b, composes) in enumerate(dec) if composes)
    out = ["/* Made by tests/references/gen_nfc.py; do not edit.  Unicode " + ud.unidata_version + ". */",
           "/* Canonical decompositions of one step {code point, first, second or 0}, ascending; Hangul apart. */",
           f"#define NFC_N_DECOMPOSE {len(dec)}",
           "static const uint32_t nfc_decompose[NFC_N_DECOMPOSE][3] = {"]
    row = [f"{{0x{c:x}, 0x{a:x}, 0x{b:x}}}," for c, a, b, _ in dec]
    out += ["    " + " ".join(row[i:i + 4]) for i in range(0, len(row), 4)]
    out += ["};", "/* Those that compose: indices of the above, by first and second. */",
            f"#define NFC_N_COMPOSE {len(pairs)}", "static const uint16_t nfc_compose[NFC_N_COMPOSE] = {"]
    row = [f"{i}," for _, _, i in pairs]
    out += ["    " + " ".join(row[i:i + 16]) for i in range(0, len(row), 16)]
    out += ["};", "/* Runs of one canonical combining class: first << 8 | class, ascending. */",
            f"#define NFC_N_CLASS {len(classes)}", "static const uint32_t nfc_class[NFC_N_CLASS] = {"]
    row = [f"0x{c << 8 | k:08x}," for c, k in classes]
    out += ["    " + " ".join(row[i:i + 9]) for i in range(0, len(row), 9)]
    out += ["};", ""]
    text = "\n".join(out)
    if not check:
        open(path, "w").write(text)
        return 0
    bad = [hex(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF
           and NFC.normalize_str(chr(c)) != ud.normalize("NFC", chr(c))]
    same = open(path).read() == text
    print("nfc data:", "as made" if same else "DIFFERS", "; code points that tokenizers normalises otherwise:", bad)
    return 0 if same and not bad else 1


if __name__ == "__main__":
    sys.exit(main())
