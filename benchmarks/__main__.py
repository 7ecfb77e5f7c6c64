"""Run all benchmarks, or those named: ``python -m benchmarks [registering serving …]``."""

from __future__ import annotations

import importlib
import pkgutil
import signal
import sys

import benchmarks

PARTS = {"contest", "load", "peers", "processes", "report", "stages", "subjects"}


def main() -> int:
    known = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name[0] != "_")
    known = [name for name in known if name not in PARTS]
    chosen = sys.argv[1:] or known
    for name in chosen:
        if name not in known:
            print(f"no benchmark {name!r}; known: {', '.join(known)}", file=sys.stderr)
            return 2
    # ended from outside, it still ends the servers that it has started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in chosen:
        print(f"## {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
