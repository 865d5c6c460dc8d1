"""What foreign bytes do to the parsers: `python -m bench.fuzz --inputs 100000 --seed 0`.

Each parser gets its share of the inputs: valid ones changed in structure (JSON values, chunks,
headers, lengths) and in bytes, the same for the same seed. An input must be read or be refused in
the way that users see; any other error, an answer of 500, ten seconds, three gigabytes or the end
of the process is a finding. Ends with status 1 when there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from pathlib import Path

from bench._fuzz.http import HTTP
from bench._fuzz.opendsr import OPENDSR, OPENDSR_HTTP
from bench._fuzz.parsers import PARSERS
from bench._fuzz.running import Tally, fed

ALL = (*PARSERS, OPENDSR, HTTP, OPENDSR_HTTP)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--inputs", type=int, default=100_000, help="of all parsers together")
    parser.add_argument("--seed", type=int, default=0)
    names = [each.name for each in ALL]
    parser.add_argument(
        "--only", choices=names, action="append", help="this parser; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    given = parser.parse_args(arguments)
    chosen = [each for each in ALL if not given.only or each.name in given.only]
    shares = sum(each.share for each in chosen)
    if given.inputs < shares:
        parser.error(f"--inputs must be at least {shares}")
    warnings.simplefilter("ignore")  # pictures that are odd warn
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory() as folder:
        for each in chosen:
            inputs = -(-given.inputs * each.share // shares)
            tallies[each.name] = fed(each, inputs, given.seed, Path(folder) / each.name)
            print(f"{each.name}: {tallies[each.name].inputs} inputs", file=sys.stderr)
    rows = [
        {
            "parser": each.name,
            "what": each.what,
            "inputs": tallies[each.name].inputs,
            "read": tallies[each.name].read,
            "seconds": round(tallies[each.name].seconds, 1),
            "findings": tallies[each.name].findings,
        }
        for each in chosen
    ]
    found = sum(len(tally.findings) for tally in tallies.values())
    total = sum(tally.inputs for tally in tallies.values())
    whole = {"inputs": total, "seed": given.seed, "findings": found, "rows": rows}
    print(json.dumps(whole) if given.json else _table(tallies))
    return 1 if found else 0


def _table(tallies: dict[str, Tally]) -> str:
    lines = [f"{'parser':14}{'inputs':>9}{'read':>9}{'seconds':>9}{'findings':>10}"]
    for name, tally in tallies.items():
        counted = f"{tally.inputs:9}{tally.read:9}{tally.seconds:9.1f}{len(tally.findings):10}"
        lines.append(f"{name:14}{counted}")
        lines += [f"  input {each['number']}: {each['what']}" for each in tally.findings[:5]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
