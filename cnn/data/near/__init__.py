"""Images that show the same picture: the `method` that compares two, the `search` for all pairs on
Spark, their `resolution`, and the copying of rows that are moved by it (`rearrange`).
"""
