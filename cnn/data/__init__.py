"""Images become a data directory, and that becomes arrays on a host.

`preprocess` makes an image `source` of the place that the user has named (`folder`, `store` or
`hadoop`; `given_split` puts two together), lists its images (`listing`), splits them (`splits`),
has Spark decode them (`parts`, `decode`) and writes Parquet and a `manifest` (`build`). `arrays`
brings the pixels of a data directory to a host as memory-mapped arrays, which `host_cache` keeps.
"""
