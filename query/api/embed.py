#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a file as a C array: embed.py INPUT OUTPUT HEADER NAME."""
import sys

source, output, header, name = sys.argv[1:5]
data = open(source, "rb").read()
rows = (", ".join(str(b - 256 if b > 127 else b) for b in data[i:i + 24]) for i in range(0, len(data), 24))
with open(output, "w", encoding="ascii") as out:
    out.write("/* SPDX-License-Identifier: Apache-2.0 */\n")
    out.write(f'#include "{header}"\n\nconst char {name}[] = {{\n')
    for row in rows:
        out.write(f"    {row},\n")
    out.write(f"    0}};\nconst size_t {name}_len = {len(data)};\n")
