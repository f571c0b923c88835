"""Makes an HTML page of a run directory, report.html, or of a comparison of several runs.

`page` assembles the page, `verdict` says in words how good the winner is and how far to trust it,
`formats` formats numbers, and `render` fills the templates and escapes everything. This package
imports neither Spark nor Keras.
"""
