"""What folders and file names mean: classes (`class_rule`), parts of a split (`folder_splits`),
files that belong together (`stem_ties`). `layout_check` asks where that is not clear.
"""
