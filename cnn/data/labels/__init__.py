"""Labels in a `table` instead of folders: its `columns` are chosen, and Spark joins its `rows` with
the listed files (`join`). `corrections` change the labels of single images.
"""
