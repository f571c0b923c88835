"""Images become a data directory, and that becomes arrays on a host.

`preprocess` lists images (`readers`, `listing`), splits them (`splits`), has Spark decode them
(`parts`, `decode`) and writes Parquet and a `manifest`. `arrays` brings the pixels of a data
directory to a host as memory-mapped arrays, which `host_cache` keeps.
"""
