"""Turns images into a data directory, and a data directory into arrays on a host.

`preprocess` creates an image source for the place that the user named (`sources`), lists its images
with their classes (`folders`, or `labels` for those in a table), and splits them (`splits`). Spark
decodes them (`decoding`, `parts`) into Parquet files with a `manifest` (`build`). Images that show
the same picture are then put on the same side of the split (`near`), and an `overview` goes to
`cnn.report`, which makes a page of it. `arrays` copies the pixels of a data directory to a host as
memory-mapped arrays, which `host_cache` keeps.
"""
