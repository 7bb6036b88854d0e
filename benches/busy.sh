#!/usr/bin/env bash
# How busy the processors are while a program commits: a trace of the scheduler, added up.
#
#   sudo benches/busy.sh PROGRAM [ARGUMENT...]
#
# Needs perf (Debian: linux-perf). The program has one thread or more of the name "commit" for each
# thing it measures, as `figures put` has. Prints a line for each such group: seconds that it lived, seconds
# on a processor by kind of thread, seconds without anything to do, and how much longer it took than
# the same work on processors that are always busy.
set -euo pipefail

[ $# -gt 0 ] || { echo "usage: benches/busy.sh PROGRAM [ARGUMENT...]" >&2; exit 2; }
trace=$(mktemp)
trap 'rm -f "$trace"' EXIT
perf sched record -o "$trace" "$@" >&2
perf sched timehist -i "$trace" 2>/dev/null | python3 -c '
import collections, os, re, sys

LINE = re.compile(r"\s*([\d.]+) \[\d+\]\s+(\S.*?)\s+[\d.]+\s+[\d.]+\s+([\d.]+)\s*$")
NAME = re.compile(r"(.*?)(?:\[(\d+)(?:/\d+)?\])?$")
runs, lives = [], {}
for line in sys.stdin:
    found = LINE.match(line)
    if not found:
        continue
    name, task = NAME.match(found[2]).groups()
    end, taken = float(found[1]), float(found[3]) / 1000
    runs.append((end, name, taken))
    if name == "commit":
        begin, _ = lives.get(task, (end, end))
        lives[task] = (begin, end)
groups = []
for begin, end in sorted(lives.values()):
    if groups and begin < groups[-1][1]:
        groups[-1][1] = max(end, groups[-1][1])
    else:
        groups.append([begin, end])
cores = os.cpu_count()
for begin, end in groups:
    by_kind = collections.Counter()
    for at, name, taken in runs:
        if begin <= at <= end:
            by_kind[name if name in ("commit", "<idle>", "tokio-rt-worker") else "other"] += taken
    idle = by_kind.pop("<idle>", 0.0)
    busy = sum(by_kind.values())
    kinds = ", ".join(f"{kind} {taken:.3f}" for kind, taken in sorted(by_kind.items()))
    ratio = (end - begin) * cores / busy
    print(f"{end - begin:.3f} s: {kinds}, idle {idle:.3f}; {ratio:.3f}x of {cores} processors always busy")
'
