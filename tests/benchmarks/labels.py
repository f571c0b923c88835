"""A table of labels of many rows, joined with listed files: seconds, and memory by process.

    python tests/benchmarks/labels.py                    # 10 million rows, 1 million files
    python tests/benchmarks/labels.py --rows 1000000 --files 100000        # a tenth of it

The files are only names: nothing is decoded. The driver's memory includes the listing, and is shown
before the join too.
"""

import argparse
import tempfile
import time
from collections import Counter
from multiprocessing import Process
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as text
import pyarrow.parquet as pq
from peaks import Peaks

from cnn.data.data_settings import DataSettings
from cnn.data.labels.columns import choose_columns
from cnn.data.labels.listing import LabelledImages
from cnn.data.labels.table import open_table
from cnn.data.sources.listing import Gathered
from cnn.data.splits import ImageFile
from cnn.spark.session import spark_session


def write_table(path: str, rows: int) -> None:
    """Writes a table of `rows` rows with patients and ten labels."""
    table = pa.table(
        {
            "image_id": [f"images/{n // 1000}/{n}" for n in range(rows)],
            "label": [f"label {n % 10}" for n in range(rows)],
            "patient": [f"patient {n // 7}" for n in range(rows)],
        }
    )
    write = text.write_csv if path.endswith("csv") else pq.write_table
    write(table, path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, spark_session("benchmark") as spark:
        for kind in ("csv", "parquet"):
            place = str(Path(folder) / f"labels.{kind}")
            # In a process of its own, whose memory is not counted.
            writing = Process(target=write_table, args=(place, given.rows))
            writing.start()
            writing.join()
            table = open_table(place)
            settings = DataSettings(labels=table.place, max_rejects=given.rows)
            columns = choose_columns(table.columns, table.place, settings)
            files = [ImageFile(f"images/{n // 1000}/{n}.jpg", "", 1, n) for n in range(given.files)]
            found = LabelledImages(
                Gathered(files, [], 0, set(), "", Counter()), folder, table, columns, settings, str
            )
            with Peaks() as before:
                time.sleep(1)
            with Peaks() as peaks:
                started = time.monotonic()
                with found.listing(spark) as listing:
                    seconds = time.monotonic() - started
            assert len(listing.files) == min(given.rows, given.files)
            assert listing.table is not None
            memory = ", ".join(f"{role} {mib:,.0f} MiB" for role, mib in peaks.mib.items())
            print(f"{kind}: {listing.table.rows:,} rows, {len(files):,} files: {seconds:.1f} s")
            print(f"  {memory}; the driver before: {before.mib['driver']:,.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
