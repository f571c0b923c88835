"""What test_chaos.py found, as a table of Markdown: the one in docs/reliability.md."""

from collections import Counter
from collections.abc import Iterable, Sequence


def table(hits: Iterable[Sequence[object]]) -> list[str]:
    """Of (job, fault, whether the job completed by itself): lines of fault x job.

    A cell is `a + b`: runs that completed by themselves, and when run again.
    """
    counts = Counter((str(job), str(fault), bool(alone)) for job, fault, alone in hits)
    jobs = list(dict.fromkeys(job for job, _, _ in counts))
    faults = list(dict.fromkeys(fault for _, fault, _ in counts))
    lines = [["fault", *jobs], ["---"] * (len(jobs) + 1)]
    for fault in faults:
        cells = []
        for job in jobs:
            alone, again = (counts[job, fault, value] for value in (True, False))
            cells.append(f"{alone} + {again}" if alone + again else "")
        lines.append([fault, *cells])
    total = sum(counts.values())
    alone = sum(count for (_, _, value), count in counts.items() if value)
    summary = f"{total} faults: {alone} jobs completed by themselves, {total - alone} run again."
    return [*(f"| {' | '.join(line)} |" for line in lines), "", summary]
