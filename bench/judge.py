"""What the judge is worth in virtual rollouts as shipped: `python -m bench.judge good|harm|looks [RUNS]`.

`good`: how often a good version is rolled back; with `--cells 11-20` only those cells of it, so that a long table can
be made in pieces. `harm`: requests that a bad one fails until it is taken back, beside the peers' rules. `looks`: the
same with everybody looking equally often. All from seeds; a line a cell, as each ends.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from rollout.adapters.strategy_files import load
from rollout.lab.peers import argo, flagger, kayenta
from rollout.lab.study import Summary, ours, theirs
from rollout.lab.traffic import Truth

LOOK, CHUNK = 5.0, 50
CANARY = load("canary")
OUTAGE = (60.0, 0.3)


@dataclass(frozen=True)
class Cell:
    """One scenario with a good version."""

    name: str
    truth: Truth
    outage: tuple[float, float] | None = None


def good_cells() -> Iterator[Cell]:
    """Good versions that other rules roll back."""
    for rate in (0.001, 0.005, 0.01):
        for rps in (1.0, 10.0, 100.0, 1000.0):
            yield Cell("independent", Truth(rps, rate, rate))
            for clump in (2.0, 5.0, 10.0):
                yield Cell(f"clumps of {clump:g}", Truth(rps, rate, rate, clump=clump))
    for rps in (10.0, 100.0, 1000.0):
        yield Cell("0.1 % and 2 %, in turn", Truth(rps, 0.001, 0.001, oscillate=(0.001, 0.02, 60.0)))
        yield Cell("outages", Truth(rps, 0.005, 0.005, scrape=15.0), OUTAGE)
        yield Cell("on the margin", Truth(rps, 0.01, 0.015 / 1.005))


def run(truth: Truth, outage: tuple[float, float] | None, look: float, seeds: range) -> Summary:
    """A chunk of runs of ours."""
    return ours(truth, len(seeds), seeds.start, CANARY, look, outage)


def upper(k: int, n: int, doubt: float = 0.05) -> float:
    """The largest rate that fits with k of n at 95 %, or another `doubt` (Clopper and Pearson), by bisection."""
    low, high = k / n, 1.0
    for _ in range(40 if k < n else 0):
        p = (low + high) / 2
        low, high = (p, high) if _at_most(k, n, p) > doubt else (low, p)
    return high


def _at_most(k: int, n: int, p: float) -> float:
    """The chance of at most k of n hits at a rate."""
    ways = (math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(k + 1))
    return sum(math.exp(way + i * math.log(p) + (n - i) * math.log1p(-p)) for i, way in enumerate(ways))


def chunks(
    pool: ProcessPoolExecutor, truth: Truth, runs: int, outage: tuple[float, float] | None, look: float
) -> Summary:
    """The summary of many runs; medians are medians of medians."""
    seeds = [range(first, min(first + CHUNK, runs + 1)) for first in range(1, runs + 1, CHUNK)]
    found, sizes = list(pool.map(partial(run, truth, outage, look), seeds)), [len(some) for some in seeds]
    return Summary(
        fmean((one.rolled_back for one in found), sizes),
        fmean((one.promoted for one in found), sizes),
        fmean((one.unproven for one in found), sizes),
        sorted(one.median_seconds for one in found)[len(found) // 2],
        fmean((one.excess_failed_mean for one in found), sizes),
    )


def good(pool: ProcessPoolExecutor, runs: int, cells: slice) -> None:
    """How often a good version is rolled back in a whole rollout; the heading stands over the first cell only."""
    if not cells.start:
        print("| | errors | rps | | rolled back | at most (99 %) | promoted | unproven | median |" + "\n|" + 9 * "---|")
    for number, cell in list(enumerate(good_cells(), 1))[cells]:
        s = chunks(pool, cell.truth, runs, cell.outage, LOOK)
        k = round(s.rolled_back * runs)
        print(
            f"| {number} | {100 * cell.truth.stable_errors:g} % | {cell.truth.rps:g} | {cell.name} | {k} of {runs} "
            f"| {100 * upper(k, runs, 0.01):.2f} % | {100 * s.promoted:.0f} % | {100 * s.unproven:.0f} % "
            f"| {s.median_seconds:.0f} s |",
            flush=True,
        )


def truths() -> Iterator[Truth]:
    """Bad versions: two rates, three loads, three harms."""
    for rate in (0.001, 0.01):
        for rps in (10.0, 100.0, 1000.0):
            for worse in (0.02, 0.1, 0.5):
                yield Truth(rps, rate, rate + worse)


def harm(pool: ProcessPoolExecutor, runs: int) -> None:
    """Failed requests until the canary is taken back, ours and the peers'; their ratio's geometric mean."""
    print("| errors | rps | worse by | ours | Flagger | Argo | Kayenta |\n|---|---|---|---|---|---|---|")
    logs: dict[str, list[float]] = {}
    for truth in truths():
        mine = chunks(pool, truth, runs, None, LOOK)
        peers = dict(theirs(truth, runs, 1))
        for name, summary in peers.items():
            logs.setdefault(name, []).append(math.log(summary.excess_failed_mean / mine.excess_failed_mean))
        print(_row(truth, mine, peers.values()), flush=True)
    for name, found in logs.items():
        print(f"{name}: {math.exp(sum(found) / len(found)):.1f} times as many (geometric mean of {len(found)} cells)")


def looks(pool: ProcessPoolExecutor, runs: int) -> None:
    """The same with everybody looking every 15 s, and every minute."""
    print("| look | errors | rps | worse by | ours | Flagger | Argo | Kayenta |\n|---|---|---|---|---|---|---|---|")
    for look in (15, 60):
        for truth in truths():
            mine = chunks(pool, truth, runs, None, float(look))
            rules = (partial(flagger, interval=look), partial(argo, interval=look), partial(kayenta, point=look))
            peers = [fmean(rule(truth, seed).excess for seed in range(1, runs + 1)) for rule in rules]
            row = [replace(mine, excess_failed_mean=excess) for excess in peers]
            print(f"| {look} s {_row(truth, mine, row)}", flush=True)


def _row(truth: Truth, mine: Summary, peers: Iterable[Summary]) -> str:
    worse = 100 * (truth.canary_errors - truth.stable_errors)
    cells = " | ".join(f"{s.excess_failed_mean:.0f}" for s in (mine, *peers))
    return f"| {100 * truth.stable_errors:g} % | {truth.rps:g} | {worse:+g} points | {cells} |"


def _cells(text: str) -> slice:
    first, _, last = text.partition("-")
    return slice(int(first) - 1, int(last or first))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", choices=["good", "harm", "looks"])
    arguments.add_argument("runs", type=int, nargs="?", default=2000)
    arguments.add_argument("--cells", type=_cells, default=slice(0, None), metavar="FIRST-LAST")
    arguments.add_argument("--workers", type=int, help="processes; else one a core")
    asked = arguments.parse_args()
    with ProcessPoolExecutor(asked.workers) as workers:
        tables: dict[str, Callable[[ProcessPoolExecutor, int], None]]
        tables = {"good": partial(good, cells=asked.cells), "harm": harm, "looks": looks}
        tables[asked.what](workers, asked.runs)
