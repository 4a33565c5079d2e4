#!/usr/bin/env python3
"""Compares our chat templates with jinja2's rendering of the models' own, for the templates that llama.cpp
carries.  A template that is not known counts as skipped; those in APPROXIMATE are known to differ.

usage: run_templates.py [--tool TOKENIZE_TOOL] [--llama-cpp DIR] [-v]
"""
import argparse
import ast
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

# What our forms leave out: default system messages with dates or tools, reasoning of earlier turns.
APPROXIMATE = ["Mistral-Small-3.2", "Ministral-3", "Devstral", "Nemotron", "tool_use", "llama-cpp-deepseek-r1",
               "FusionNet", "vigogne", "Phi-3-"]
BOS, EOS = "<s>", "</s>"


def render(src, msgs):
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])

    def fail(msg):
        raise jinja2.exceptions.TemplateError(msg)
    env.globals.update(raise_exception=fail, strftime_now=lambda f: "26 Jul 2024")
    env.filters["tojson"] = lambda x, **_: json.dumps(x, ensure_ascii=False)
    return env.from_string(src).render(messages=msgs, add_generation_prompt=True, bos_token=BOS, eos_token=EOS)


def inline_templates(path):
    """The templates that stand as C++ string literals in llama.cpp's test."""
    if not os.path.exists(path):
        return
    text = open(path, encoding="utf8").read()
    for i, m in enumerate(re.finditer(r'/\* \.name= \*/ "([^"]*)",\s*/\* \.template_str= \*/ ((?:(?:u8)?"(?:[^"\\]|\\.)*"\s*)+),', text)):
        parts = re.findall(r'"((?:[^"\\]|\\.)*)"', m.group(2))
        yield m.group(1), "".join(ast.literal_eval('"' + p.replace("\n", "\\n") + '"') for p in parts)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--tool", default=os.environ.get("B", "build") + "/tests/references/tokenize_tool")
    ap.add_argument("--llama-cpp", default=os.environ.get("REFS", "build/refs") + "/llama.cpp")
    ap.add_argument("-v", action="store_true")
    a = ap.parse_args()
    vocab = os.path.join(a.llama_cpp, "models", "ggml-vocab-llama-spm.gguf")
    templates = [(os.path.basename(f), open(f, encoding="utf8").read())
                 for f in sorted(glob.glob(os.path.join(a.llama_cpp, "models/templates/*.jinja")))]
    templates += inline_templates(os.path.join(a.llama_cpp, "tests/test-chat-template.cpp"))
    s, u = {"role": "system", "content": "Be brief."}, {"role": "user", "content": " Who are you? "}
    r, u2 = {"role": "assistant", "content": "I am one."}, {"role": "user", "content": "Why?"}
    same = skipped = failed = 0
    for name, src in templates:
        for msgs in ([u], [s, u], [u, r, u2], [s, u, r, u2]):
            try:
                want = render(src, msgs)
            except Exception:
                continue
            with tempfile.NamedTemporaryFile("w", encoding="utf8") as f:
                f.write(src)
                f.flush()
                p = subprocess.run([a.tool, vocab, "--template", f.name] + [x for m in msgs for x in (m["role"], m["content"])],
                                   capture_output=True)
            if p.returncode == 3:
                skipped += 1
                if a.v:
                    print("unknown:", name)
                break
            want = want.removeprefix(BOS)
            got = p.stdout.decode()
            if got == want:
                same += 1
            elif not any(x in name for x in APPROXIMATE):
                failed += 1
                print(f"{name}:\n    got  {got!r}\n    want {want!r}")
    print(f"templates: {same} renderings equal, {failed} differ, {skipped} templates not known")
    return 1 if failed or not same else 0


if __name__ == "__main__":
    sys.exit(main())
