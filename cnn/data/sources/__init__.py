"""Where images come from: a `source` for each kind of place (`folder`, `store`, `hadoop`), what
`kaggle` downloads, the drawn `sample`, and the `listing` of their files. `given_split` combines
two sources.
"""
