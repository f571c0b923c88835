"""Turns images into a data directory, and a data directory into arrays on a host.

`preprocess` creates an image `source` for the place that the user named (`folder`, `store` or
`hadoop`; `given_split` combines two), lists its images (`listing`) with their classes
(`class_rule`, or a table: `label_table`, `label_join`), asks if it is not clear what the folders
mean (`layout_check`), splits the images (`splits`), decodes them on Spark (`parts`, `decode`), and
writes Parquet files and a `manifest` (`build`). Stored images that show the same picture
(`near_duplicates`) are found on Spark (`near_search`); if that changes the split
(`near_resolution`), the rows are copied in their new order (`rearrange`). `originals` and
`overview` are what `cnn.report` makes a page of. `arrays` copies the pixels of a data directory to
a host as memory-mapped arrays, which `host_cache` keeps.
"""
