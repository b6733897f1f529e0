"""So many reports written and thrown away, in a process of its own: prints reports a second and peak MiB."""

from __future__ import annotations

import sys

from benchmarks.synthesis import stream

if __name__ == "__main__":
    print(*stream(int(sys.argv[1])))
