#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the query page as a C array: embed.py PAGE.html OUTPUT HEADER NAME. The style sheet and the script that the page
names lie next to it and are put in its place, so that one answer is the whole page. The policy allows these two by their
hash, and else nothing but requests to the page's own server: text of a label or an error can never run or load anything."""
import base64, hashlib, re, sys
from pathlib import Path

source, output, header, name = sys.argv[1:5]
folder = Path(source).parent
page = Path(source).read_text(encoding="utf-8")
hashes = {}


def inline(tag, match):
    text = "\n" + (folder / match.group(1)).read_text(encoding="utf-8")
    hashes[tag] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"<{tag}>{text}</{tag}>"


page, sheets = re.subn(r'<link rel="stylesheet" href="([a-z.]+)">', lambda m: inline("style", m), page)
page, scripts = re.subn(r'<script src="([a-z.]+)"></script>', lambda m: inline("script", m), page)
assert (sheets, scripts) == (1, 1), "the page names one style sheet and one script"
policy = f"default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; " \
    f"style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'"
charset = '<meta charset="utf-8">\n'
assert charset in page, "the policy goes behind the charset"
page = page.replace(charset, charset + f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n', 1)

data = page.encode()
rows = (", ".join(str(b - 256 if b > 127 else b) for b in data[i:i + 24]) for i in range(0, len(data), 24))
with open(output, "w", encoding="ascii") as out:
    out.write("/* SPDX-License-Identifier: Apache-2.0 */\n")
    out.write(f'#include "{header}"\n\nconst char {name}[] = {{\n')
    for row in rows:
        out.write(f"    {row},\n")
    out.write(f"    0}};\nconst size_t {name}_len = {len(data)};\n")
