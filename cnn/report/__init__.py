"""A run directory becomes a page: report.html, or a comparison of several runs.

`page` puts it together, `verdict` says in words how good the winner is and how far to trust it,
`formats` writes numbers, `render` fills the templates, in which everything is escaped. Neither
Spark nor Keras is imported.
"""
