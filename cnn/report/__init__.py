"""Makes an HTML page of a run (report.html), of several runs, or of a data set (data.html).

`page` assembles the report and `data_page` that of a data set, `verdict` says in words how good the
winner is and how far to trust it, `formats` formats numbers, and `render` fills the templates and
escapes everything. This package imports neither Spark nor Keras.
"""
