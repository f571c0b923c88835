"""The HTML view of a data set in a notebook."""

from cnn.core.html import block, link, table, text
from cnn.data.duplicates import DUPLICATES
from cnn.data.labels.listing import describe_table
from cnn.data.manifest import Manifest
from cnn.data.splits import TEST, TRAIN


def data_html(path: str, manifest: Manifest, page: str | None) -> str:
    """Returns a table of images by class and split, and the numbers of rejects and duplicates.

    Args:
        path: The data directory; "" if it was not written.
        manifest: Its manifest.
        page: The path or URI of its page, if it has one.
    """
    rows = [
        [text(name), *(f"{manifest.counts[split][name]:,}" for split in (TRAIN, TEST))]
        for name in manifest.classes
    ]
    colour = "grey" if manifest.channels == 1 else "RGB"
    reasons = [f"{count:,} {text(reason)}" for reason, count in manifest.reasons.items()]
    rejected = f"{manifest.rejects:,} of {manifest.listed:,} files rejected"
    return block(
        f"<b>{manifest.total(TRAIN) + manifest.total(TEST):,} images</b> of "
        f"{manifest.size}x{manifest.size}, {colour}, from {text(manifest.source.name)}",
        table(["class", "train", "test"], rows),
        *([] if manifest.table is None else [describe_table(manifest.table)]),
        rejected + (f": {'; '.join(reasons)}" if reasons else ""),
        f"{manifest.groups:,} groups, {manifest.duplicates:,} duplicates"
        + (f", listed in <code>{DUPLICATES}</code>" if manifest.duplicates and path else "")
        + (f", {manifest.near_duplicates:,} near-duplicates" if manifest.near_duplicates else "")
        + (f", {manifest.blank:,} blank or nearly blank" if manifest.blank else ""),
        *([f"<code>{text(path)}</code>"] if path else ["no data set was written"]),
        *([f"A look at the data: {link(page)}"] if page else []),
    )
